"""Files in the cache, each in a folder named by the hash of its content: ROOT/files/SHA256/NAME."""

from __future__ import annotations

import stat
from contextlib import suppress
from pathlib import Path

from ..host.bounded import hold
from ..host.cache import file_sha256, make_private, storage_errors

# A new folder is empty and nobody's before it is held: another run may take it away in between.
TRIES = 3


def find_file(root: Path, sha256: str) -> Path | None:
    """The file of that content below ``root``, its hash just taken; None where there is none.

    It stays there until this process ends (see ``bounded``).
    """
    folder = root / "files" / sha256
    for path in folder.glob("*") if hold(folder) else ():
        with suppress(OSError):
            if file_sha256(path) == sha256:
                return path
    return None


def store_file(root: Path, path: Path, sha256: str) -> Path:
    """Move a file to where its content belongs below ``root``, on the same file system; returns its path there.

    A damaged one of that name is replaced: a rename is atomic, so nobody sees half a file, and two runs that keep the
    same one at once both leave it whole. It stays there until this process ends.
    """
    if (kept := find_file(root, sha256)) is not None:
        return kept
    final = root / "files" / sha256 / path.name
    with storage_errors(final.parent):
        for _ in range(TRIES):
            make_private(final.parent)
            if hold(final.parent):
                break
        path.chmod(stat.S_IMODE(path.stat().st_mode) & 0o700)
        path.replace(final)
    return final
