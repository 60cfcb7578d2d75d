"""Saved states: a booted board, with all that it holds, as QEMU's migration writes it.

In the cache, states/KEY/, where the key names all that a state depends on:

    memory         the guest's memory, as it was: restored boards map it, and copy a page when they write to it
    disk.qcow2     what it had written to its disk, above the image's
    home.qcow2     its second disk, the user's home folder
    devices        the state of CPU and devices: what QEMU calls the migration stream
    record.json    see record

Memory is a file that the board had mapped all along, and QEMU is told to leave shared memory out of the stream
(x-ignore-shared): nothing is copied, neither when a state is saved nor when it is restored, and boards that are
restored from one state share what they do not write.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import EmulatorError
from ..host.bounded import discard, hold, prune_caches
from ..host.cache import cache_folder, new_entry
from .record import pin_whole, write_record

FOLDER = "states"


@dataclass(frozen=True)
class Snapshot:
    """A state in the cache; ``record`` is what was noted when it was saved."""

    folder: Path
    record: Mapping[str, Any] = field(hash=False)

    @cached_property
    def id(self) -> tuple[int, int]:
        """Tells it from another one that takes its place."""
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
    """A state by its key, if it is there and whole; in use from now until this process ends."""
    folder = snapshot_folder(key)
    record = pin_whole(folder)
    return Snapshot(folder, record) if record is not None else None


def store_snapshot(key: str, save: Callable[[Path], Mapping[str, Any]]) -> Snapshot:
    """File a state, in place of one that is of no use; returns it, in use.

    Args:
        save: fills a folder, and returns what is to be noted.

    Raises:
        EmulatorError, StorageError: as ``save`` does.
    """
    folder = snapshot_folder(key)
    with new_entry(folder) as work:
        write_record(work, save(work))
        hold(work)  # before anybody sees it: nobody prunes it
        discard(folder)
    prune_caches()
    saved = find_snapshot(key)
    if saved is None:
        raise EmulatorError("the state that was just saved is damaged", where=str(folder))
    return saved


def snapshot_folder(key: str) -> Path:
    """Where a state is, or would be."""
    return cache_folder() / FOLDER / key
