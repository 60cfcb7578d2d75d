"""hilgate.lock: which files a project takes from outside, by their hashes; written by ``hilgate lock``, committed by a
person.

Beside the project's pytest.ini, in TOML, sorted, so that a change is a line in a diff:

    schema = 1

    [[package]]
    target = "cpython-3.11-aarch64-glibc-2.36"      or "debian-bookworm-arm64"
    name = "numpy"
    version = "2.4.6"
    file = "numpy-2.4.6-….whl"
    sha256 = "…"

Where there is one, a run refuses every wheel and every package of Debian's that it does not name, or names with another
hash. Where there is none, the first file of a name is trusted (see ``wheels``).
"""

from __future__ import annotations

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


@dataclass(frozen=True, order=True)
class Locked:
    """One file."""

    target: str
    name: str
    version: str
    file: str
    sha256: str


@dataclass(frozen=True)
class Lock:
    """A lock file that was read."""

    path: Path
    packages: tuple[Locked, ...]

    def pins(self, target: str) -> list[str]:
        """Return what pip may choose for a target, as requirements."""
        return [f"{one.name}=={one.version}" for one in self.packages if one.target == target]

    def check(self, found: Locked, where: str) -> None:
        """Refuse a file that is not the one that was locked.

        Args:
            where: for errors: who wants it.

        Raises:
            BackendError: it is not named, or with another hash.
        """
        named = [one for one in self.packages if (one.target, one.name) == (found.target, found.name)]
        if found in named:
            return
        shown = f"{found.file}, sha256 {found.sha256}"
        if not named:
            raise BackendError(
                f"{FILE} does not name {found.name}",
                wanted=f"an entry of {found.name} for {found.target}",
                found=shown,
                where=f"{self.path}; for {where}",
                hint=f"hilgate lock adds it: {found.name} {found.version} is then taken by this hash only",
            )
        expected = "; or ".join(f"{one.file}, sha256 {one.sha256}" for one in named)
        what = f"{found.name} is another one than {FILE} names for {found.target}"
        raise BackendError(what, wanted=expected, found=shown, where=f"{self.path}; for {where}", hint=AGAIN)


def target_of(platform: Platform) -> str:
    """Name what a wheel must fit."""
    return f"cpython-{platform.minor}-{platform.arch}-{platform.libc}"


@dataclass
class _Project:
    """The process's project: a run, and a command of hilgate's, has one."""

    root: Path | None = None
    recorded: list[Locked] | None = field(default=None)


_PROJECT = _Project()


def use_project(root: Path) -> None:
    """From now on keep to the lock file of a project, if it has one."""
    _PROJECT.root = root


@contextmanager
def recording() -> Iterator[list[Locked]]:
    """Keep to no lock file, and note what is taken: for a new one."""
    _PROJECT.recorded = []
    try:
        yield _PROJECT.recorded
    finally:
        _PROJECT.recorded = None


def current_lock() -> Lock | None:
    """Return the project's lock file; None where it has none, or a new one is being made.

    Raises:
        InputError: it cannot be read.
    """
    if _PROJECT.root is None or _PROJECT.recorded is not None:
        return None
    return read_lock(_PROJECT.root / FILE)


def is_first_trusted() -> bool:
    """Whether neither a lock file nor a person who makes one decides which files are taken."""
    return _PROJECT.recorded is None and current_lock() is None


def check_taken(found: Sequence[Locked], where: str) -> None:
    """Refuse files that the project's lock file does not name; note them where a new one is being made.

    Raises:
        BackendError: there are such.
        InputError: the lock file cannot be read.
    """
    if _PROJECT.recorded is not None:
        _PROJECT.recorded += found
    elif (lock := current_lock()) is not None:
        for one in found:
            lock.check(one, where)


def read_lock(path: Path) -> Lock | None:
    """Return a lock file; None where there is none.

    Raises:
        InputError: it cannot be read, or is of a newer hilgate.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
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
    return Lock(path, tuple(_entry(path, entry) for entry in entries))


def _entry(path: Path, entry: Any) -> Locked:
    names = [one.name for one in fields(Locked)]
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
    """Return a lock file's text; equal packages have equal texts."""
    lines = [HEAD, f"schema = {SCHEMA}"]
    for one in sorted(set(packages)):
        # JSON's texts are TOML's, but for what no name of a package has.
        lines += ["", "[[package]]", *(f"{key} = {json.dumps(value)}" for key, value in vars(one).items())]
    return "\n".join(lines) + "\n"
