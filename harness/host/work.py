"""Temporary folders on the host: in the cache, where the next run removes those that a killed run has left.

    work/.lock    held while folders are made or removed
    work/run-…    one folder; its user holds a lock (flock) on it, which the kernel releases however the process ends

In /tmp nothing would tell that they are hilgate's, and abandoned (issue 17).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .bounded import locked
from .cache import cache_folder, storage_errors

STORE = "work"
PREFIX = "run-"


@contextmanager
def work_folder() -> Iterator[Path]:
    """Make a temporary folder that no other user may enter; remove it when the block ends.

    Raises:
        StorageError: the cache cannot be written.
    """
    place = cache_folder() / STORE
    with storage_errors(place):
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(place):  # otherwise another run could take it for abandoned before it is locked
            _remove_left(place)
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            with suppress(OSError):  # a file system without locks: then no folder ever counts as abandoned
                fcntl.flock(descriptor, fcntl.LOCK_SH)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _remove_left(place: Path) -> None:
    for folder in place.glob(f"{PREFIX}*"):
        with suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)
