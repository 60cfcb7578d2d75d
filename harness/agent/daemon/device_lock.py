"""The device's lock: one run at a time, for two would disturb each other's measurements.

It is a flock on STORE/lock, and one on a file of the whole machine, which may have several stores. The kernel releases
both when their holder dies, however it dies. STORE/lock says who holds it, for only we can write there. The machine's
file belongs to no user: its content is neither read nor written; see holder.
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
# Writable, because earlier versions open it for writing, and go on without the lock where they may not.
DEVICE_MODE = 0o666
# How long a process that was told to end may take to release the lock.
PATIENCE_S = 5.0
TRIES = 8


class Busy(Exception):
    """Another run holds the device; ``holder`` describes it, with its "age_s" where that is known."""

    def __init__(self, holder: dict[str, Any]) -> None:
        super().__init__(str(holder))
        self.holder = holder


def take_all(path: str, holder: dict[str, Any], *, whole: bool) -> list[int]:
    """Take a store's lock, and the machine's where it has a folder for locks; return descriptors, to be kept open.

    Args:
        path: the store's lock.
        holder: describes this run; "run" names it.
        whole: take the machine's as well, against runs in other stores of it, other users' included.

    Raises:
        Busy: another run holds one of them; then none is held.
        NotOurs: at the path of the machine's lock is something that not every user can lock.
        OSError: the store's lock cannot be opened for writing.
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
    """Take a store's lock and write down who holds it; return its descriptor, to be kept open.

    A daemon of the same run (``holder["run"]``) that still holds it lost its host when the connection dropped: it is
    ended first. So is a stopped one (SIGSTOP): it serves nobody, and cannot notice that its host is gone (issue 17).

    Raises:
        Busy: another run holds it.
        OSError: the file cannot be opened for writing.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o600)
    try:
        if not _try(descriptor):
            found = held_by(path)
            if not _may_end(found, holder, descriptor) or not _end_and_take(found, descriptor):
                raise Busy(found)
        # On a full disk the lock is held without a record: whoever wants to free space there must be able to.
        with contextlib.suppress(OSError):
            os.fchmod(descriptor, 0o600)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(_record(holder)).encode(), 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def take_machine(path: str, holder: dict[str, Any]) -> list[int]:
    """Take a lock that every user of the machine may take; return its descriptor, none where its folder is missing.

    No holder is ever ended for it.

    Raises:
        Busy: another process holds it.
        NotOurs: at its path is something that not every user can lock.
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
        os.close(descriptor)  # its owner has removed the file meanwhile: that lock excludes nobody
    raise _unlockable(path, "another user makes and removes it again and again")


def _open_machine(path: str) -> int | None:
    """Open the machine's lock, for reading; None where there is none, and we may not make one.

    Raises:
        NotOurs: something else is there.
        FileExistsError: another process made it in between.
    """
    # Another user may have put a link or a FIFO there.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        # First without O_CREAT: with it the kernel refuses another user's file in such a folder (fs.protected_regular).
        with contextlib.suppress(FileNotFoundError):
            return _check_regular(os.open(path, flags), path)
        return _create(path, flags)
    except (NotOurs, FileExistsError):
        raise
    except OSError as error:
        try:
            status = os.lstat(path)
        except OSError:  # the folder does not exist, or is not open to every user, or is read-only
            return None
        raise _not_a_lock(path, status) from error


def _create(path: str, flags: int) -> int:
    before = os.umask(0)  # rather than chmod afterwards: until then another user could not open it
    try:
        return os.open(path, flags | os.O_CREAT | os.O_EXCL, DEVICE_MODE)
    finally:
        os.umask(before)


def _check_regular(descriptor: int, path: str) -> int:
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_nlink <= 1:  # 0: removed meanwhile, which is seen later
        return descriptor
    os.close(descriptor)
    raise _not_a_lock(path, status)


def _not_a_lock(path: str, status: os.stat_result) -> NotOurs:
    """Return the error for a lock that cannot be used: without it two runs could disturb each other unnoticed."""
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
    """Whether a store's holder serves nobody: an earlier daemon of the same run, or a stopped one.

    Both its own record and the kernel must say so: nothing else is ended.
    """
    process = identity(found["pid"]) if found else None
    if process is None or not (found.get("run") == holder["run"] or process[2] == "T"):
        return False
    return holder_pid(descriptor) in (0, found["pid"])  # 0: the kernel does not tell


def _end_and_take(found: dict[str, Any], descriptor: int) -> bool:
    """End a holder and take the lock; return whether we have it."""
    if not end(found["pid"], found["start"], signal.SIGKILL, found.get("exe", "")):
        return False
    deadline = time.monotonic() + PATIENCE_S
    while not _try(descriptor):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def held_by(path: str) -> dict[str, Any]:
    """Return the record of a store's holder; {} where it is unknown, as before a new holder has written it.

    Only our user can write in our store; another user's file is not believed.
    """
    with contextlib.suppress(ValueError, KeyError, TypeError):
        found = json.loads(read_file_of(path))
        if is_alive(found):
            return {**found, "age_s": max(uptime_s() - found["uptime_s"], 0.0)}
    return {}
