"""The device's lock: one run at a time, for two would measure each other.

A flock on STORE/lock, which the kernel lets go of when its holder dies, however it dies. The file says who holds it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import time
from typing import Any

from ..facts import read_text
from ..orphans import boot_id, end, identity, is_alive

# How long a process that was told to end may take to let go.
PATIENCE_S = 5.0


class Busy(Exception):
    """Another run holds the device; ``holder`` is what it said of itself, and "age_s", where that is known."""

    def __init__(self, holder: dict[str, Any]) -> None:
        super().__init__(str(holder))
        self.holder = holder


def take(path: str, holder: dict[str, Any]) -> int:
    """Take the lock and write down who holds it; returns its descriptor, to be kept open.

    A keeper of the same run (``holder["run"]``) that is still there lost its host when the connection dropped: it is
    ended first.

    Raises:
        Busy: another run holds it.
        OSError: the file cannot be written.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not _try(descriptor):
        found = _read(path)
        ours = bool(found) and found.get("run") == holder["run"] and found.get("boot") == boot_id()
        if not ours or not end(found["pid"], found["start"], signal.SIGKILL) or not _wait(descriptor):
            os.close(descriptor)
            raise Busy(found)
    me = identity(os.getpid())
    content = {**holder, "pid": os.getpid(), "start": me[1] if me else 0, "boot": boot_id(), "uptime_s": _uptime_s()}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(content).encode(), 0)
    return descriptor


def holder(path: str) -> dict[str, Any] | None:
    """Who holds the lock, by what it wrote down: to try it would be in the way of a run that takes it."""
    found = _read(path)
    return found if {"pid", "start", "boot"} <= found.keys() and is_alive(found) else None


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait(descriptor: int) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if _try(descriptor):
            return True
        time.sleep(0.02)
    return False


def _read(path: str) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        found = json.loads(read_text(path))
        if isinstance(found, dict):
            if found.get("boot") == boot_id():  # by the device's uptime: its clock may be wrong by a year, or be set
                found["age_s"] = max(_uptime_s() - found.get("uptime_s", 0.0), 0.0)
            return found
    return {}


def _uptime_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
