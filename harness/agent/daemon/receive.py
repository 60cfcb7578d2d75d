"""Files from the host into a store's ``incoming``: hashed as they are written, resumed where a connection dropped."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Callable
from typing import Any

from ..private import open_new
from .folders import hash_file, is_ours, remove
from .store import CHUNK, FULL, Store

# How long to wait for the receiver of a dropped connection to end, on a slow card.
PATIENCE_S = 10.0

ReadInto = Callable[[memoryview], None]


class Receiver:
    """One upload: offers, then files."""

    def __init__(self, root: str) -> None:
        self.store = Store.open(root)
        self.hashes: dict[str, Any] = {}
        self.wrong: dict[str, str] = {}
        self.buffer = memoryview(bytearray(CHUNK))

    def offer(self, files: dict[str, int]) -> dict[str, int | None]:
        """Return how many bytes of each file (SHA-256 -> size) are here; None for one that is complete and verified.

        Parts are hashed, so that their upload can be resumed.
        """
        return {sha256: self._have(sha256, size) for sha256, size in files.items()}

    def _have(self, sha256: str, size: int) -> int | None:
        whole = self.store.path("incoming", sha256)
        with contextlib.suppress(FileNotFoundError):
            # From an earlier connection, perhaps from before a power cut, which leaves names of what was never written.
            if hash_file(whole)[0].hexdigest() == sha256:
                return None
            remove(whole)
        digest, have = hashlib.sha256(), 0
        with contextlib.suppress(FileNotFoundError):
            digest, have = hash_file(self._part(sha256))
        if have > size:
            digest, have = hashlib.sha256(), 0
        self.hashes[sha256] = digest
        return have

    def file(self, header: dict[str, Any], size: int, read_into: ReadInto) -> None:
        """Write what follows of a file at its offset; once complete, the file is verified and gets its name.

        A file with another hash than announced is removed, and named in ``wrong``. A part that has filled the disk is
        removed, too: the disk must not stay full.

        Args:
            header: "sha256", "offset" and "bytes", the whole file's size.
            size: how many bytes follow.
            read_into: fills a buffer with the next of them.

        Raises:
            OSError: the disk is full, or the folder cannot be written.
        """
        sha256, part = header["sha256"], self._part(header["sha256"])
        digest = self.hashes[sha256]
        # Not opened for appending: a receiver of a dropped connection that still writes must write to the same place.
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            _lock(descriptor)
            os.ftruncate(descriptor, header["offset"])
            self._write(descriptor, header["offset"], size, digest, read_into)
        except OSError as error:
            if error.errno in FULL:
                os.unlink(part)
            raise
        finally:
            os.close(descriptor)
        if digest.hexdigest() == sha256:
            os.rename(part, self.store.path("incoming", sha256))
        elif header["offset"] + size == header["bytes"]:
            os.unlink(part)
            self.wrong[sha256] = digest.hexdigest()

    def _write(self, descriptor: int, offset: int, size: int, digest: Any, read_into: ReadInto) -> None:
        while size:
            view = self.buffer[: min(size, CHUNK)]
            read_into(view)
            digest.update(view)
            size -= len(view)
            while view:
                count = os.pwrite(descriptor, view, offset)
                offset += count
                view = view[count:]

    def _part(self, sha256: str) -> str:
        return self.store.path("incoming", sha256 + ".part")


def can_be_linked(store: Store, path: str) -> bool:
    """Whether a file of this machine can be hard-linked into the store."""
    with contextlib.suppress(OSError):
        status = os.lstat(path)
        return status.st_dev == os.stat(store.root).st_dev and is_ours(status)
    return False


def _lock(descriptor: int) -> None:
    """Take a part's lock; wait for the receiver of a dropped connection, which has been told to end, to release it."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def take(store: Store, files: dict[str, int], content: memoryview) -> dict[str, str]:
    """Store concatenated files in ``incoming``; return the mismatches, announced SHA-256 -> actual SHA-256.

    Args:
        store: where to.
        files: SHA-256 -> size, in the order of their content.
        content: the files, one after the other.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    wrong = {}
    for sha256, size in files.items():
        part, content = content[:size], content[size:]
        found = hashlib.sha256(part).hexdigest()
        if found != sha256:
            wrong[sha256] = found
            continue
        path = store.path("incoming", sha256)
        try:
            with open(open_new(f"{path}.part"), "wb") as file:
                file.write(part)
            os.replace(f"{path}.part", path)
        except OSError:
            remove(f"{path}.part")  # a disk that is full must not stay so
            raise
    return wrong


class NotAnnounced(ValueError):
    """A file of this machine is not what the host said it is; ``found`` is its SHA-256."""

    def __init__(self, path: str, announced: str, found: str) -> None:
        super().__init__(f"{path} is not what was announced: wanted {announced}; found {found}")
        self.found = found


def adopt(store: Store, path: str, sha256: str) -> None:
    """Take and verify a file of this machine: by a hard link where the file system allows it, else by a copy.

    Raises:
        OSError: it cannot be read, or the store not be written.
        NotAnnounced: it is not what was announced.
    """
    target = store.path("incoming", sha256)
    remove(target)
    try:
        os.link(path, target)
    except OSError as error:
        if error.errno in (errno.ENOENT, *FULL):
            raise
    else:
        # Whoever owns the file, or may write to it, could change by its other name what is stored; nor is a link safe.
        if is_ours(status := os.lstat(target)) and stat.S_ISREG(status.st_mode):
            # The host's cache verified it when it was requested, which may be a while ago (issue 17).
            if (found := hash_file(target)[0].hexdigest()) != sha256:
                remove(target)
                raise NotAnnounced(path, sha256, found)
            return
        os.unlink(target)
    _copy(store, path, sha256)


def _copy(store: Store, path: str, sha256: str) -> None:
    receiver = Receiver(store.root)
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        have = receiver.offer({sha256: size})[sha256] or 0
        file.seek(have)

        def read_into(view: memoryview) -> None:
            if file.readinto(view) != len(view):
                raise ValueError(f"{path} became shorter while it was read")

        receiver.file({"sha256": sha256, "offset": have, "bytes": size}, size - have, read_into)
    if receiver.wrong:
        raise NotAnnounced(path, sha256, receiver.wrong[sha256])
