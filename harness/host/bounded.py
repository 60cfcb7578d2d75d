"""The host's caches are bounded: the least recently used entry is evicted first, and none that a run still uses.

A store is a folder of entries somewhere in the cache folder, and an entry is a folder directly in it; the entry's
modification time says when it was last used. Whoever uses an entry holds a shared lock (flock) on the folder itself,
which the kernel releases when the process ends, however it ends. Eviction needs the exclusive lock, and skips an entry
whose lock it does not get. On a file system without locks on folders (NFS) nothing is ever evicted.

    STORE/.lock         held while entries change hands: one run at a time evicts, or replaces a damaged entry
    STORE/.evicted-…    an entry that is being removed, or that a killed run was removing
    .bounded/STORE      in the cache folder, an empty file: the store is bounded ("/" in its name is written "%2F")

No list of stores is kept in the code: a store is bounded from the first ``pin`` of one of its entries on, and nothing
may be read from an entry that is not pinned. All stores share one limit. The store of the link ``local`` is bounded by
the device's side, as any device's is.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import math
import os
import shutil
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote, unquote

from ..agent.private import NotOurs, check_entry
from ..errors import InputError
from .cache import cache_folder, make_private, storage_errors

REGISTRY = ".bounded"
VARIABLE = "HILGATE_CACHE_GIB"
GIB = 1 << 30
DEFAULT_BYTES = 20 * GIB
EVICTED = ".evicted-"
BLOCK = 512  # what st_blocks counts in, whatever the file system's own are (stat(2))
# A hidden folder is being filled or removed: one as old as this was left by a run that was killed.
LEFTOVER_AGE_S = 24 * 3600.0

# (device, inode) to the descriptor that has the lock: open until this process ends, so the inode is nobody else's.
_HELD: dict[tuple[int, int], int] = {}


def pin(folder: Path) -> bool:
    """Pin a cache entry for the life of this process; return False where it does not exist (any more).

    The pin is a shared flock that eviction respects; the entry also counts as used now. Pin first, read then. Pin a new
    entry *before* renaming it into place, so that no other process can evict it in between. Pinning twice is harmless.

    Raises:
        StorageError: the entry is there and may not be opened, or another user has put it there.
    """
    with storage_errors(folder):
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            return False
        status = os.fstat(descriptor)
        try:
            check_entry(str(folder), status)
        except NotOurs:
            os.close(descriptor)
            raise
    with suppress(OSError):  # a file system without locks: then nobody can evict either
        fcntl.flock(descriptor, fcntl.LOCK_SH)  # eviction holds its exclusive lock no longer than a rename takes
    with suppress(OSError):  # a cache that may only be read
        os.utime(descriptor)
    there = _is_at(status, folder)
    if not there or _HELD.setdefault((status.st_dev, status.st_ino), descriptor) != descriptor:
        os.close(descriptor)
    if there:
        register(folder.parent)
    return there


@functools.lru_cache(maxsize=64)
def register(store: Path) -> None:
    """Bound a store of the cache from now on: let ``prune_caches`` count and evict its entries.

    A folder elsewhere is left alone, and so is the cache folder itself.
    """
    cache = cache_folder()
    if cache not in store.parents:
        return
    with suppress(OSError):  # a cache that may only be read: then nothing can be evicted either
        make_private(cache / REGISTRY)
        os.close(_open_lock(cache / REGISTRY / quote(str(store.relative_to(cache)), safe="")))


def registered_stores() -> list[Path]:
    """Return the folders of all bounded stores, whether they are there or not."""
    cache = cache_folder()
    try:
        names = sorted(unquote(mark.name) for mark in (cache / REGISTRY).iterdir())
    except OSError:
        return []
    return [cache / name for name in names if ".." not in Path(name).parts]


def _is_at(status: os.stat_result, folder: Path) -> bool:
    """Whether a path still names the file that was opened."""
    try:
        return os.path.samestat(status, folder.stat())
    except (FileNotFoundError, NotADirectoryError):
        return False


@contextmanager
def locked(store: Path) -> Iterator[None]:
    """Lock a store while entries are removed or replaced, so that no run removes another run's new entry by mistake."""
    with os.fdopen(_open_lock(store / ".lock"), "wb") as file:
        _flock(file)
        yield


def _flock(file: IO[bytes]) -> None:
    """Wait for an exclusive lock; go on without it on a file system that has none (some network file systems)."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
            raise


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


@contextmanager
def build_lock(final: Path) -> Iterator[None]:
    """Lock the making of an entry that takes long; a caller that had to wait should look again whether it exists."""
    with storage_errors(final.parent):
        make_private(final.parent)
        descriptor = _open_lock(final.parent / f".{final.name[:16]}.lock")
    with os.fdopen(descriptor, "wb") as file:
        _flock(file)
        yield


def prune_caches() -> list[Path]:
    """Evict what is too much in this host's bounded stores, all under one limit; return the entries removed.

    Raises:
        InputError: $HILGATE_CACHE_GIB is no limit.
    """
    return prune(registered_stores(), cache_limit_bytes())


def prune(stores: Path | Iterable[Path], keep_bytes: int) -> list[Path]:
    """Evict entries, the least recently used first, until no more than keep_bytes are left.

    Pinned entries stay, if need be above the limit; hidden folders are no entries. Several runs may prune at once. A
    store that cannot be changed is left as it is: that is no reason for a run to fail.

    Returns:
        The paths that the evicted entries had.
    """
    places = [place for place in ([stores] if isinstance(stores, Path) else sorted(stores)) if place.is_dir()]
    removed: list[Path] = []
    with suppress(OSError), ExitStack() as stack:
        for place in places:
            stack.enter_context(locked(place))
        removed = _evict_beyond(keep_bytes, _entries(places))
    for place in places:
        _remove_leftovers(place)
    return removed


@dataclass(frozen=True)
class _Entry:
    folder: Path
    used_ns: int
    files: Mapping[tuple[int, int], int]


def _entries(places: Iterable[Path]) -> list[_Entry]:
    """List all entries, the least recently used first."""
    found = []
    for folder in (folder for place in places for folder in place.iterdir()):
        with suppress(FileNotFoundError):
            if not folder.name.startswith(".") and folder.is_dir() and not folder.is_symlink():
                found.append(_Entry(folder, folder.stat().st_mtime_ns, _files(folder)))
    return sorted(found, key=lambda entry: (entry.used_ns, entry.folder))


def _files(folder: Path) -> dict[tuple[int, int], int]:
    """Map the (device, inode) of a folder's files to their bytes; a file of several names counts once."""
    found = {}
    for home, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # vanished meanwhile
                status = Path(home, name).lstat()
                # A file with holes takes less space than its length.
                found[status.st_dev, status.st_ino] = min(status.st_size, status.st_blocks * BLOCK)
    return found


def _evict_beyond(keep_bytes: int, entries: list[_Entry]) -> list[Path]:
    names = Counter(file for entry in entries for file in entry.files)
    left = sum({file: size for entry in entries for file, size in entry.files.items()}.values())
    removed = []
    for entry in entries:
        if left <= keep_bytes:
            break
        if evict(entry.folder):
            removed.append(entry.folder)
            names.subtract(entry.files.keys())
            left -= sum(size for file, size in entry.files.items() if not names[file])
    return removed


def evict(folder: Path) -> bool:
    """Evict an entry unless it is pinned; return whether it was. A rename, so that no reader ever sees half of it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder.rename(folder.with_name(f"{EVICTED}{uuid.uuid4().hex}"))
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def discard(folder: Path) -> None:
    """Remove a useless entry, even if it is pinned: files that are open or mapped stay usable."""
    away = folder.with_name(f"{EVICTED}{uuid.uuid4().hex}")
    with storage_errors(folder), suppress(FileNotFoundError):
        folder.rename(away)
    shutil.rmtree(away, ignore_errors=True)


def _remove_leftovers(store: Path) -> None:
    """Remove what this run or a killed one has evicted, and entries that were never finished."""
    oldest = time.time() - LEFTOVER_AGE_S
    for folder in store.glob(".*"):
        with suppress(OSError):
            status = folder.lstat()
            if folder.is_dir() and (folder.name.startswith(EVICTED) or status.st_mtime < oldest):
                shutil.rmtree(folder, ignore_errors=True)


def taken_bytes(folder: Path) -> int:
    """Return how many bytes an entry takes on the disk."""
    return sum(_files(folder).values())


def cache_limit_bytes() -> int:
    """Return how many bytes the bounded stores may take together.

    That is $HILGATE_CACHE_GIB; without it 20 GiB, or half of what is free or taken by them, whichever is less.

    Raises:
        InputError: $HILGATE_CACHE_GIB is no limit.
    """
    if (asked := asked_limit_bytes()) is not None:
        return asked
    cache = cache_folder()
    there = next(folder for folder in (cache, *cache.parents) if folder.is_dir())
    free = shutil.disk_usage(there).free
    if free >= 2 * DEFAULT_BYTES:
        return DEFAULT_BYTES  # whatever we use: no need to look
    used = {file: size for store in registered_stores() for file, size in _files(store).items()}
    return min(DEFAULT_BYTES, (free + sum(used.values())) // 2)


def asked_limit_bytes() -> int | None:
    """Return the limit that $HILGATE_CACHE_GIB sets, in bytes; None where it is not set.

    Raises:
        InputError: it is no limit.
    """
    text = os.environ.get(VARIABLE)
    if not text:
        return None
    with suppress(ValueError):
        gib = float(text)
        if 0 < gib < math.inf:
            return int(gib * GIB)
    raise InputError(
        "the caches' limit is not a size",
        wanted="a number of GiB, more than 0",
        found=repr(text),
        where=f"${VARIABLE}, in the environment",
        hint=f"{VARIABLE}=20, or leave it unset: 20 GiB, or half of the space that there is, whichever is less",
    )
