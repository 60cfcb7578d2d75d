"""Opens boards: for a run, or only to examine them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..device.device import Device
from ..links import open_link
from .board import Board, new_board
from .snapshot_boot import switch_on
from .trial import check_second_program


def open_board(device: Device, *, wait_s: float = 0.0) -> Board:
    """Reach a device, examine it, and lock it for this run. An emulated one is switched on first.

    Args:
        device: the device, as its file describes it.
        wait_s: how long to wait for another run to release it.

    Raises:
        EmulatorError: it is emulated, and cannot be switched on.
        LinkError: it cannot be reached, runs one program only, or another run holds it.
        DeviceError: it is not what its file says, or has no usable Python.
        StorageError: its store cannot be written.
    """
    board = new_board(device, open_link(device))
    try:
        if board.link.snapshots is not None:
            switch_on(board, board.link.snapshots, wait_s)
        else:
            board.lease.connect()
            if not board.link.shares_files:
                check_second_program(board.link)
            board.lease.acquire(wait_s)
    except BaseException:
        board.close()
        raise
    return board


@contextmanager
def examine_board(device: Device) -> Iterator[Board]:
    """Reach a device and examine it for the time of a block: no lock is taken, and nothing stays there.

    Args:
        device: the device, as its file describes it.

    Raises:
        LinkError: it cannot be reached.
        DeviceError: it is not what its file says, or has no usable Python.
    """
    board = new_board(device, open_link(device))
    try:
        board.lease.connect()
        yield board
    finally:
        board.close()
