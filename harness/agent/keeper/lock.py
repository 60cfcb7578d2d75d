"""The device's lock: one run at a time, for two would measure each other.

A flock on STORE/lock, and one on a file of the machine's, for it may have several stores. The kernel lets go of them
when their holder dies, however it dies. The files say who holds them.
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

# Where programs that share a machine keep their locks (hier(7)); everybody may write there.
DEVICE = "/run/lock/hilgate"
# How long a process that was told to end may take to let go.
PATIENCE_S = 5.0


class Busy(Exception):
    """Another run holds the device; ``holder`` is what it said of itself, and "age_s", where that is known."""

    def __init__(self, holder: dict[str, Any]) -> None:
        super().__init__(str(holder))
        self.holder = holder


def take_all(path: str, holder: dict[str, Any], *, whole: bool) -> list[int]:
    """Take a store's lock, and the machine's where it has a folder for such; returns descriptors, to be kept open.

    Args:
        whole: the machine's as well: another store on it, or another user's, is another run's all the same.

    Raises:
        Busy: another run holds one of them; then none is held.
        OSError: the store's cannot be opened for writing.
    """
    descriptors = [take(path, holder)]
    try:
        if whole:
            with contextlib.suppress(OSError):
                descriptors.append(take(DEVICE, holder, mode=0o666))
    except Busy:
        os.close(descriptors[0])
        raise
    return descriptors


def take(path: str, holder: dict[str, Any], mode: int = 0o600) -> int:
    """Take the lock and write down who holds it; returns its descriptor, to be kept open.

    A keeper of the same run (``holder["run"]``) that is still there lost its host when the connection dropped: it is
    ended first. So is one that was stopped (SIGSTOP): it serves nobody, and cannot see its host go (issue 17).

    Raises:
        Busy: another run holds it.
        OSError: the file cannot be opened for writing.
    """
    descriptor = _open(path, mode)
    try:
        if not _try(descriptor):
            found = held_by(path)
            theirs = found.get("run") != holder["run"] and not _is_stopped(found)
            if theirs or not _has_ended(found, descriptor):
                raise Busy(found)
        me = identity(os.getpid())
        content = {**holder, "pid": os.getpid(), "start": me[1] if me else 0, "boot": boot_id()}
        # On a full disk it is held all the same: who wants to free some space there must be able to.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps({**content, "uptime_s": _uptime_s()}).encode(), 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _open(path: str, mode: int) -> int:
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    with contextlib.suppress(FileNotFoundError):
        return os.open(path, flags)  # first: in a folder of everybody's, O_CREAT refuses another user's file
    descriptor = os.open(path, flags | os.O_CREAT, mode)
    with contextlib.suppress(OSError):
        os.fchmod(descriptor, mode)
    return descriptor


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_stopped(found: dict[str, Any]) -> bool:
    process = identity(found["pid"]) if found else None
    return process is not None and process[2] == "T"


def _has_ended(found: dict[str, Any], descriptor: int) -> bool:
    """End a holder; whether the lock is ours then."""
    if not end(found["pid"], found["start"], signal.SIGKILL):
        return False
    deadline = time.monotonic() + PATIENCE_S
    while not _try(descriptor):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def held_by(path: str) -> dict[str, Any]:
    """Who holds the lock; {} where that is not known, as in the moment before a new holder has written it down."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        found = json.loads(read_text(path))
        if is_alive(found):
            # By the device's uptime: its clock may be wrong by a year, or be set.
            return {**found, "age_s": max(_uptime_s() - found["uptime_s"], 0.0)}
    return {}


def _uptime_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
