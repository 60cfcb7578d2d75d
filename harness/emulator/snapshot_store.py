"""Snapshots in the cache: a booted board, with all that it holds, as QEMU's migration writes it.

In the cache, states/KEY/, where the key is a hash of all that a snapshot depends on:

    memory         the guest's memory: restored boards map it, and copy a page when they write to it
    disk.qcow2     what the board had written to its disk, above the image's
    home.qcow2     its second disk, the user's home folder
    devices        the state of CPU and devices: what QEMU calls the migration stream
    record.json    see record

Memory is a file that the board had mapped all along, and QEMU is told to leave shared memory out of the stream
(x-ignore-shared): nothing is copied, neither when a snapshot is saved nor when it is restored, and boards that are
restored from one snapshot share the pages that they do not write.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import EmulatorError
from ..host.bounded import discard, pin, prune_caches
from ..host.cache import cache_folder, new_entry
from .record import pin_whole, write_record

FOLDER = "states"


@dataclass(frozen=True)
class Snapshot:
    """A snapshot in the cache.

    Attributes:
        folder: its files.
        record: what was noted when it was saved; see harness.board.snapshot_build.
    """

    folder: Path
    record: Mapping[str, Any] = field(hash=False)

    @cached_property
    def id(self) -> tuple[int, int]:
        """The folder's device and inode numbers: another snapshot that takes its place has others."""
        status = self.folder.stat()
        return status.st_dev, status.st_ino

    @property
    def memory(self) -> Path:
        """The guest's memory."""
        return self.folder / "memory"

    @property
    def disk(self) -> Path:
        """The disk, as an overlay of the image's."""
        return self.folder / "disk.qcow2"

    @property
    def home(self) -> Path:
        """The second disk."""
        return self.folder / "home.qcow2"

    @property
    def writer(self) -> str:
        """The command that QEMU pipes the devices' state into."""
        return f"cat > {shlex.quote(str(self.folder / 'devices'))}"

    @property
    def reader(self) -> str:
        """The command that QEMU reads it from."""
        return f"cat {shlex.quote(str(self.folder / 'devices'))}"


def find_snapshot(key: str) -> Snapshot | None:
    """Find a snapshot by its key, if it is complete; it is pinned until this process ends."""
    folder = snapshot_folder(key)
    record = pin_whole(folder)
    return Snapshot(folder, record) if record is not None else None


def store_snapshot(key: str, save: Callable[[Path], Mapping[str, Any]]) -> Snapshot:
    """Save a snapshot into the cache, in place of one that cannot be used.

    Args:
        key: the hash of all that it depends on.
        save: fills an empty folder, and returns what its record has beside its files.

    Returns:
        The snapshot, pinned until this process ends.

    Raises:
        EmulatorError: it cannot be saved.
        StorageError: the disk is full.
    """
    folder = snapshot_folder(key)
    with new_entry(folder) as work:
        write_record(work, save(work))
        pin(work)  # before it is renamed to its place, so that no other process evicts it in between
        discard(folder)
    prune_caches()
    snapshot = find_snapshot(key)
    if snapshot is None:
        raise EmulatorError("the state that was just saved is damaged", where=str(folder))
    return snapshot


def snapshot_folder(key: str) -> Path:
    """Return the folder of a snapshot, whether it is there or not."""
    return cache_folder() / FOLDER / key
