"""Folders of the host's cache whose files are hashed again, once a day or where something went wrong (issue 17).

    FOLDER/.hashes      {PATH: SHA-256} of every file in it, noted when the folder was made
    FOLDER/.verified    the day of the last successful verification

They are those that are too large to be hashed before each use: saved states, images, sysroots. Exports, wheels and
archives are hashed whenever they are used.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from ..errors import StorageError
from .cache import file_sha256, write_atomically

HASHES, VERIFIED = ".hashes", ".verified"
# The lowest scheduling priority.
LOWEST = 19
# After a wrong answer, a folder that was verified so recently is not read again: a saved state has gigabytes.
LATELY_S = 3600.0


def note_hashes(folder: Path) -> None:
    """Hash every file in a folder that has just been written, and note the hashes in it.

    Where another folder has taken its place meanwhile, nothing is noted.
    """
    before = folder.stat()
    hashes = {str(path.relative_to(folder)): file_sha256(path) for path in _files(folder)}
    if os.path.samestat(before, folder.stat()):
        write_atomically(folder / HASHES, json.dumps(hashes, sort_keys=True))
        _note_today(folder)


def is_due(folder: Path) -> bool:
    """Whether a folder exists and was not verified today; one without hashes is due to get some."""
    try:
        return (folder / VERIFIED).read_text(encoding="ascii") != today()
    except (OSError, ValueError):
        return folder.is_dir()


def was_verified_recently(folder: Path) -> bool:
    """Whether a folder was verified within the last hour."""
    try:
        return 0 <= time.time() - (folder / VERIFIED).stat().st_mtime < LATELY_S
    except OSError:
        return False


def find_damage(folder: Path) -> str:
    """Hash every file of a folder again; return what is wrong with the first damaged one, "" where none is.

    A folder of an earlier version, without hashes, counts as undamaged.
    """
    try:
        hashes: dict[str, str] = json.loads((folder / HASHES).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        return f"{HASHES} cannot be read: {error}"
    for name, expected in sorted(hashes.items()):
        try:
            found = file_sha256(folder / name, from_disk=True)
        except OSError as error:
            return f"{name}: {error}"
        if found != expected:
            return f"{name}: wanted SHA-256 {expected}; found {found}"
    with contextlib.suppress(OSError):  # a cache that may only be read
        _note_today(folder)
    return ""


class BackgroundCheck:
    """Verification of folders in the background, at the lowest priority, while they are used already.

    A folder without hashes gets them: it has just been made. Nobody waits for that.

    Args:
        known: folders with hashes.
        new: folders without.
    """

    def __init__(self, known: Sequence[Path], new: Sequence[Path]) -> None:
        self._known, self._new = known, new
        self._damaged: dict[Path, str] = {}
        self._verified = threading.Event()

    @classmethod
    def start(cls, folders: Iterable[Path]) -> BackgroundCheck:
        """Start to verify those of some folders that are due, in a thread."""
        due = [folder for folder in folders if is_due(folder)]
        known = [folder for folder in due if (folder / HASHES).exists()]
        check = cls(known, [folder for folder in due if folder not in known])
        if due:
            threading.Thread(target=check._run, name="hashing", daemon=True).start()
        else:
            check._verified.set()
        return check

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST)
        try:
            self._damaged |= damaged(self._known)
        finally:
            self._verified.set()
        for folder in self._new:
            with contextlib.suppress(OSError, StorageError):  # it was replaced by another one, or may only be read
                note_hashes(folder)

    def result(self) -> dict[Path, str]:
        """Wait until all folders with hashes were verified; return damaged folder -> what is wrong with it."""
        self._verified.wait()
        return self._damaged


def damaged(folders: Sequence[Path]) -> dict[Path, str]:
    """Verify folders now; return damaged folder -> what is wrong with it."""
    found = {folder: find_damage(folder) for folder in folders}
    return {folder: wrong for folder, wrong in found.items() if wrong}


def _files(folder: Path) -> list[Path]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    return [path for path in found if path.parent != folder or not path.name.startswith(".")]


def _note_today(folder: Path) -> None:
    (folder / VERIFIED).write_text(today(), encoding="ascii")


def today() -> str:
    """Return the day for which a verification counts, on this host and on its boards."""
    return datetime.now(UTC).date().isoformat()
