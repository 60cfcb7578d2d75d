"""The wheels of a device's runtime: fetched by pip on the host, for a device that has neither pip nor network.

In the cache:

    wheels/files/SHA256/NAME.whl    the wheels
    wheels/sets/KEY.json            {"schema": 1, "request": …, "wheels": [{"name": …, "version": …, "sha256": …,
                                     "bytes": …, "unpacked_bytes": …}]}: which of them answer a request
    wheels/seen/NAME.whl             the SHA-256 that a file of this name had when it was first taken

A set is resolved once: later runs take the same wheels, without any network. A project's lock file says which are taken
(see ``lock``); without one the first of a name is trusted, and another one under that name is refused.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from ..errors import BackendError
from ..host.bounded import hold, prune_caches
from ..host.cache import cache_folder, file_sha256, make_private, storage_errors, write_atomically
from ..host.progress_log import progress_logger
from .lock import Locked, check_taken, current_lock, is_first_trusted, target_of
from .pip_errors import explain
from .pip_run import Request, download, download_again
from .target import Platform
from .wheel_check import check_wheel

LOG = progress_logger(__name__)

__all__ = ["Platform", "Wheel", "fetch_wheels", "keep_file", "kept_file"]

SCHEMA = 1
# What a run that was killed has left goes after a day.
WORK = ".fetch-"
SEEN = "seen"
LEFTOVER_AGE_S = 24 * 3600.0
# A new folder is empty and nobody's before it is held: another run may take it away in between.
TRIES = 3
NAMED = re.compile(r"([A-Za-z0-9][\w.-]*)[ \t]*(\[[^\]\r\n]*\])?([^\r\n]*)")


@dataclass(frozen=True)
class Wheel:
    """A wheel in the host's cache.

    Attributes:
        name: the distribution's, normalised as in PEP 503.
        path: the file; its name is the wheel's own.
        unpacked_bytes: its files' sizes together.
    """

    name: str
    version: str
    path: Path
    sha256: str
    bytes: int
    unpacked_bytes: int


def _say_nothing(line: str) -> None:
    pass


def fetch_wheels(
    requirements: Sequence[str],
    constraints: Sequence[str],
    platform: Platform,
    *,
    where: str,
) -> tuple[Wheel, ...]:
    """The wheels of the requirements and of all that they require there, by name: from the cache, or fetched now.

    Args:
        requirements: as in PEP 508, "torch==2.9.1".
        constraints: the same, for what is required indirectly.
        where: for errors: the device, or the key of its file.

    Raises:
        BackendError: there are no such wheels for the platform, they exclude each other, the index cannot be reached,
            or pip is not there.
        StorageError: the cache cannot be written.
        InputError: $HILGATE_CACHE_GIB is no limit.
    """
    platform.check(where)
    wanted = tuple(sorted({_checked(item, where) for item in requirements}))
    constrained = {_without_extras(_checked(item, where)) for item in constraints} - set(wanted)
    if not wanted:
        return ()
    root = cache_folder() / "wheels"
    if known := _known_as_locked(wanted, tuple(sorted(constrained)), platform, root):
        return known
    pins = tuple(sorted(constrained | _locked_pins(platform, {*wanted, *constrained})))
    key, described = _key(wanted, pins, platform)
    record = root / "sets" / f"{key}.json"
    entries = _read_set(record)
    if known := _assemble(entries, root):
        return _checked_by_lock(known, platform, where)
    with _work_folder(root) as work:
        request = Request(wanted, pins, platform, where, work)
        LOG.info(f"fetching {', '.join(wanted)} for {platform.arch}, Python {platform.minor}")
        if entries and (known := _fetch_damaged(request, entries, root)):
            return _checked_by_lock(known, platform, where)
        wheels = _fetch_all(request, root)
    entries = [{name: value for name, value in asdict(wheel).items() if name != "path"} for wheel in wheels]
    content = {"schema": SCHEMA, "request": described, "wheels": entries}
    write_atomically(record, json.dumps(content, indent=1) + "\n", mode=0o600)
    prune_caches()
    return wheels


def _known_as_locked(
    wanted: tuple[str, ...], constrained: tuple[str, ...], platform: Platform, root: Path
) -> tuple[Wheel, ...]:
    """The set as it was resolved without a lock file, where that is what the file names; or else none.

    So what `hilgate lock` has downloaded need not be downloaded again.
    """
    if current_lock() is None:
        return ()  # then it is looked for by the same name below
    wheels = _assemble(_read_set(root / "sets" / f"{_key(wanted, constrained, platform)[0]}.json"), root)
    with suppress(BackendError):
        return _checked_by_lock(wheels, platform, "")
    return ()


def _locked_pins(platform: Platform, pinned: Iterable[str]) -> set[str]:
    """What the project's lock file pins for a platform, beside what is pinned already."""
    if (lock := current_lock()) is None:
        return set()
    names = {canonicalize_name(NAMED.sub(r"\1", one)) for one in pinned}
    return {pin for pin in lock.pins(target_of(platform)) if canonicalize_name(pin.partition("==")[0]) not in names}


def _locked(name: str, version: str, file: str, sha256: str, platform: Platform) -> Locked:
    return Locked(target_of(platform), name, version, file, sha256)


def _checked_by_lock(wheels: tuple[Wheel, ...], platform: Platform, where: str) -> tuple[Wheel, ...]:
    """The same, once the project's lock file has them all."""
    check_taken([_locked(one.name, one.version, one.path.name, one.sha256, platform) for one in wheels], where)
    return wheels


def _checked(requirement: str, where: str) -> str:
    """One requirement, stripped: neither a path nor an option of pip's."""
    stripped = requirement.strip()
    if not NAMED.fullmatch(stripped):
        wanted = 'a package, as in "numpy==2.4.6"'
        raise BackendError("a runtime's package cannot be read", wanted=wanted, found=repr(requirement), where=where)
    return stripped


def _without_extras(requirement: str) -> str:
    """pip allows no extras in a constraint."""
    return NAMED.sub(r"\1\3", requirement)


def _key(requirements: Sequence[str], constraints: Sequence[str], platform: Platform) -> tuple[str, dict[str, Any]]:
    """The request's name, and what it is made of. Python's micro version is not: wheels are made for minor ones."""
    described = {
        "requirements": list(requirements),
        "constraints": list(constraints),
        "python": platform.minor,
        "arch": platform.arch,
        "libc": platform.libc,
    }
    text = json.dumps([SCHEMA, described], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest(), described


def _read_set(record: Path) -> list[dict[str, Any]]:
    """What was written down of a set; empty where there is none, or it cannot be read."""
    try:
        entries = json.loads(record.read_text(encoding="utf-8"))["wheels"]
        return [asdict(Wheel(path=Path(), **entry)) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _assemble(entries: Sequence[dict[str, Any]], root: Path) -> tuple[Wheel, ...]:
    """The set with its files, each hash just taken; empty where one of them is missing or damaged."""
    paths = [kept_file(root, entry["sha256"]) for entry in entries]
    whole = [Wheel(**{**entry, "path": path}) for entry, path in zip(entries, paths, strict=True) if path is not None]
    return tuple(whole) if len(whole) == len(entries) else ()


def _fetch_all(request: Request, root: Path) -> tuple[Wheel, ...]:
    """Resolve and download the whole set."""
    folder = request.work / "all"
    outcome = download(request, folder)
    if outcome.status != 0:
        raise explain(request, outcome)
    wheels = [_keep_wheel(path, root, request) for path in folder.glob("*")]
    return tuple(sorted(wheels, key=lambda wheel: wheel.name))


def _fetch_damaged(request: Request, entries: Sequence[dict[str, Any]], root: Path) -> tuple[Wheel, ...]:
    """The set after its damaged wheels were downloaded again; empty where the very same cannot be had."""
    damaged = [entry for entry in entries if kept_file(root, entry["sha256"]) is None]
    folder = request.work / "again"
    outcome = download_again(request, [(f"{one['name']}=={one['version']}", one["sha256"]) for one in damaged], folder)
    if outcome.status != 0:
        return ()
    for path in folder.glob("*"):
        _keep_wheel(path, root, request)
    return _assemble(entries, root)


def _keep_wheel(path: Path, root: Path, request: Request) -> Wheel:
    """Keep a wheel that pip has fetched; its hash is judged before it is opened."""
    # NAME-VERSION[-BUILD]-PYTHON-ABI-PLATFORM.whl
    name, version = path.name.split("-")[:2]
    name, sha256 = canonicalize_name(name), file_sha256(path)
    check_taken([_locked(name, version, path.name, sha256, request.platform)], request.where)
    _check_seen(path, root, sha256, request.where)
    unpacked = check_wheel(path, request.where)
    size = path.stat().st_size
    kept = keep_file(root, path, sha256)
    write_atomically(root / SEEN / path.name, f"{sha256}\n")
    return Wheel(name, version, kept, sha256, size, unpacked)


def _check_seen(path: Path, root: Path, sha256: str, where: str) -> None:
    """Refuse a wheel that is another one than the first of its name; a project's lock file decides instead, if it has
    one."""
    seen = root / SEEN / path.name
    try:
        first = seen.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return
    if first not in ("", sha256) and is_first_trusted():
        raise BackendError(
            "a wheel is another one than the first of its name that was taken",
            wanted=f"{path.name}, sha256 {first}",
            found=f"sha256 {sha256}",
            where=f"{path.name}, for {where}",
            hint=f"nobody should replace a wheel under its name: ask where it comes from. If you trust it: rm {seen}",
        )


def kept_file(root: Path, sha256: str) -> Path | None:
    """The file of that content below ``root``, its hash just taken; None where there is none.

    It stays there until this process ends (see ``bounded``).
    """
    folder = root / "files" / sha256
    for path in folder.glob("*") if hold(folder) else ():
        with suppress(OSError):
            if file_sha256(path) == sha256:
                return path
    return None


def keep_file(root: Path, path: Path, sha256: str) -> Path:
    """Move a file to where its content belongs below ``root``, on the same file system; returns its path there.

    A damaged one of that name is replaced: a rename is atomic, so nobody sees half a file, and two runs that keep the
    same one at once both leave it whole. It stays there until this process ends.
    """
    if (kept := kept_file(root, sha256)) is not None:
        return kept
    final = root / "files" / sha256 / path.name
    with storage_errors(final.parent):
        for _ in range(TRIES):
            make_private(final.parent)
            if hold(final.parent):
                break
        path.chmod(stat.S_IMODE(path.stat().st_mode) & 0o700)
        path.replace(final)
    return final


@contextmanager
def _work_folder(root: Path) -> Iterator[Path]:
    """A folder beside the wheels, so that keeping one is a rename; what killed runs have left is removed."""
    with storage_errors(root):
        make_private(root)
        oldest = time.time() - LEFTOVER_AGE_S
        for folder in root.glob(f"{WORK}*"):
            with suppress(OSError):
                if folder.stat().st_mtime < oldest:
                    shutil.rmtree(folder, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=WORK, dir=root, ignore_cleanup_errors=True) as work:
            yield Path(work)
