"""Faults: what may happen to a board, injected on purpose through QEMU's monitor.

A test injects them into an Emulator; a person into a running board, through the socket ``faults`` in its folder:

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
    with contextlib.suppress(EmulatorError):  # QEMU may be gone before it has answered
        monitor("quit")


def _reset(monitor: Monitor) -> None:
    # Otherwise a reboot ends the machine: a guest that panics reboots, and must not come up again unnoticed.
    monitor("set-action", reboot="reset")
    try:
        monitor.after("system_reset", "RESET", RESET_S)
    finally:
        monitor("set-action", reboot="shutdown")


# Fault -> (what happens, in words; what does it).
FAULTS: Mapping[str, tuple[str, Callable[[Monitor], object]]] = {
    "power-cut": ("the board is gone, and does not come back", _cut_power),
    "reset": ("the board starts anew; what was in its memory is lost", _reset),
    "network-down": ("the cable is pulled", lambda monitor: monitor("set_link", name="nic", up=False)),
    "network-up": ("the cable is plugged in again", lambda monitor: monitor("set_link", name="nic", up=True)),
    "pause": ("the board stands still", lambda monitor: monitor("stop")),
    "resume": ("the board goes on", lambda monitor: monitor("cont")),
}


def inject(monitor: Monitor, fault: str) -> None:
    """Inject a fault into a board.

    Args:
        monitor: its QEMU's.
        fault: one of FAULTS.

    Raises:
        EmulatorError: QEMU refused, or is gone.
    """
    FAULTS[fault][1](monitor)


def inject_from_outside(folder: Path, fault: str) -> None:
    """Inject a fault into a board that another process runs.

    Args:
        folder: the board's.
        fault: one of FAULTS.

    Raises:
        EmulatorError: the board is gone, or another process is connected to its socket.
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
        monitor = Monitor.connect(connection)
        try:
            inject(monitor, fault)
        finally:
            monitor.close()
