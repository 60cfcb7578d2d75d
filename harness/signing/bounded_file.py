"""Reading a file of others: a regular one, and no more of it than is sensible."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ..errors import InputError
from ..host.regular_file import read_at_most


def read_bounded(path: Path, most_bytes: int, what: str, *, follow: bool = True) -> tuple[bytes, os.stat_result]:
    """Read a whole file, and what the file system says of it.

    A FIFO is not waited for, and of a file that is too large nothing is read.

    Args:
        path: the file.
        most_bytes: a larger one is refused.
        what: what it should be, for messages: "the signing key".
        follow: whether the path may be a symbolic link.

    Raises:
        InputError: it is not there, cannot be read, is no regular file, a link that may not be, or too large.
    """
    where, wanted = str(path), "a regular file"
    if not follow and path.is_symlink():
        found = f"a link, to {path.readlink()}"
        raise InputError(f"{what} is a link", wanted=wanted, found=found, where=where, hint="put the file itself there")
    try:
        content, status = read_at_most(path, most_bytes, follow=follow)
    except FileNotFoundError:
        found, hint = "no such file", "look whether the path is right"
        raise InputError(f"{what} is not there", wanted=wanted, found=found, where=where, hint=hint) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        found = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{what} cannot be read", wanted=wanted, found=found, where=where) from None
    if not stat.S_ISREG(status.st_mode):
        found = f"mode {stat.filemode(status.st_mode)}"
        raise InputError(f"{what} is no regular file", wanted=wanted, found=found, where=where)
    size = max(status.st_size, len(content))
    if size > most_bytes:  # it may grow while it is read
        wanted = f"at most {most_bytes:,} bytes".replace(",", " ")
        found = f"{size:,} bytes or more".replace(",", " ")
        raise InputError(f"{what} is too large", wanted=wanted, found=found, where=where)
    return content, status
