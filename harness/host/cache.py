"""The user's cache folder, and how an entry gets into it: complete or not at all.

Other users of the host are kept out (issue 17, point 6): the cache is readable by its owner only, and refused where
another user owns it or may write to it; temporary names cannot be predicted, and nothing is written through a link. The
path to the cache is checked once in a process, and each entry's folder when it is used; not every file is.
"""

from __future__ import annotations

import errno
import functools
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..agent import private
from ..errors import StorageError

FULL = {errno.ENOSPC, errno.EDQUOT}
UNWRITABLE = FULL | {
    errno.EFBIG,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EEXIST,  # a file where a folder should be
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,  # a link where a file of ours should be
}


def cache_folder() -> Path:
    """Return the cache folder, which need not exist.

    It is ``$HILGATE_CACHE``, else ``$XDG_CACHE_HOME/hilgate``, else ``~/.cache/hilgate``.

    Raises:
        StorageError: another user owns it or may write to it, or to a folder above it.
    """
    folder = _named_folder()
    with storage_errors(folder):
        _check(str(folder))
    return folder


@functools.lru_cache(maxsize=64)
def _check(folder: str) -> None:
    try:
        private.check_folder(folder)
    except private.NotOurs:
        raise
    except OSError:  # a file, or below one, or out of reach: reported when something is to be written there
        return


def _named_folder() -> Path:
    if own := os.environ.get("HILGATE_CACHE"):
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "hilgate"


@contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Turn the operating system's errors about a folder that cannot be written into StorageErrors."""
    try:
        yield
    except private.NotOurs as error:
        raise StorageError(
            "a folder of hilgate's is not its user's alone",
            wanted=error.wanted,
            found=str(error.strerror),
            where=str(error.filename),
            hint=f"{error.repair}; or name another folder: HILGATE_CACHE=… for the caches, --evidence DIR for results",
        ) from error
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        space = "free some space, or " if error.errno in FULL else ""
        whose, move = _whose(folder)
        raise StorageError(
            f"a file cannot be written in {whose}",
            found=os.strerror(error.errno or 0),
            where=str(error.filename or folder),
            hint=f"{space}name another folder: {move}",
        ) from error


def _whose(folder: Path) -> tuple[str, str]:
    """Say what a folder is for, and how to choose another, for a reader who does not know our folders (issue 16)."""
    import tempfile  # here, and secrets below: `hilgate --help` waits for neither

    cache, temporary = cache_folder(), Path(tempfile.gettempdir())
    if folder.absolute().is_relative_to(cache):
        return f"hilgate's cache, {cache}", "HILGATE_CACHE=DIR in the environment"
    if folder.absolute().is_relative_to(temporary):
        return f"the folder of temporary files, {temporary}", "TMPDIR=DIR in the environment"
    return str(folder), "--evidence DIR for results, --devices DIR for the files that the command hilgate writes"


@contextmanager
def new_entry(final: Path) -> Iterator[Path]:
    """Yield a new folder to fill; rename it to ``final`` when the block succeeds, remove it otherwise.

    Two runs may fill the same entry at once: entries are named by content, so the second one's folder is dropped for an
    equal one.

    Raises:
        StorageError: the disk is full, or the folder cannot be written.
    """
    with storage_errors(final.parent):
        make_private(final.parent)
        import tempfile

        work = Path(tempfile.mkdtemp(prefix=f".{final.name[:16]}-", dir=final.parent))
        try:
            yield work
            private.tighten(str(work))
            _publish(work, final)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _publish(work: Path, final: Path) -> None:
    try:
        work.rename(final)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def make_private(folder: Path) -> None:
    """Make a folder of the cache, and those above it, readable by us only; it may be a link of the user's own.

    Raises:
        NotOurs: another user owns it or may write to it, or to one above it.
        OSError: it cannot be made.
    """
    private.check_way(str(folder))
    private.make_folder(os.path.realpath(folder))


def forbid_writing_by_others() -> Callable[[], None]:
    """Make all files that this process creates from now on unwritable by others, whatever its umask was.

    Returns:
        A function that restores the umask.
    """
    umask = os.umask(0o077)  # reading it means setting it; for an instant it is too narrow rather than too wide
    os.umask(umask | 0o022)

    def give_back() -> None:
        os.umask(umask)

    return give_back


def make_readable(folder: Path) -> None:
    """Make a folder of the user's, and those above it; others may read it if the umask allows, but never write."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(mode=0o755, exist_ok=True)


def write_atomically(path: Path, content: str | bytes, *, mode: int = 0o644) -> None:
    """Write a file so that a reader never sees half of it, nor a killed run leaves half of it.

    No link is followed, neither at its path nor at the temporary name that it has until it is complete.

    Args:
        path: the file's.
        content: text is written as UTF-8.
        mode: the permissions, reduced by the umask; 0600 in the cache.

    Raises:
        StorageError: the disk is full, or the folder cannot be written.
    """
    with storage_errors(path.parent):
        make_readable(path.parent) if mode & 0o077 else make_private(path.parent)
        work, descriptor = _new_beside(path, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
            work.replace(path)
        finally:
            work.unlink(missing_ok=True)


def _new_beside(path: Path, mode: int) -> tuple[Path, int]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    import secrets

    work = path.with_name(f".{path.name[:40]}.{secrets.token_hex(8)}")
    return work, os.open(work, flags, mode)


def link_or_copy(source: Path, target: Path) -> None:
    """Hard-link a file where the file system allows it, copy it elsewhere."""
    try:
        os.link(source, target)
    except OSError:
        with source.open("rb") as file, os.fdopen(private.open_new(str(target)), "wb") as copy:
            shutil.copyfileobj(file, copy)


def file_sha256(path: Path, *, from_disk: bool = False) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal; see hash_file, which host and device share.

    Args:
        path: the file's.
        from_disk: drop what the kernel caches of it first, as far as no process has it mapped.

    Raises:
        OSError: it is not there, or cannot be read.
    """
    from ..agent.daemon.folders import hash_file  # here: `hilgate --help` does not wait for OpenSSL

    return str(hash_file(str(path), from_disk=from_disk)[0].hexdigest())
