"""Waiting until what was written is on the disk."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path


def sync_file_system(folder: Path) -> None:
    """Wait until the file system of a folder has written everything; of the machine's others nobody waits.

    That is syncfs of Linux's libcs (glibc, musl); where there is none, all file systems are waited for.

    Raises:
        OSError: the disk could not take it.
    """
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        os.sync()
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if syncfs(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(descriptor)
