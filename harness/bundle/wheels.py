"""The wheels of a device's runtime, fetched by pip on the host: a device may have neither pip nor a network.

In the cache:

    wheels/files/SHA256/NAME.whl    the wheels
    wheels/sets/KEY.json            {"schema": 1, "request": …, "wheels": [{"name": …, "version": …, "sha256": …,
                                     "bytes": …, "unpacked_bytes": …}]}: the wheels that satisfy a request
    wheels/seen/NAME.whl             the SHA-256 of the first file of this name that was taken

A set is resolved once: later runs take the same wheels, without a network. A project's lock file decides which wheels
may be taken (see ``lock``); without one the first file of a name is trusted, and another one of that name is refused.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from ..errors import BackendError
from ..host.bounded import prune_caches
from ..host.cache import cache_folder, file_sha256, make_private, storage_errors, write_atomically
from ..host.progress_log import progress_logger
from .file_store import find_file, store_file
from .lock_file import Locked, check_locked, current_lock, is_first_trusted, target_of
from .pip_errors import explain
from .pip_run import Request, download, download_again
from .target import Platform
from .wheel_check import check_wheel

LOG = progress_logger(__name__)

__all__ = ["Platform", "Wheel", "fetch_wheels"]

SCHEMA = 1
# The prefix of work folders; those that killed runs leave are removed after a day.
WORK = ".fetch-"
SEEN = "seen"
LEFTOVER_AGE_S = 24 * 3600.0
NAMED = re.compile(r"([A-Za-z0-9][\w.-]*)[ \t]*(\[[^\]\r\n]*\])?([^\r\n]*)")


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """A wheel in the host's cache.

    Attributes:
        name: the distribution's name, normalised (PEP 503).
        path: the file, under the wheel's own name.
        bytes: its size.
        unpacked_bytes: the total size of its files.
    """

    name: str
    version: str
    path: Path
    sha256: str
    bytes: int
    unpacked_bytes: int


def fetch_wheels(
    requirements: Sequence[str],
    constraints: Sequence[str],
    platform: Platform,
    *,
    where: str,
) -> tuple[Wheel, ...]:
    """Return the wheels of requirements and of all their dependencies, sorted by name; fetch those not in the cache.

    Args:
        requirements: as in PEP 508, such as "torch==2.9.1".
        constraints: the same, for dependencies.
        platform: what the wheels must fit.
        where: the device, or the key of its file, for errors.

    Raises:
        BackendError: there are no such wheels for the platform, they exclude each other, the index cannot be reached,
            or pip is missing.
        StorageError: the cache cannot be written.
        InputError: $HILGATE_CACHE_GIB is not a size.
    """
    platform.check(where)
    required = tuple(sorted({_checked(item, where) for item in requirements}))
    constrained = {_without_extras(_checked(item, where)) for item in constraints} - set(required)
    if not required:
        return ()
    root = cache_folder() / "wheels"
    if known := _known_as_locked(required, tuple(sorted(constrained)), platform, root):
        return known
    pins = tuple(sorted(constrained | _locked_pins(platform, {*required, *constrained})))
    key, described = _key(required, pins, platform)
    record = root / "sets" / f"{key}.json"
    entries = _read_set(record)
    if known := _assemble(entries, root):
        return _checked_by_lock(known, platform, where)
    with _work_folder(root) as work:
        request = Request(requirements=required, constraints=pins, platform=platform, where=where, work=work)
        LOG.info(f"fetching {', '.join(required)} for {platform.arch}, Python {platform.minor}")
        if entries and (known := _fetch_damaged(request, entries, root)):
            return _checked_by_lock(known, platform, where)
        wheels = _fetch_all(request, root)
    entries = [{name: value for name, value in asdict(wheel).items() if name != "path"} for wheel in wheels]
    content = {"schema": SCHEMA, "request": described, "wheels": entries}
    write_atomically(record, json.dumps(content, indent=1) + "\n", mode=0o600)
    prune_caches()
    return wheels


def _known_as_locked(
    required: tuple[str, ...], constrained: tuple[str, ...], platform: Platform, root: Path
) -> tuple[Wheel, ...]:
    """Return the set that was resolved without a lock file, if the lock file names just these wheels; else none.

    This way the wheels that `hilgate lock` has downloaded are not downloaded again.
    """
    if current_lock() is None:
        return ()  # fetch_wheels looks for the same set itself
    wheels = _assemble(_read_set(root / "sets" / f"{_key(required, constrained, platform)[0]}.json"), root)
    with suppress(BackendError):
        return _checked_by_lock(wheels, platform, "")
    return ()


def _locked_pins(platform: Platform, pinned: Iterable[str]) -> set[str]:
    """Return the pins of the project's lock file for a platform, without packages that are pinned already."""
    if (lock := current_lock()) is None:
        return set()
    names = {canonicalize_name(NAMED.sub(r"\1", requirement)) for requirement in pinned}
    return {pin for pin in lock.pins(target_of(platform)) if canonicalize_name(pin.partition("==")[0]) not in names}


def _locked(name: str, version: str, file: str, sha256: str, platform: Platform) -> Locked:
    return Locked(target=target_of(platform), name=name, version=version, file=file, sha256=sha256)


def _checked_by_lock(wheels: tuple[Wheel, ...], platform: Platform, where: str) -> tuple[Wheel, ...]:
    """Return the wheels, after checking that the project's lock file names them all."""
    check_locked([_locked(item.name, item.version, item.path.name, item.sha256, platform) for item in wheels], where)
    return wheels


def _checked(requirement: str, where: str) -> str:
    """Return a requirement without surrounding blanks; refuse paths and pip's options."""
    stripped = requirement.strip()
    if not NAMED.fullmatch(stripped):
        wanted = 'a package, as in "numpy==2.4.6"'
        raise BackendError("a runtime's package cannot be read", wanted=wanted, found=repr(requirement), where=where)
    return stripped


def _without_extras(requirement: str) -> str:
    """Remove a requirement's extras, which pip refuses in constraints."""
    return NAMED.sub(r"\1\3", requirement)


def _key(requirements: Sequence[str], constraints: Sequence[str], platform: Platform) -> tuple[str, dict[str, Any]]:
    """Return a request's key and description, without Python's micro version: wheels are made for minor ones."""
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
    """Read a set's record; empty where there is none, or it cannot be read."""
    try:
        entries = json.loads(record.read_text(encoding="utf-8"))["wheels"]
        return [asdict(Wheel(path=Path(), **entry)) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _assemble(entries: Sequence[dict[str, Any]], root: Path) -> tuple[Wheel, ...]:
    """Find the files of a set and verify their hashes; empty where one is missing or damaged."""
    paths = [find_file(root, entry["sha256"]) for entry in entries]
    whole = [Wheel(**{**entry, "path": path}) for entry, path in zip(entries, paths, strict=True) if path is not None]
    return tuple(whole) if len(whole) == len(entries) else ()


def _fetch_all(request: Request, root: Path) -> tuple[Wheel, ...]:
    """Resolve and download the whole set."""
    folder = request.work / "all"
    outcome = download(request, folder)
    if outcome.status != 0:
        raise explain(request, outcome)
    wheels = [_store_wheel(path, root, request) for path in folder.glob("*")]
    return tuple(sorted(wheels, key=lambda wheel: wheel.name))


def _fetch_damaged(request: Request, entries: Sequence[dict[str, Any]], root: Path) -> tuple[Wheel, ...]:
    """Download the damaged wheels of a set again; return the set, or empty where one cannot be had unchanged."""
    damaged = [entry for entry in entries if find_file(root, entry["sha256"]) is None]
    folder = request.work / "again"
    outcome = download_again(
        request, [(f"{entry['name']}=={entry['version']}", entry["sha256"]) for entry in damaged], folder
    )
    if outcome.status != 0:
        return ()
    for path in folder.glob("*"):
        _store_wheel(path, root, request)
    return _assemble(entries, root)


def _store_wheel(path: Path, root: Path, request: Request) -> Wheel:
    """Verify a wheel that pip has fetched and store it; its hash is checked before it is opened."""
    # NAME-VERSION[-BUILD]-PYTHON-ABI-PLATFORM.whl
    name, version = path.name.split("-")[:2]
    name, sha256 = canonicalize_name(name), file_sha256(path)
    check_locked([_locked(name, version, path.name, sha256, request.platform)], request.where)
    _check_seen(path, root, sha256, request.where)
    unpacked = check_wheel(path, request.where)
    size = path.stat().st_size
    stored = store_file(root, path, sha256)
    write_atomically(root / SEEN / path.name, f"{sha256}\n")
    return Wheel(name=name, version=version, path=stored, sha256=sha256, bytes=size, unpacked_bytes=unpacked)


def _check_seen(path: Path, root: Path, sha256: str, where: str) -> None:
    """Refuse a wheel that differs from the first of its name; where there is a lock file, that decides instead."""
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


@contextmanager
def _work_folder(root: Path) -> Iterator[Path]:
    """Make a temporary folder beside the wheels, so that storing one is a rename; remove leftovers of killed runs."""
    with storage_errors(root):
        make_private(root)
        oldest = time.time() - LEFTOVER_AGE_S
        for folder in root.glob(f"{WORK}*"):
            with suppress(OSError):
                if folder.stat().st_mtime < oldest:
                    shutil.rmtree(folder, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=WORK, dir=root, ignore_cleanup_errors=True) as work:
            yield Path(work)
