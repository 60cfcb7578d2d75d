"""The lock file hilgate.lock: the files that a project takes from outside, by their hashes.

``hilgate lock`` writes it, and a person commits it.

Beside the project's pytest.ini, in TOML, sorted, so that a change is a line in a diff:

    schema = 1

    [[package]]
    target = "cpython-3.11-aarch64-glibc-2.36"      or "debian-bookworm-arm64"
    name = "numpy"
    version = "2.4.6"
    file = "numpy-2.4.6-….whl"
    sha256 = "…"

With a lock file, a run refuses every wheel and every Debian package that it does not name, or names with another hash.
Without one, the first file of a name is trusted (see ``wheels``).
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ..errors import BackendError, InputError
from .target import Platform

FILE = "hilgate.lock"
SCHEMA = 1
HEAD = """\
# Written by `hilgate lock`; commit it. A run takes these files and no others.
# To take others: `hilgate lock` again, and look at what has changed.
"""
AGAIN = "if it was to change: hilgate lock, and look at the difference before you commit it"
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, order=True, kw_only=True)
class Locked:
    """An entry of a lock file: one file of a package.

    Attributes:
        target: the platform that it is for: "cpython-3.11-aarch64-glibc-2.36" or "debian-bookworm-arm64".
    """

    target: str
    name: str
    version: str
    file: str
    sha256: str


@dataclass(frozen=True)
class Lock:
    """The content of a lock file; ``sha256`` is that of its bytes as they were read."""

    path: Path
    packages: tuple[Locked, ...]
    sha256: str = field(default="", compare=False)

    def pins(self, target: str) -> list[str]:
        """Return the versions that pip may choose for a target, as requirements."""
        return [f"{entry.name}=={entry.version}" for entry in self.packages if entry.target == target]

    def check(self, file: Locked, where: str) -> None:
        """Refuse a file that the lock file does not name.

        Args:
            file: the file.
            where: what it is for, for errors.

        Raises:
            BackendError: it is not named, or named with another hash.
        """
        named = [entry for entry in self.packages if (entry.target, entry.name) == (file.target, file.name)]
        if file in named:
            return
        shown = f"{file.file}, sha256 {file.sha256}"
        if not named:
            raise BackendError(
                f"{FILE} does not name {file.name}",
                wanted=f"an entry of {file.name} for {file.target}",
                found=shown,
                where=f"{self.path}; for {where}",
                hint=f"hilgate lock adds it: {file.name} {file.version} is then taken by this hash only",
            )
        expected = "; or ".join(f"{entry.file}, sha256 {entry.sha256}" for entry in named)
        what = f"{file.name} is another one than {FILE} names for {file.target}"
        raise BackendError(what, wanted=expected, found=shown, where=f"{self.path}; for {where}", hint=AGAIN)


def target_of(platform: Platform) -> str:
    """Return the name of a platform in lock files."""
    return f"cpython-{platform.minor}-{platform.arch}-{platform.libc}"


@dataclass
class _Project:
    """The project of this process.

    Attributes:
        root: its folder; None before use_project.
        recorded: the files that were taken while a new lock file is made; None otherwise.
    """

    root: Path | None = None
    recorded: list[Locked] | None = field(default=None)


_PROJECT = _Project()


def use_project(root: Path) -> None:
    """Make this process obey the lock file of a project, if it has one.

    Args:
        root: the project's folder.
    """
    _PROJECT.root = root


@contextmanager
def recording() -> Iterator[list[Locked]]:
    """Ignore the lock file meanwhile, and record the files that are taken, for a new one."""
    _PROJECT.recorded = []
    try:
        yield _PROJECT.recorded
    finally:
        _PROJECT.recorded = None


def current_lock() -> Lock | None:
    """Return the project's lock file; None where it has none, or where a new one is being made.

    Raises:
        InputError: the file cannot be read.
    """
    if _PROJECT.root is None or _PROJECT.recorded is not None:
        return None
    return read_lock(_PROJECT.root / FILE)


def is_first_trusted() -> bool:
    """Return whether the first file of a name is trusted: there is no lock file, and none is being made."""
    return _PROJECT.recorded is None and current_lock() is None


def check_locked(files: Sequence[Locked], where: str) -> None:
    """Refuse files that the project's lock file does not name, or record them while a new one is being made.

    Args:
        files: the files.
        where: what they are for, for errors.

    Raises:
        BackendError: the lock file does not name one of them.
        InputError: the lock file cannot be read.
    """
    if _PROJECT.recorded is not None:
        _PROJECT.recorded += files
    elif (lock := current_lock()) is not None:
        for file in files:
            lock.check(file, where)


def read_lock(path: Path) -> Lock | None:
    """Read a lock file; return None where there is none.

    Raises:
        InputError: the file cannot be read, or a newer hilgate wrote it.
    """
    try:
        data = path.read_bytes()
        content = tomllib.loads(data.decode("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _unreadable(path, "TOML, as hilgate lock writes it", str(error)) from error
    schema = content.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        what, wanted = f"{FILE} was written by a newer hilgate", f"schema = {SCHEMA}"
        hint = "install that version of hilgate; or write it anew with this one: hilgate lock"
        raise InputError(what, wanted=wanted, found=f"schema = {schema}", where=str(path), hint=hint)
    if schema != SCHEMA:
        raise _unreadable(path, f"schema = {SCHEMA}", f"schema = {schema!r}")
    entries = content.get("package", [])
    if not isinstance(entries, list) or set(content) - {"schema", "package"}:
        raise _unreadable(path, "schema and [[package]]", ", ".join(content))
    return Lock(path, tuple(_entry(path, entry) for entry in entries), hashlib.sha256(data).hexdigest())


def _entry(path: Path, entry: Any) -> Locked:
    names = [item.name for item in fields(Locked)]
    if not isinstance(entry, dict) or sorted(entry) != sorted(names):
        raise _unreadable(path, f"a [[package]] with {', '.join(names)}", repr(entry)[:200])
    if not all(isinstance(value, str) and value for value in entry.values()):
        raise _unreadable(path, "texts", repr(entry)[:200])
    if not SHA256.fullmatch(entry["sha256"]):
        raise _unreadable(path, "sha256: 64 hexadecimal digits", f"{entry['sha256'][:80]!r}, of {entry['file']}")
    return Locked(**entry)


def _unreadable(path: Path, wanted: str, found: str) -> InputError:
    hint = "take it from your repository's history; or write it anew: hilgate lock"
    return InputError(f"{FILE} cannot be read", wanted=wanted, found=found, where=str(path), hint=hint)


def lock_text(packages: Sequence[Locked]) -> str:
    """Format a lock file; equal packages give equal texts."""
    lines = [HEAD, f"schema = {SCHEMA}"]
    for entry in sorted(set(packages)):
        # JSON strings are TOML strings, except for characters that no package name contains.
        lines += ["", "[[package]]", *(f"{key} = {json.dumps(value)}" for key, value in vars(entry).items())]
    return "\n".join(lines) + "\n"
