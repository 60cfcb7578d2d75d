"""Faults: what may happen to a board, done on purpose, through QEMU's monitor.

By a test, on an Emulator; or by a person beside a run, through the socket ``faults`` in the board's folder:

    hilgate fault qemu-pi4 network-down
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import EmulatorError

if TYPE_CHECKING:
    from .monitor import Monitor

RESET_S = 10.0
SOCKET = "faults"


def _cut_power(monitor: Monitor) -> None:
    with contextlib.suppress(EmulatorError):  # it may be gone before it has answered
        monitor("quit")


def _reset(monitor: Monitor) -> None:
    # A reboot is else the end, for a guest that panics reboots.
    monitor("set-action", reboot="reset")
    try:
        monitor.after("system_reset", "RESET", RESET_S)
    finally:
        monitor("set-action", reboot="shutdown")


# What happens, in words, and how.
FAULTS: Mapping[str, tuple[str, Callable[[Monitor], object]]] = {
    "power-cut": ("the board is gone, and does not come back", _cut_power),
    "reset": ("the board starts anew; what was in its memory is lost", _reset),
    "network-down": ("the cable is pulled", lambda monitor: monitor("set_link", name="nic", up=False)),
    "network-up": ("the cable is plugged in again", lambda monitor: monitor("set_link", name="nic", up=True)),
    "pause": ("the board stands still", lambda monitor: monitor("stop")),
    "resume": ("the board goes on", lambda monitor: monitor("cont")),
}


def inject(monitor: Monitor, fault: str) -> None:
    """Do it.

    Raises:
        EmulatorError: QEMU refused, or is gone.
    """
    FAULTS[fault][1](monitor)


def inject_from_outside(folder: Path, fault: str) -> None:
    """Do it to a board that another process runs.

    Args:
        folder: the board's.

    Raises:
        EmulatorError: it is not there any more, or somebody else is at its socket.
    """
    from .monitor import Monitor

    with socket.socket(socket.AF_UNIX) as connection:
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        try:
            connection.connect(f"/proc/self/fd/{descriptor}/{SOCKET}")  # a path of any length
        except OSError as error:
            raise EmulatorError("the board cannot be reached", found=str(error), where=str(folder)) from error
        finally:
            os.close(descriptor)
        monitor = Monitor(connection)
        try:
            inject(monitor, fault)
        finally:
            monitor.close()
