"""A board: a device that was reached, looked at and locked for this run, with its store.

    with open_board(device, …) as board:
        board.put(bundle)                what is missing there is sent, verified, unpacked
        channel = board.start(bundle)    the agent, speaking frames

When the connection drops it is made again, for a while, at the next use. An emulated board is switched on first.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from ..device.device import Device
from ..links import open_link
from .board import Board
from .prepared import switched_on
from .trial import try_session

__all__ = ["Board", "looked_at", "open_board"]


def open_board(device: Device, *, wait_s: float = 0.0) -> Board:
    """Reach a device, look at it, and take it for this run.

    Args:
        wait_s: how long to wait for another run to let go of it.

    Raises:
        EmulatorError: it is emulated, and cannot be switched on.
        LinkError: it cannot be reached, runs one program only, or another run holds it.
        DeviceError: it is not what its file says, or has no usable Python.
        StorageError: its store cannot be written.
    """
    board = Board(device, open_link(device), uuid.uuid4().hex[:16])
    try:
        if device.emulated:
            switched_on(board, wait_s)
        else:
            board.look()
            if not board.link.shares_files:
                try_session(board.link)
            board.lock(wait_s)
    except BaseException:
        board.close()
        raise
    return board


@contextmanager
def looked_at(device: Device) -> Iterator[Board]:
    """A board that is looked at, and perhaps tried: no lock is taken, and nothing stays there."""
    board = Board(device, open_link(device), uuid.uuid4().hex[:16])
    try:
        board.look()
        yield board
    finally:
        board.close()
