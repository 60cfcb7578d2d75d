"""A trial of what a run needs of a store's file system: it keeps what is written, and programs can be mapped from it.

For a run the holder of the lock tries it. For `hilgate doctor` and `hilgate add` it is tried beside whatever goes on
there, and leaves nothing behind. Both use this module, so that they say yes where the run would.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import tempfile

from ..private import NotOurs, make_folder
from .store import FOLDERS

CONTENT = bytes(range(256)) * (mmap.PAGESIZE // 256)
# The errors where a system forbids a mapping: EPERM for the mount option noexec, EACCES for SELinux and similar.
FORBIDDEN = (errno.EPERM, errno.EACCES)


class NoHome(FileNotFoundError):
    """The store would be in the user's home folder, which does not exist."""


def root_of(store: str) -> str:
    """Return a store's absolute path."""
    return os.path.abspath(os.path.expanduser(store))


def make_root(store: str) -> list[str]:
    """Make a store's folder and those above it; return the ones that were missing, the innermost first.

    Raises:
        NoHome: it would be in the home folder of a user who has none.
        NotOurs: another user owns it or may write to it, or to one above it.
        OSError: it cannot be made.
    """
    try:
        return make_folder(root_of(store))
    except NotOurs:
        raise
    except OSError as error:
        home = os.path.expanduser("~")
        if store.startswith("~") and not os.path.isdir(home):
            raise NoHome(errno.ENOENT, "the home folder of its user is not there", home) from error
        raise


def try_root(root: str) -> bool:
    """Write, read and map a file in a store's folder and those in it; return whether mapping as a library was allowed.

    The folders in it are tried, too, because another user may have made them.

    Raises:
        OSError: a file cannot be written, or is read back differently.
    """
    folders = [root, *(os.path.join(root, name) for name in FOLDERS)]
    allowed = [_try_folder(folder) for folder in folders if os.path.isdir(folder)]
    return all(allowed)


def _try_folder(folder: str) -> bool:
    descriptor, path = tempfile.mkstemp(prefix=".trial-", dir=folder)
    try:
        os.write(descriptor, CONTENT)
        if os.pread(descriptor, len(CONTENT), 0) != CONTENT:
            raise OSError(errno.EIO, "what is read is not what was written", path)
        return _can_be_mapped(descriptor)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error
    finally:
        os.close(descriptor)
        with contextlib.suppress(OSError):
            os.unlink(path)


def _can_be_mapped(descriptor: int) -> bool:
    try:
        mmap.mmap(descriptor, len(CONTENT), flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC).close()
    except OSError as error:
        if error.errno not in FORBIDDEN:
            raise
        return False
    return True


def try_store(store: str) -> bool:
    """Do what try_root does with a store that need not exist yet; remove the folders that were made for it.

    Raises:
        OSError: as for try_root, or the store cannot be made.
    """
    missing = make_root(store)
    try:
        return try_root(root_of(store))
    finally:
        for folder in missing:
            with contextlib.suppress(OSError):  # a run may have begun to use it
                os.rmdir(folder)
