"""What a run needs of a store's file system, tried: it keeps what is written, and programs can be mapped from it.

The holder of the lock tries it for a run; for `hilgate doctor` and `add` it is tried beside whatever goes on there, and
nothing of it stays. Both ask this module, so that a board about which they say yes is one on which the run says yes.
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
# What it is called where a system forbids a mapping: EPERM by the mount option noexec, EACCES by SELinux and its kin.
FORBIDDEN = (errno.EPERM, errno.EACCES)


class NoHome(FileNotFoundError):
    """The store is in the user's home folder, and there is none."""


def root_of(store: str) -> str:
    """Return a store's path."""
    return os.path.abspath(os.path.expanduser(store))


def make_root(store: str) -> list[str]:
    """Make a store's folder and those above it; return the ones that were missing, the innermost first.

    Raises:
        NoHome: it is in the home folder of a user who has none.
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
    """Write a file in a store's folder, and in those that it has already (another user may have made them), read it,
    map it as a library is mapped; return whether that last was allowed.

    Raises:
        OSError: it cannot be written, or is not what was written.
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
    """Do that with a store that need not be there yet; what was made for it is removed.

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
