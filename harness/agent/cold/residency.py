"""How many pages of a file are in the kernel's page cache, and dropping them from it.

``mincore`` answers only to root, to a file's owner and to who could write to it; to anybody else it says that every
page is resident (mincore(2); can_do_mincore in the kernel's mm/mincore.c, since 5.2). There nothing is asked: a read
that does not wait (RWF_NOWAIT) would tell, too, but begins to read what is not there (tried: of 10 240 dropped pages
965 were back while they were counted).
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
from typing import NamedTuple, Optional

PAGE = mmap.PAGESIZE
# As much of a file is mapped at a time, so that the vector of answers stays small.
MAPPED_BYTES = 1 << 28
FAILED = ctypes.c_void_p(-1).value

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


class Dropped(NamedTuple):
    """What became of one file.

    Attributes:
        pages: how many it has.
        before: how many of them were resident; None where this user is not told.
        after: how many are since.
    """

    pages: int
    before: Optional[int]  # noqa: UP045  # Python 3.9
    after: Optional[int]  # noqa: UP045


def drop_file(path: str) -> Dropped:
    """Drop a file's pages from the page cache, and count those that were and those that stay resident.

    A page stays where a process has it mapped. Dirty pages stay, too: they are written first, but only where some have
    stayed, for a disk may take milliseconds to confirm that there is nothing to write.

    Raises:
        OSError: it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        size = os.fstat(descriptor).st_size
        is_told = _is_told(descriptor)
        before = resident_pages(descriptor, size) if is_told else None
        if before == 0:  # most of an environment's
            return Dropped(-(-size // PAGE), 0, 0)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        after = resident_pages(descriptor, size) if is_told else None
        if after:
            with contextlib.suppress(OSError):  # a file system that has nothing to write, or is read-only
                os.fdatasync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            after = resident_pages(descriptor, size) if is_told else None
        return Dropped(-(-size // PAGE), before, after)
    finally:
        os.close(descriptor)


def _is_told(descriptor: int) -> bool:
    """Whether mincore answers truly to this user."""
    if os.geteuid() in (0, os.fstat(descriptor).st_uid):
        return True
    return os.access(f"/proc/self/fd/{descriptor}", os.W_OK)


def resident_pages(descriptor: int, size: int) -> int:
    """Count the resident pages of an open file; it is mapped for that, and no page of it touched.

    Raises:
        OSError: it cannot be mapped.
    """
    resident = 0
    for offset in range(0, size, MAPPED_BYTES):
        length = min(size - offset, MAPPED_BYTES)
        address = _libc.mmap(None, length, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, offset)
        if address == FAILED:
            raise OSError(ctypes.get_errno(), "it cannot be mapped")
        vector = ctypes.create_string_buffer(-(-length // PAGE))
        try:
            if _libc.mincore(address, length, vector):
                raise OSError(ctypes.get_errno(), "mincore failed")
        finally:
            _libc.munmap(address, length)
        resident += sum(byte & 1 for byte in vector.raw)
    return resident
