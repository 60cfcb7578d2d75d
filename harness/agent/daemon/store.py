"""The store on a device: folders named by the hash of their content, each complete or absent, bounded in size.

    STORE/
      lock                who holds the device
      agents/PID.json     processes that were started here, see orphans
      incoming/SHA        a file that was sent, verified; SHA.part: an incomplete one
      artifacts/SHA/      an exported model
      runtimes/SHA/       unpacked wheels
      bundles/SHA/        an agent with its manifest; artifact and runtime are links to the two above
      results/NAME        a reply that an agent could not yet deliver

An entry (a folder in one of the three) is filled under a name with a dot, sealed, written to the disk, then renamed.
The seal is a hash over every file's path, size and time of modification: it tells what was changed, truncated or added
since, without reading gigabytes at every start. So do owners and modes tell what another user owns or may write to.
What a bad card changed shows when the files are hashed again, see verify.

The store is used only where it is private, see private, and everything in it is readable by us only.

Nothing here uses the time of day: a board without a battery-backed clock may be years off, and be set meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Collection
from typing import Any

from ..private import make_folder
from ..unpack import unpack
from .folders import disk_use, free_bytes, is_sealed, place, remove, seal, size_of
from .verify import note_hashes

KINDS = ("artifacts", "runtimes", "bundles")
FOLDERS = (*KINDS, "agents", "incoming", "results")
CHUNK = 1 << 20
GIB = 1 << 30
# The store takes no more than this, and no more than half of what the disk could give it.
LIMIT_BYTES = 20 * GIB
# Nor more entries than this: small models and bundles can be many, and all are named when the store is opened.
MOST_ENTRIES = 2000
FULL = (errno.ENOSPC, errno.EDQUOT)
# By how much the "last used" time of an entry that is used exceeds all others.
TICK_NS = 10**9


class Store:
    """One store. Only the holder of its lock writes to it; the receiver of files writes ``incoming`` only.

    Args:
        root: its absolute path.
        limit_bytes: how much it may take.
    """

    def __init__(self, root: str, limit_bytes: int = LIMIT_BYTES) -> None:
        self.root = root
        self.limit_bytes = limit_bytes
        self.used: set[str] = set()

    @classmethod
    def open(cls, root: str) -> Store:
        """Open a store, and make what is missing of its folders.

        Args:
            root: its path; "~" is the home folder.

        Raises:
            NotOurs: another user owns it or may write to it, or to a folder above it.
            OSError: it cannot be made.
        """
        store = cls(os.path.abspath(os.path.expanduser(root)))
        make_folder(store.root)
        for name in FOLDERS:
            make_folder(store.path(name))
        return store

    def path(self, *names: str) -> str:
        """Return a path in the store.

        Raises:
            ValueError: a name is not one of a file or folder.
        """
        for name in names:
            if name in ("", ".", "..") or "/" in name or "\0" in name:
                raise ValueError(f"no name of ours: {'/'.join(names)!r}")
        return os.path.join(self.root, *names)

    def folder(self, entry: str) -> str:
        """Return the path of an entry, KIND/NAME.

        Raises:
            ValueError: it is not an entry's name.
        """
        kind, _, name = entry.partition("/")
        if kind not in KINDS or name.startswith("."):
            raise ValueError(f"no name of ours: {entry!r}")
        return self.path(kind, name)

    def entries(self) -> list[str]:
        """List all entries, as KIND/NAME."""
        names = ((kind, name) for kind in KINDS for name in sorted(os.listdir(self.path(kind))))
        return [f"{kind}/{name}" for kind, name in names if not name.startswith(".")]

    def tidy(self, trusted: Collection[str] = ()) -> list[str]:
        """Remove unfinished and damaged entries of earlier runs; return the damaged ones.

        Incoming files stay, so that their upload can be resumed: see make_room.

        Args:
            trusted: entries that need not be checked.
        """
        for kind in KINDS:
            for name in os.listdir(self.path(kind)):
                if name.startswith("."):
                    remove(self.path(kind, name))
        damaged = [entry for entry in self.entries() if entry not in trusted and not self.is_intact(entry)]
        for entry in damaged:
            self.remove(entry)
        return damaged + (self._remove_dangling() if damaged else [])

    def is_intact(self, entry: str) -> bool:
        """Whether an entry is still what was sealed, and its links lead somewhere."""
        return is_sealed(self.folder(entry))

    def make(
        self,
        entry: str,
        files: dict[str, str],
        archives: list[str],
        texts: dict[str, str],
        links: dict[str, str],
    ) -> None:
        """Make an entry of incoming files.

        Where the disk is full, the incoming files are removed, too: it must not stay full.

        Args:
            entry: its name, KIND/SHA-256.
            files: path in the entry -> SHA-256 of an incoming file, which is moved there.
            archives: SHA-256 of incoming wheels and other zip files, unpacked there in this order.
            texts: path in the entry -> a small file's content.
            links: path in the entry -> the entry that it leads to.
        """
        folder = self.folder(entry)
        work = tempfile.mkdtemp(prefix=".", dir=os.path.dirname(folder))
        try:
            self._move(files, work)
            hashes = {os.path.normpath(path): sha256 for path, sha256 in files.items()}
            for path, text in texts.items():
                content = text.encode("utf-8")
                with open(place(work, path), "wb") as file:
                    file.write(content)
                hashes[os.path.normpath(path)] = hashlib.sha256(content).hexdigest()
            hashes.update(unpack([self.path("incoming", sha256) for sha256 in archives], work))
            for path, other in links.items():
                os.symlink(os.path.relpath(self.folder(other), folder), place(work, path))
            note_hashes(work, hashes)
            seal(work)
            os.sync()  # boards are more often unplugged than shut down
            if os.path.lexists(folder):
                self.remove(entry)
            os.rename(work, folder)
        except OSError as error:
            if error.errno in FULL:
                self.drop_incoming()
            raise
        finally:
            remove(work)
        for sha256 in archives:
            remove(self.path("incoming", sha256))

    def _move(self, files: dict[str, str], work: str) -> None:
        moved: dict[str, str] = {}
        for path, sha256 in files.items():
            target = place(work, path)
            if sha256 in moved:  # two files of the same content were sent once
                shutil.copyfile(moved[sha256], target)
            else:
                os.rename(self.path("incoming", sha256), target)
                moved[sha256] = target

    def use(self, entry: str) -> None:
        """Note that this run uses an entry: it stays, and counts as used after all others."""
        self.used.add(entry)
        latest = max((self._last_used(other) for other in self.entries()), default=0) + TICK_NS
        os.utime(self.folder(entry), ns=(latest, latest))

    def _last_used(self, entry: str) -> int:
        return os.stat(self.folder(entry)).st_mtime_ns

    def remove(self, entry: str) -> None:
        """Remove an entry, atomically: a reader never sees half of one under its name."""
        folder = self.folder(entry)
        away = os.path.join(os.path.dirname(folder), f".removed-{time.monotonic_ns()}")
        os.rename(folder, away)
        remove(away)

    def make_room(self, needed: int, awaited: Collection[str] = (), near: int = 0) -> dict[str, Any]:
        """Remove least recently used entries until so many bytes fit, on the disk and within the store's limit.

        Args:
            needed: how many bytes are going to be stored.
            awaited: SHA-256 of the files in them; what is here of those need not be sent, other incoming files are
                removed.
            near: how many of the bytes need no space, for their files are hard-linked.

        Returns:
            "needed_bytes", still to be sent; "free_bytes"; and "removed", the names of entries.
            The caller decides whether that is enough.
        """
        self.drop_incoming(awaited)
        incoming = size_of(self.path("incoming"))
        needed = max(needed - incoming - near, 0)
        free, used = disk_use(self.root)
        many = max(len(self.entries()) - MOST_ENTRIES, 0)
        if not many and used + needed <= min(self.limit_bytes, free // 2):
            # The whole disk's use is within the limit: there is no need to look at thousands of files.
            return {"needed_bytes": needed, "free_bytes": free, "removed": []}
        sizes = {entry: size_of(self.folder(entry)) for entry in self.entries()}
        limit = min(self.limit_bytes, (self.free_bytes() + sum(sizes.values()) + incoming) // 2)
        removed: list[str] = []
        for entry in sorted(sizes, key=self._last_used):
            fits = needed <= self.free_bytes() and sum(sizes.values()) + incoming + needed <= limit
            if fits and len(removed) >= many:
                break
            if entry not in self.used:
                self.remove(entry)
                removed.append(entry)
                del sizes[entry]
        removed += self._remove_dangling() if removed else []
        return {"needed_bytes": needed, "free_bytes": self.free_bytes(), "removed": removed}

    def drop_incoming(self, awaited: Collection[str] = ()) -> None:
        """Remove incoming files that are not awaited."""
        with contextlib.suppress(FileNotFoundError):  # as below
            for name in os.listdir(self.path("incoming")):
                if name.partition(".")[0] not in awaited:
                    remove(self.path("incoming", name))

    def drop_results(self, run: str = "/") -> None:
        """Remove results that nobody is going to collect: all but this run's."""
        with contextlib.suppress(FileNotFoundError):  # the store may just have been cleared
            for name in os.listdir(self.path("results")):
                if not name.startswith(run):
                    remove(self.path("results", name))

    def _remove_dangling(self) -> list[str]:
        """Remove bundles whose artifact or runtime was removed; return their names."""
        dangling = [entry for entry in self.entries() if entry.startswith("bundles/") and not self.is_intact(entry)]
        for entry in dangling:
            self.remove(entry)
        return dangling

    def used_bytes(self) -> int:
        """Return how many bytes the store takes."""
        return sum(size_of(self.path(name)) for name in FOLDERS)

    def free_bytes(self) -> int:
        """Return how many bytes an ordinary user may still write on the store's disk."""
        return free_bytes(self.root)

    def clear(self) -> None:
        """Remove everything but the lock, which the caller must hold."""
        for name in FOLDERS:
            remove(self.path(name))
