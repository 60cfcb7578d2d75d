"""Folders of a store: their content, size and seal; hashing and removing."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from typing import Any

from ..private import open_new, tighten

SEAL = ".seal"
# Files beside the seal, see verify. VERIFIED changes later, and is not sealed.
HASHES, VERIFIED = ".hashes", ".verified"
WRITABLE = stat.S_IWGRP | stat.S_IWOTH
CHUNK = 1 << 20


def seal_of(folder: str) -> str:
    """Hash every file's path, size and time of modification; a link that has come to lead nowhere changes the hash.

    Raises:
        PermissionError: another user owns something in the folder, or may write to it.
    """
    lines = [f"{path} {what}" for path, what in _walk(folder, "") if path not in (SEAL, VERIFIED)]
    return hashlib.sha256("\n".join(sorted(lines)).encode("utf-8", "surrogateescape")).hexdigest()


def seal(folder: str) -> None:
    """Write a folder's seal into it, and take all permissions of others from it."""
    tighten(folder)
    with open(open_new(os.path.join(folder, SEAL)), "w", encoding="ascii") as file:
        file.write(seal_of(folder))


def is_sealed(folder: str) -> bool:
    """Whether a folder is still what was sealed, as far as sizes, times, owners and modes tell."""
    try:
        path = os.path.join(folder, SEAL)
        if not is_ours(os.lstat(folder)) or not is_ours(os.lstat(path)):
            return False
        with open(path, "rb") as file:
            return file.read() == seal_of(folder).encode()
    except OSError:
        return False


def _walk(folder: str, prefix: str) -> Iterator[tuple[str, str]]:
    ours = os.geteuid()
    with os.scandir(folder) as found:
        for item in found:
            path = prefix + item.name
            status = item.stat(follow_symlinks=False)
            is_link = stat.S_ISLNK(status.st_mode)
            if status.st_uid != ours or (status.st_mode & WRITABLE and not is_link):
                # Whatever the seal says: whoever could change the files could change that, too.
                raise PermissionError(errno.EPERM, "it is not ours alone", item.path)
            if is_link:
                yield path, f"-> {os.readlink(item.path)}" if os.path.exists(item.path) else "-> nowhere"
            elif stat.S_ISDIR(status.st_mode):
                yield from _walk(item.path, path + "/")
            else:
                yield path, f"{status.st_size} {status.st_mtime_ns}"


def is_ours(status: os.stat_result) -> bool:
    """Whether a file is our user's, and nobody else may write to it.

    A store that others could once write to may have been repaired since, while what they had put there stayed.
    """
    return status.st_uid == os.geteuid() and not status.st_mode & WRITABLE


def place(folder: str, path: str) -> str:
    """Return where a file of a folder goes, and make the folder that directly contains it.

    Raises:
        ValueError: it would lie outside of the folder.
    """
    joined = os.path.normpath(os.path.join(folder, path))
    if not joined.startswith(folder + os.sep):
        raise ValueError(f"no path of ours: {path!r}")
    os.makedirs(os.path.dirname(joined), exist_ok=True)
    return joined


def size_of(folder: str) -> int:
    """Return the bytes of all files in a folder together; 0 where it does not exist."""
    total = 0
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as found:
        for item in found:
            if item.is_dir(follow_symlinks=False):
                total += size_of(item.path)
            else:
                total += item.stat(follow_symlinks=False).st_size
    return total


def free_bytes(path: str) -> int:
    """Return how many bytes an ordinary user may still write on the disk of a folder, which need not exist yet."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return disk_use(path)[0]


def disk_use(folder: str) -> tuple[int, int]:
    """Return (bytes that an ordinary user may still write, bytes in use) of a folder's disk."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize, (disk.f_blocks - disk.f_bfree) * disk.f_frsize


def hash_file(path: str, *, from_disk: bool = False) -> tuple[Any, int]:
    """Hash a file with SHA-256; return the hash object, which may be updated with more, and the file's size in bytes.

    The one such function, for device and host (see harness.host.cache.file_sha256). Holes are hashed as the zeros that
    they read as, but not read: an emulated board's memory is gigabytes of them.

    Args:
        path: the file's.
        from_disk: first drop the pages that the kernel caches of it, so that it is read from the disk again (as far as
            no process has it mapped, and it has been written out).

    Raises:
        OSError: it is not there, or cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        descriptor = file.fileno()
        if from_disk and hasattr(os, "posix_fadvise"):
            with contextlib.suppress(OSError):
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        offset, end = 0, os.fstat(descriptor).st_size
        buffer = memoryview(bytearray(min(max(end, 1), CHUNK)))
        while True:
            if offset < end:
                offset = _hash_hole(digest, descriptor, offset, end)
                os.lseek(descriptor, offset, os.SEEK_SET)
            count = file.readinto(buffer)
            if not count:
                return digest, offset
            digest.update(buffer[:count])
            offset += count


def _hash_hole(digest: Any, descriptor: int, offset: int, end: int) -> int:
    """Hash the zeros of the hole that a file has at an offset, if it has one there; return where its data goes on."""
    try:
        data = os.lseek(descriptor, offset, os.SEEK_DATA)
    except OSError as error:  # ENXIO: nothing but a hole up to the end; others: a file system that knows of no holes
        data = end if error.errno == errno.ENXIO else offset
    if data > offset:
        zeros = bytes(min(data - offset, CHUNK))
        for start in range(offset, data, CHUNK):
            digest.update(zeros[: data - start])
    return data


def remove(path: str) -> None:
    """Remove a folder, or whatever else has its name; what cannot be removed stays."""
    shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        os.unlink(path)
