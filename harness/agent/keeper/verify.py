"""What is stored, hashed again: a bad memory card changes a byte, and leaves size and time as they were (issue 17).

Two files of an entry, beside its seal:

    .hashes      {PATH: SHA-256} of every file, noted while they were written
    .verified    the day on which they were last found to be so: the host's day, for the board's clock may be wrong

An entry is hashed before its first use on a day, and at once where a process died or an answer was wrong.
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

# A request takes no longer than about this; the host asks again for the rest.
SLICE_S = 5.0
# Below everything else that runs there.
LOWEST = 19
# Digits of a hash, in what a person reads.
SHOWN = 16


def note_hashes(folder: str, hashes: dict[str, str]) -> None:
    """Write down what a folder's files are, path -> SHA-256; before it is sealed.

    Raises:
        ValueError: one of them has the name of a file of ours.
    """
    if ours := {SEAL, HASHES, VERIFIED}.intersection(hashes):
        raise ValueError(f"no name for a stored file: {', '.join(sorted(ours))}")
    with open(os.path.join(folder, HASHES), "w", encoding="utf-8") as file:
        json.dump(hashes, file, sort_keys=True)


def note_day(folder: str, day: str) -> None:
    """Write down when a folder was last found to be what it was; on a full disk it is not, and is due again."""
    with contextlib.suppress(OSError), open(os.path.join(folder, VERIFIED), "w", encoding="utf-8") as file:
        file.write(day)


def is_due(folder: str, day: str) -> bool:
    """Whether a folder was not yet hashed on a day."""
    try:
        with open(os.path.join(folder, VERIFIED), encoding="utf-8") as file:
            return file.read() != day
    except (OSError, ValueError):
        return True


class Verification:
    """Entries of a store, one after the other, in slices: ``entries`` are still to come, ``path`` is where it goes on.

    Args:
        day: the host's; entries that were hashed on it are left out.
        again: leave none out, and read each file as it is cached, too: that is what a process has had of it.
    """

    def __init__(self, store: Store, entries: list[str], day: str, *, again: bool) -> None:
        self.store, self.day, self.again = store, day, again
        self.entries = [entry for entry in entries if again or is_due(store.folder(entry), day)]
        self.path = ""
        self.hashed = 0

    def slice(self, limit_s: float = SLICE_S) -> dict[str, str]:
        """Go on for a while; remove entries that are not what was stored, and return them with what is wrong.

        In a thread of its own, which gives way to all others: nobody but root gets a priority back, and the keeper has
        to answer in time.
        """
        from concurrent.futures import ThreadPoolExecutor  # not at each start of a keeper

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
                damaged.update(self._removed(entry, wrong))
                self.entries = [other for other in self.entries if other not in damaged]
            else:
                note_day(self.store.folder(entry), self.day)
                self.entries.pop(0)
            self.path = ""
        return damaged

    def _removed(self, entry: str, wrong: str) -> dict[str, str]:
        """Remove an entry, and the bundles that lead to it: a bundle is small."""
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
        """Say what is wrong with a folder, "" where nothing is; None where the time was up before that was known."""
        if not os.path.isdir(folder):
            return "it is gone"
        if not is_sealed(folder):
            return "sizes or times of its files have changed"
        try:
            with open(os.path.join(folder, HASHES), encoding="utf-8") as file:
                hashes: dict[str, str] = dict(json.load(file))
        except FileNotFoundError:
            return "an earlier hilgate stored it, without the hashes of its files"
        except (OSError, ValueError, TypeError) as error:
            return f"{HASHES}: {error}"
        begun = False
        for path in sorted(hashes):
            if path <= self.path:
                continue
            if begun and time.monotonic() > end:
                return None
            if wrong := self._difference(os.path.join(folder, path), hashes[path]):
                return f"{path}: {wrong}"
            self.path, begun = path, True  # one at least in each slice, also where looking took all of its time
        return ""

    def _difference(self, path: str, expected: str) -> str:
        for cached in (True, False) if self.again else (False,):
            try:
                digest, size = hash_file(path, from_disk=not cached)
            except OSError as error:  # EIO: what a worn card says
                return str(error)
            found = digest.hexdigest()
            self.hashed += size
            if found != expected:
                return f"wanted SHA-256 {expected[:SHOWN]}…; found {found[:SHOWN]}…"
        return ""


def verify(found: Optional[Verification], store: Store, **asked: Any) -> tuple[Verification, dict[str, Any]]:  # noqa: UP045
    """Begin a verification, or go on with the one before; returns it, and the reply for the host.

    Args:
        asked: "entries", "day", "again", see Verification, to begin one; nothing, to go on.

    Reply: "damaged", entry -> what is wrong, those that were removed; "left", how many entries are to come;
    "hashed_bytes", so far.
    """
    if asked or found is None:
        found = Verification(store, **asked)
    damaged = found.slice()
    return found, {"damaged": damaged, "left": len(found.entries), "hashed_bytes": found.hashed}
