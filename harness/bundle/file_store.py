"""Files in the cache, each in a folder that is named by the hash of its content: ROOT/files/SHA256/NAME."""

from __future__ import annotations

import stat
from contextlib import suppress
from pathlib import Path

from ..host.bounded import pin
from ..host.cache import file_sha256, make_private, storage_errors

# A new folder is empty and unpinned at first: another run may evict it before this one has pinned it.
TRIES = 3


def find_file(root: Path, sha256: str) -> Path | None:
    """Find and pin the file with this hash; None if it is missing or damaged.

    Args:
        root: the store.
        sha256: the content's hash.
    """
    folder = root / "files" / sha256
    for path in folder.glob("*") if pin(folder) else ():
        with suppress(OSError):
            if file_sha256(path) == sha256:
                return path
    return None


def store_file(root: Path, path: Path, sha256: str) -> Path:
    """Move a file into the store, on the same file system, and pin it until this process ends; return its new path.

    A damaged file of that name is replaced. A rename is atomic, so no process sees a partial file, and two runs that
    store the same file at once both leave it whole.

    Args:
        root: the store.
        path: the file.
        sha256: its hash.
    """
    if (stored := find_file(root, sha256)) is not None:
        return stored
    final = root / "files" / sha256 / path.name
    with storage_errors(final.parent):
        for _ in range(TRIES):
            make_private(final.parent)
            if pin(final.parent):
                break
        path.chmod(stat.S_IMODE(path.stat().st_mode) & 0o700)
        path.replace(final)
    return final
