"""Reading a file that a user has named: a regular one, and no more of it than is sensible."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def read_at_most(path: Path, most_bytes: int, *, follow: bool = True) -> tuple[bytes, os.stat_result]:
    """Read a file, and what the file system says of it; nothing of one that is too large, or no regular file.

    It may grow while it is read: then there is one byte more than is allowed. A FIFO is not waited for, and a device
    that has no end is not read.

    Args:
        path: the file.
        most_bytes: what is allowed.
        follow: whether the path may be a symbolic link.

    Returns:
        What was read, and what the file system says of the file.

    Raises:
        OSError: it cannot be opened or read.
        ValueError: the path has a NUL.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY | (0 if follow else os.O_NOFOLLOW)
    descriptor = os.open(path, flags)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > most_bytes:
            return b"", status
        with open(descriptor, "rb", closefd=False) as file:  # a descriptor, not a path
            return file.read(most_bytes + 1), status
    finally:
        os.close(descriptor)


def read_regular(path: Path, most_bytes: int) -> bytes:
    """Read a whole file; see read_at_most.

    Args:
        path: the file; it may be a link to one.
        most_bytes: a larger one is refused.

    Raises:
        OSError: it cannot be read, is no regular file, or is too large.
    """
    content, status = read_at_most(path, most_bytes)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "no regular file", str(path))
    if max(status.st_size, len(content)) > most_bytes:
        raise OSError(errno.EFBIG, f"more than {most_bytes} bytes", str(path))
    return content
