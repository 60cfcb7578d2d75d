"""The user's cache folder, and how an entry gets into it: whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import StorageError

FULL = {errno.ENOSPC, errno.EDQUOT}
UNWRITABLE = FULL | {
    errno.EFBIG,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EEXIST,  # a file where a folder should be
    errno.ENOTDIR,
    errno.EISDIR,
}


def cache_folder() -> Path:
    """``$HILGATE_CACHE``, else ``$XDG_CACHE_HOME/hilgate``, else ``~/.cache/hilgate``."""
    if own := os.environ.get("HILGATE_CACHE"):
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "hilgate"


@contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Turn what the operating system says about a folder that cannot be written into a StorageError."""
    try:
        yield
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
    """Say what a folder is for, and how it is moved elsewhere: whoever reads it need not know ours (issue 16)."""
    cache, temporary = cache_folder(), Path(tempfile.gettempdir())
    if folder.absolute().is_relative_to(cache):
        return f"hilgate's cache, {cache}", "HILGATE_CACHE=DIR in the environment"
    if folder.absolute().is_relative_to(temporary):
        return f"the folder of temporary files, {temporary}", "TMPDIR=DIR in the environment"
    return str(folder), "--evidence DIR for results, --devices DIR for the files that the command hilgate writes"


@contextmanager
def new_entry(final: Path) -> Iterator[Path]:
    """A fresh folder to fill; renamed to ``final`` when the block ends well, removed when it does not.

    Two runs may fill the same entry at once: entries are named by content, so whoever comes second finds what it would
    have written.

    Raises:
        StorageError: the disk is full, or the folder cannot be written.
    """
    with storage_errors(final.parent):
        final.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{final.name[:16]}-", dir=final.parent))
        try:
            yield work
            _publish(work, final)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _publish(work: Path, final: Path) -> None:
    try:
        work.rename(final)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader, or a run that is killed, never sees half of it.

    Raises:
        StorageError: the disk is full, or the folder cannot be written.
    """
    with storage_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        work = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            work.write_bytes(content.encode() if isinstance(content, str) else content)
            work.replace(path)
        finally:
            work.unlink(missing_ok=True)


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for a file where the file system allows it, a copy elsewhere."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
