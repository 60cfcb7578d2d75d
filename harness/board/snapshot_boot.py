"""Switches an emulated board on from its snapshot: runtimes deployed, a forkserver of each waiting to fork.

Making that takes minutes, and depends on nothing that changes between runs. So it is made once, and saved as a
snapshot (see snapshot_build); later runs restore it. A snapshot is named by a hash of all that it depends on, so that a
change of any of these makes another one.
"""

from __future__ import annotations

from ..emulator.image import Image, provide_image
from ..emulator.machine import machine_of
from ..emulator.record import describe_damage
from ..emulator.snapshot_store import Snapshot, find_snapshot, snapshot_folder, store_snapshot
from ..errors import HilgateError
from ..host.bounded import build_lock
from ..host.progress_log import progress_logger
from ..links import SnapshotPower
from .board import Board
from .snapshot_build import WAITS, build_snapshot, foundations, snapshot_key
from .snapshot_check import SnapshotCheck

LOG = progress_logger(__name__)


def switch_on(board: Board, power: SnapshotPower, wait_s: float) -> None:
    """Switch an emulated board on from its snapshot, examine it and lock it; make the snapshot where there is none.

    A snapshot that cannot be restored, or whose board cannot be used, is dropped and made again, once.

    Args:
        board: the board, which is off.
        power: its power switch.
        wait_s: how long to wait while another run holds the board.

    Raises:
        DeviceError: the device file does not say what to emulate, or the board is not what it says.
        EmulatorError: the host lacks a program, or the board does not come up.
        LinkError: it cannot be reached.
        StorageError: the disk is full.
    """
    device = board.device
    machine, image = machine_of(device), provide_image()
    bundles = foundations(device, image)
    key = snapshot_key(device, image, machine, bundles)
    if (snapshot := find_snapshot(key)) is not None and _try_restore(board, power, image, snapshot, wait_s):
        return
    with build_lock(snapshot_folder(key)):
        other = find_snapshot(key)  # made by another run while this one waited
        if other is not None and other.id != (snapshot.id if snapshot else None):
            if _try_restore(board, power, image, other, wait_s):
                return
        elif snapshot_folder(key).exists() and other is None:
            LOG.info(
                f"the saved state of {device.name} is not what was saved ({describe_damage(snapshot_folder(key))})"
            )
        backends = ", ".join(bundle.backend for bundle in bundles) or "nothing"
        LOG.info(f"preparing {device.name}, once, for about two minutes: booting it, deploying {backends}")
        made = store_snapshot(key, lambda folder: build_snapshot(device, image, bundles, folder))
    _restore(board, power, image, made, wait_s)


def _try_restore(board: Board, power: SnapshotPower, image: Image, snapshot: Snapshot, wait_s: float) -> bool:
    """Restore a snapshot; return whether its board came up, said what it is, and could be locked."""
    try:
        _restore(board, power, image, snapshot, wait_s)
    except HilgateError as error:
        board.close()
        LOG.info(f"the saved state of {board.device.name} is of no use and is made anew: {error.what}")
        return False
    return True


def _restore(board: Board, power: SnapshotPower, image: Image, snapshot: Snapshot, wait_s: float) -> None:
    power.power_on(image, snapshot)
    board.snapshot = SnapshotCheck.of([snapshot.folder, image.folder])
    board.lease.trusted = frozenset(snapshot.record["entries"])
    board.lease.connect()
    board.lease.acquire(wait_s)
    without = {name: why for name, why in snapshot.record["forkservers"].items() if why != WAITS}
    board.lease.notes += [
        f"no forkserver of {name} waits on {board.device.name}: {why}" for name, why in without.items()
    ]
