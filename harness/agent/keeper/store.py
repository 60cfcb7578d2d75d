"""The store on a device: folders named by what is in them, whole or not there, as many as there is room for.

    STORE/
      lock                who holds the device
      agents/PID.json     processes that were started here, see orphans
      incoming/SHA        a file that was sent, verified; SHA.part: one of which a part has come
      artifacts/SHA/      an exported model
      runtimes/SHA/       unpacked wheels
      bundles/SHA/        an agent with its manifest; artifact and runtime are links to the two above
      results/NAME        what an agent measured and could not yet hand over

An entry (a folder in one of the three) is filled under a name with a dot, sealed, written to the disk, then renamed.
The seal is a hash over every file's path, size and time of modification: what was changed, cut short or added to since
is found by looking, without reading gigabytes at every start.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from typing import Any

from ..unpack import unpack

KINDS = ("artifacts", "runtimes", "bundles")
FOLDERS = (*KINDS, "agents", "incoming", "results")
SEAL = ".seal"
CHUNK = 1 << 20
GIB = 1 << 30
# The store takes no more than this, and no more than half of what the disk could give it.
LIMIT_BYTES = 20 * GIB
# What one run left unfinished and no other went on with goes after so long.
LEFTOVER_AGE_S = 7 * 24 * 3600.0


class Store:
    """One store. Only the holder of its lock writes to it; the receiver of files writes ``incoming`` only."""

    def __init__(self, root: str, make: bool = True) -> None:
        self.root = os.path.abspath(os.path.expanduser(root))
        self.used: set[str] = set()
        for name in FOLDERS if make else ():
            os.makedirs(self.path(name), mode=0o700, exist_ok=True)

    def path(self, *names: str) -> str:
        """A path in the store.

        Raises:
            ValueError: it would lead out of it.
        """
        joined = os.path.normpath(os.path.join(self.root, *names))
        if not joined.startswith(self.root + os.sep):
            raise ValueError(f"no name of ours: {os.path.join(*names)!r}")
        return joined

    def entries(self) -> list[str]:
        """All entries, as KIND/NAME."""
        names = ((kind, name) for kind in KINDS for name in sorted(os.listdir(self.path(kind))))
        return [f"{kind}/{name}" for kind, name in names if not name.startswith(".")]

    def tidy(self) -> list[str]:
        """Remove what an earlier run left behind, and entries that are not what was stored; returns the latter."""
        for kind in KINDS:
            for name in os.listdir(self.path(kind)):
                if name.startswith("."):
                    _remove(self.path(kind, name))
        oldest = time.time() - LEFTOVER_AGE_S
        for name in os.listdir(self.path("incoming")):
            with contextlib.suppress(OSError):
                # By age either way: a clock that was a year ahead left files that would never grow old.
                if not oldest < os.stat(self.path("incoming", name)).st_mtime < time.time() + LEFTOVER_AGE_S:
                    os.unlink(self.path("incoming", name))
        # Bundles last: one whose runtime was damaged is damaged too.
        damaged = [entry for entry in self.entries() if not self.is_intact(entry)]
        for entry in damaged:
            self.remove(entry)
        dangling = [entry for entry in self.entries() if not self.is_intact(entry)] if damaged else []
        for entry in dangling:
            self.remove(entry)
        return damaged + dangling

    def is_intact(self, entry: str) -> bool:
        """Whether an entry is what was sealed, as far as sizes and times tell."""
        folder = self.path(entry)
        try:
            with open(os.path.join(folder, SEAL), encoding="ascii") as file:
                return file.read() == seal_of(folder)
        except OSError:
            return False

    def make(
        self,
        entry: str,
        files: dict[str, str],
        archives: list[str],
        texts: dict[str, str],
        links: dict[str, str],
    ) -> None:
        """Fill an entry from what has come in.

        Args:
            files: path in the entry -> SHA-256 of an incoming file, which is moved there.
            archives: SHA-256 of incoming wheels and other zip files, unpacked there in this order.
            texts: path in the entry -> a small file's content.
            links: path in the entry -> the entry that it leads to.
        """
        folder = self.path(entry)
        kind, _, name = entry.partition("/")
        work = self.path(kind, f".{name[:16]}-{os.getpid()}")
        os.makedirs(work, mode=0o700)
        try:
            for path, sha256 in files.items():
                os.rename(self.path("incoming", sha256), _place(work, path))
            for path, text in texts.items():
                with open(_place(work, path), "w", encoding="utf-8", newline="") as file:
                    file.write(text)
            unpack([self.path("incoming", sha256) for sha256 in archives], work)
            for path, other in links.items():
                os.symlink(os.path.relpath(self.path(other), folder), _place(work, path))
            with open(os.path.join(work, SEAL), "w", encoding="ascii") as file:
                file.write(seal_of(work))
            os.sync()  # a board's power is cut more often than it is shut down
            if os.path.exists(folder):
                self.remove(entry)
            os.rename(work, folder)
        finally:
            _remove(work)
        for sha256 in archives:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path("incoming", sha256))

    def use(self, entry: str) -> None:
        """Note that this run uses an entry: it stays, and was used just now."""
        self.used.add(entry)
        os.utime(self.path(entry))

    def remove(self, entry: str) -> None:
        """Remove an entry; a reader never meets half of one under its name."""
        kind, _, name = entry.partition("/")
        away = self.path(kind, f".removed-{name[:16]}-{time.monotonic_ns()}")
        os.rename(self.path(entry), away)
        _remove(away)

    def make_room(self, needed: int) -> dict[str, Any]:
        """Remove least recently used entries until so many bytes fit, on the disk and within the store's limit.

        Returns:
            "free_bytes", "used_bytes", "limit_bytes" and "removed", the entries' names. Whether it is enough is the
            caller's to judge.
        """
        sizes = {entry: _size(self.path(entry)) for entry in self.entries()}
        incoming = _size(self.path("incoming"))
        limit = min(LIMIT_BYTES, (self.free_bytes() + sum(sizes.values()) + incoming) // 2)
        removed: list[str] = []
        for entry in sorted(sizes, key=self._last_used):
            fits = needed <= self.free_bytes() and sum(sizes.values()) + incoming + needed <= limit
            if fits:
                break
            if entry not in self.used:
                self.remove(entry)
                removed.append(entry)
                del sizes[entry]
        removed += self._remove_dangling() if removed else []
        return {
            "free_bytes": self.free_bytes(),
            "used_bytes": sum(sizes.values()) + incoming,
            "limit_bytes": limit,
            "removed": removed,
        }

    def _last_used(self, entry: str) -> float:
        return os.stat(self.path(entry)).st_mtime

    def _remove_dangling(self) -> list[str]:
        """A bundle is small and goes with what it leads to."""
        dangling = [entry for entry in self.entries() if entry.startswith("bundles/") and not self.is_intact(entry)]
        for entry in dangling:
            self.remove(entry)
        return dangling

    def free_bytes(self) -> int:
        """What an ordinary user may still write on the store's disk."""
        disk = os.statvfs(self.root)
        return disk.f_bavail * disk.f_frsize

    def used_bytes(self) -> int:
        """What is in it."""
        return sum(_size(self.path(name)) for name in FOLDERS)

    def clear(self) -> None:
        """Remove everything but the lock, which the caller holds."""
        for name in FOLDERS:
            _remove(self.path(name))


def seal_of(folder: str) -> str:
    """A hash over what is in a folder, see above. A link that leads nowhere makes it another one."""
    lines = [f"{path} {what}" for path, what in _walk(folder, "") if path != SEAL]
    return hashlib.sha256("\n".join(sorted(lines)).encode("utf-8", "surrogateescape")).hexdigest()


def _walk(folder: str, prefix: str) -> Iterator[tuple[str, str]]:
    with os.scandir(folder) as found:
        for item in found:
            path = prefix + item.name
            if item.is_symlink():
                yield path, f"-> {os.readlink(item.path)}" if os.path.exists(item.path) else "-> nowhere"
            elif item.is_dir():
                yield from _walk(item.path, path + "/")
            else:
                status = item.stat()
                yield path, f"{status.st_size} {status.st_mtime_ns}"


def _place(folder: str, path: str) -> str:
    """Where a file goes, its folder made."""
    joined = os.path.normpath(os.path.join(folder, path))
    if not joined.startswith(folder + os.sep):
        raise ValueError(f"no path of ours: {path!r}")
    os.makedirs(os.path.dirname(joined), exist_ok=True)
    return joined


def _size(folder: str) -> int:
    total = 0
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as found:
        for item in found:
            if item.is_dir(follow_symlinks=False):
                total += _size(item.path)
            else:
                total += item.stat(follow_symlinks=False).st_size
    return total


def _remove(path: str) -> None:
    shutil.rmtree(path, ignore_errors=True)
