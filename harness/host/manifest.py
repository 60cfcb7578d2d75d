"""Folders of the host's cache whose files are hashed again, once a day or where something went wrong (issue 17).

    FOLDER/.hashes      {PATH: SHA-256} of every file below it, noted when the folder was made
    FOLDER/.verified    the day on which they were last found to be so

For what is too large to be hashed before each use: saved states, images, sysroots. Exports, wheels and archives are
hashed whenever they are given out.
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
# Below everything else that runs here.
LOWEST = 19
# After an answer that is wrong, what was found whole so lately is not read again: a saved state is gigabytes.
LATELY_S = 3600.0


def note_hashes(folder: Path) -> None:
    """Hash every file below a folder, as it has just been written.

    Where another folder has taken its place meanwhile, nothing is noted.
    """
    before = folder.stat()
    hashes = {str(path.relative_to(folder)): file_sha256(path) for path in _files(folder)}
    if os.path.samestat(before, folder.stat()):
        write_atomically(folder / HASHES, json.dumps(hashes, sort_keys=True))
        _note_today(folder)


def is_due(folder: Path) -> bool:
    """Whether a folder was not looked at today; one without hashes is to get some."""
    try:
        return (folder / VERIFIED).read_text(encoding="ascii") != today()
    except (OSError, ValueError):
        return folder.is_dir()


def was_whole_lately(folder: Path) -> bool:
    """Whether a folder was found whole within the last hour."""
    try:
        return 0 <= time.time() - (folder / VERIFIED).stat().st_mtime < LATELY_S
    except OSError:
        return False


def find_damage(folder: Path) -> str:
    """Hash every file of a folder again: say which is another one, "" where none is.

    A folder of an earlier version, without hashes, is taken as whole.
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
    """Folders that are hashed in the background while they are used already, at the lowest priority.

    One that has no hashes gets them: it has just been made. Nobody waits for that.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        due = [folder for folder in folders if is_due(folder)]
        self._known = [folder for folder in due if (folder / HASHES).exists()]
        self._new = [folder for folder in due if folder not in self._known]
        self._damaged: dict[Path, str] = {}
        self._verified = threading.Event()
        if due:
            threading.Thread(target=self._run, name="hashing", daemon=True).start()
        else:
            self._verified.set()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST)
        try:
            self._damaged |= damaged(self._known)
        finally:
            self._verified.set()
        for folder in self._new:
            with contextlib.suppress(OSError, StorageError):  # it has made way for another one, or may only be read
                note_hashes(folder)

    def result(self) -> dict[Path, str]:
        """Wait until all that has hashes was looked at: folder -> what is wrong, of those that are damaged."""
        self._verified.wait()
        return self._damaged


def damaged(folders: Sequence[Path]) -> dict[Path, str]:
    """Hash folders again now: folder -> what is wrong, of those that are damaged."""
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
