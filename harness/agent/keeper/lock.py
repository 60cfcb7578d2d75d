"""The device's lock: one run at a time, for two would measure each other.

A flock on STORE/lock, and one on a file of the machine's, for it may have several stores. The kernel lets go of them
when their holder dies, however it dies. STORE/lock says who holds it, and only we can write there. The machine's file
belongs to nobody: what stands in it is neither read nor written; see holder.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import signal
import stat
import time
from typing import Any

from ..orphans import end, identity, is_alive, own_identity
from ..private import NotOurs, describe, read_file_of
from .holder import describe_holder, holder_pid, leave_description, uptime_s

# Where programs that share a machine keep their locks (hier(7)); everybody may write there.
DEVICE = "/run/lock/hilgate"
# Earlier versions open it for writing, and go without it where they may not.
DEVICE_MODE = 0o666
# How long a process that was told to end may take to let go.
PATIENCE_S = 5.0
TRIES = 8


class Busy(Exception):
    """Another run holds the device; ``holder`` is what is known of it, and "age_s", where that is known."""

    def __init__(self, holder: dict[str, Any]) -> None:
        super().__init__(str(holder))
        self.holder = holder


def take_all(path: str, holder: dict[str, Any], *, whole: bool) -> list[int]:
    """Take a store's lock, and the machine's where it has a folder for such; returns descriptors, to be kept open.

    Args:
        whole: the machine's as well: another store on it, or another user's, is another run's all the same.

    Raises:
        Busy: another run holds one of them; then none is held.
        NotOurs: what has the machine's lock's name is no file that every user can lock.
        OSError: the store's cannot be opened for writing.
    """
    descriptors = [take(path, holder)]
    try:
        if whole:
            descriptors += take_machine(DEVICE, holder)
    except BaseException:
        os.close(descriptors[0])
        raise
    return descriptors


def take(path: str, holder: dict[str, Any]) -> int:
    """Take a store's lock and write down who holds it; returns its descriptor, to be kept open.

    A keeper of the same run (``holder["run"]``) that is still there lost its host when the connection dropped: it is
    ended first. So is one that was stopped (SIGSTOP): it serves nobody, and cannot see its host go (issue 17).

    Raises:
        Busy: another run holds it.
        OSError: the file cannot be opened for writing.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o600)
    try:
        if not _try(descriptor):
            found = held_by(path)
            if not _may_end(found, holder, descriptor) or not _has_ended(found, descriptor):
                raise Busy(found)
        # On a full disk it is held all the same: who wants to free some space there must be able to.
        with contextlib.suppress(OSError):
            os.fchmod(descriptor, 0o600)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(_record(holder)).encode(), 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def take_machine(path: str, holder: dict[str, Any]) -> list[int]:
    """Take a lock that every user of the machine may take; returns its descriptor, none where there is no such folder.

    Whoever holds it, nobody is ended for it.

    Raises:
        Busy: somebody holds it.
        NotOurs: what has its name is no file that every user can lock.
    """
    for _ in range(TRIES):
        try:
            descriptor = _open_machine(path)
        except FileExistsError:  # another made it just then
            continue
        if descriptor is None:
            return []
        try:
            if not _try(descriptor):
                raise Busy(describe_holder(descriptor, path))
            if _is_at(descriptor, path):
                leave_description(path, _record(holder))
                return [descriptor]
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its owner has removed it meanwhile: that lock keeps nobody out
    raise _unlockable(path, "another user makes and removes it again and again")


def _open_machine(path: str) -> int | None:
    """Open it to be locked, which takes no right to write; None where there is none, and we may not make one.

    Raises:
        NotOurs: something else is there.
        FileExistsError: another made it in between.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # it may be a link or a FIFO of anybody's
    try:
        # First without O_CREAT, which in a folder of everybody's refuses another user's file (fs.protected_regular).
        with contextlib.suppress(FileNotFoundError):
            return _regular(os.open(path, flags), path)
        return _new(path, flags)
    except (NotOurs, FileExistsError):
        raise
    except OSError as error:
        try:
            status = os.lstat(path)
        except OSError:  # there is no such folder, or it is not for everybody, or read-only
            return None
        raise _unusable(path, status) from error


def _new(path: str, flags: int) -> int:
    before = os.umask(0)  # and not chmod after it: meanwhile another user could not open it
    try:
        return os.open(path, flags | os.O_CREAT | os.O_EXCL, DEVICE_MODE)
    finally:
        os.umask(before)


def _regular(descriptor: int, path: str) -> int:
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_nlink <= 1:  # 0: removed meanwhile, which is seen later
        return descriptor
    os.close(descriptor)
    raise _unusable(path, status)


def _unusable(path: str, status: os.stat_result) -> NotOurs:
    """Say so: without this lock two runs would measure each other, and neither would know."""
    return _unlockable(path, f"it is none: {describe(status)}, {status.st_nlink} names")


def _unlockable(path: str, found: str) -> NotOurs:
    return NotOurs(path, found, f"sudo rm -r {shlex.quote(path)}", wanted="a regular file that every user can lock")


def _is_at(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _record(holder: dict[str, Any]) -> dict[str, Any]:
    return {**holder, **own_identity(), "uptime_s": uptime_s()}


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _may_end(found: dict[str, Any], holder: dict[str, Any], descriptor: int) -> bool:
    """Whether a store's holder serves nobody: the same run's earlier keeper, or one that was stopped.

    By its own record, and by the kernel's: nothing else is ended.
    """
    process = identity(found["pid"]) if found else None
    if process is None or not (found.get("run") == holder["run"] or process[2] == "T"):
        return False
    return holder_pid(descriptor) in (0, found["pid"])  # 0: the kernel does not say it here


def _has_ended(found: dict[str, Any], descriptor: int) -> bool:
    """End a holder; whether the lock is ours then."""
    if not end(found["pid"], found["start"], signal.SIGKILL, found.get("exe", "")):
        return False
    deadline = time.monotonic() + PATIENCE_S
    while not _try(descriptor):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def held_by(path: str) -> dict[str, Any]:
    """Who holds a store's lock; {} where that is not known, as in the moment before a new holder has written it down.

    Only we can have written what stands in our own store; of another user's file nothing is believed.
    """
    with contextlib.suppress(ValueError, KeyError, TypeError):
        found = json.loads(read_file_of(path))
        if is_alive(found):
            return {**found, "age_s": max(uptime_s() - found["uptime_s"], 0.0)}
    return {}
