"""Hashing stored entries again: a bad memory card changes bytes without changing size and time (issue 17).

An entry has two files for it, beside its seal:

    .hashes      {PATH: SHA-256} of every file, noted while they were written
    .verified    the day of the last successful verification, by the host, for the board's clock may be wrong

An entry is verified before its first use on a day, and at once where a process died or an answer was wrong.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Optional

from .folders import HASHES, SEAL, VERIFIED, hash_file, is_sealed

if TYPE_CHECKING:
    from .store import Store

# How long one request takes, about; the host asks again for the rest.
SLICE_S = 5.0
# The lowest scheduling priority.
LOWEST = 19
CHANGED = "sizes or times of its files have changed"
# How many digits of a hash messages show.
SHOWN = 16


def note_hashes(folder: str, hashes: dict[str, str]) -> None:
    """Write the hashes of a folder's files, path -> SHA-256, into it; before it is sealed.

    Raises:
        ValueError: one of the files has the name of SEAL, HASHES or VERIFIED.
    """
    if ours := {SEAL, HASHES, VERIFIED}.intersection(hashes):
        raise ValueError(f"no name for a stored file: {', '.join(sorted(ours))}")
    with open(os.path.join(folder, HASHES), "w", encoding="utf-8") as file:
        json.dump(hashes, file, sort_keys=True)


def note_day(folder: str, day: str) -> None:
    """Write down the day on which a folder was verified; where the disk is full, it stays due."""
    with contextlib.suppress(OSError), open(os.path.join(folder, VERIFIED), "w", encoding="utf-8") as file:
        file.write(day)


def is_due(folder: str, day: str) -> bool:
    """Whether a folder has not been verified on a day yet."""
    try:
        with open(os.path.join(folder, VERIFIED), encoding="utf-8") as file:
            return file.read() != day
    except (OSError, ValueError):
        return True


class Verification:
    """The verification of a store's entries, one after the other, in slices.

    Attributes:
        entries: those that are still to be verified.
        path: the last file of the first entry that was hashed.

    Args:
        day: the host's date; entries that were verified on it are left out.
        again: leave none out, and hash each file also as the kernel caches it, for that is what a process has read.
    """

    def __init__(self, store: Store, entries: list[str], day: str, *, again: bool) -> None:
        self.store, self.day, self.again = store, day, again
        self.entries = [entry for entry in entries if again or is_due(store.folder(entry), day)]
        self.path = ""
        self.hashed = 0
        self._hashes: dict[str, str] = {}  # of the first entry's files

    def slice(self, limit_s: float = SLICE_S) -> dict[str, str]:
        """Go on for a while; remove damaged entries, and return them with what is wrong.

        It runs in a thread of its own at the lowest priority: only root could raise it again, and the daemon itself has
        to answer in time.
        """
        from concurrent.futures import ThreadPoolExecutor  # not at each start of a daemon

        with ThreadPoolExecutor(1) as worker:
            return worker.submit(self._slice, limit_s).result()

    def _slice(self, limit_s: float) -> dict[str, str]:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST)
        end, damaged = time.monotonic() + limit_s, dict[str, str]()
        while self.entries and time.monotonic() < end:
            entry = self.entries[0]
            wrong = self._damage(self.store.folder(entry), end)
            if wrong is None:
                break
            if wrong:
                damaged.update(self._remove(entry, wrong))
                self.entries = [other for other in self.entries if other not in damaged]
            else:
                note_day(self.store.folder(entry), self.day)
                self.entries.pop(0)
            self.path = ""
        return damaged

    def _remove(self, entry: str, wrong: str) -> dict[str, str]:
        """Remove an entry and the bundles that lead to it, which are small; return each with what is wrong."""
        found = {entry: wrong}
        with contextlib.suppress(FileNotFoundError):
            self.store.remove(entry)
        if not entry.startswith("bundles/"):
            for bundle in [other for other in self.store.entries() if other.startswith("bundles/")]:
                if not self.store.is_intact(bundle):
                    found[bundle] = "it leads to what was damaged"
                    self.store.remove(bundle)
        return found

    def _damage(self, folder: str, end: float) -> Optional[str]:  # noqa: UP045  # Python 3.9
        """Say what is wrong with a folder, "" where nothing is; None where the time was up first."""
        if not os.path.isdir(folder):
            return "it is gone"
        if not self.path and (wrong := self._begin(folder)):
            return wrong
        begun = False
        for path in sorted(self._hashes):
            if path <= self.path:
                continue
            if begun and time.monotonic() > end:
                return None
            if wrong := self._difference(os.path.join(folder, path), self._hashes[path]):
                return f"{path}: {wrong}"
            self.path, begun = path, True  # at least one file in each slice, also where the checks took all of its time
        return "" if is_sealed(folder) else CHANGED

    def _begin(self, folder: str) -> str:
        """Look at a folder's seal, and read the hashes of its files; say what is wrong, "" where nothing is.

        Once for a folder, and not in each slice: of a large runtime that takes an emulated board longer than a slice,
        which would then hash a single file.
        """
        self._hashes = {}
        if not is_sealed(folder):
            return CHANGED
        try:
            with open(os.path.join(folder, HASHES), encoding="utf-8") as file:
                self._hashes = dict(json.load(file))
        except FileNotFoundError:
            return "an earlier hilgate stored it, without the hashes of its files"
        except (OSError, ValueError, TypeError) as error:
            return f"{HASHES}: {error}"
        return ""

    def _difference(self, path: str, expected: str) -> str:
        for cached in (True, False) if self.again else (False,):
            try:
                digest, size = hash_file(path, from_disk=not cached)
            except OSError as error:  # EIO, for example, from a worn card
                return str(error)
            found = digest.hexdigest()
            self.hashed += size
            if found != expected:
                return f"wanted SHA-256 {expected[:SHOWN]}…; found {found[:SHOWN]}…"
        return ""


def verify(found: Optional[Verification], store: Store, **asked: Any) -> tuple[Verification, dict[str, Any]]:  # noqa: UP045
    """Begin a verification, or go on with the one before; return it, and the reply for the host.

    Args:
        found: the verification before, if there is one.
        store: whose entries.
        **asked: "entries", "day" and "again", see Verification, to begin one; nothing to go on.

    Reply: "damaged", entry -> what is wrong, those that were removed; "left", how many entries are to come;
    "hashed_bytes", so far.
    """
    if asked or found is None:
        found = Verification(store, **asked)
    damaged = found.slice()
    return found, {"damaged": damaged, "left": len(found.entries), "hashed_bytes": found.hashed}
