"""Who holds a lock, as the kernel says; and what he says of himself, where it is he who wrote it.

A lock in a folder that every user shares may be held by any of them, and what stands in its file may have been written
by any other. /proc/locks says which process took it (proc(5)), and that process's own record in /proc whose it is. A
user leaves his run's description beside the lock in a file of his own, which is believed as far as the kernel confirms
it: it belongs to that user, and is of that process (issue 17, point 5).

The kernel tells no pid where the process is one of another pid namespace (a container), and little of another user's
process where /proc is mounted with hidepid; then that is what is said.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from typing import Any

from ..facts import read_text
from ..orphans import boot_id, identity, uid_of
from ..private import open_new, read_file_of, user_name

# What a description may have of text, each no longer than this.
WORDS = ("who", "since", "run")
LONGEST = 200


def holder_pid(descriptor: int) -> int:
    """The process that took the lock (flock) on an open file; 0 where nobody did, or it cannot be seen."""
    wanted = f"{_device(descriptor)}:{os.fstat(descriptor).st_ino}"
    for line in read_text("/proc/locks").splitlines():
        fields = line.split()  # who waits for it has "->" in the second field
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5] == wanted:
            return max(int(fields[4]), 0)
    return 0


def _device(descriptor: int) -> str:
    """A file's disk as /proc/locks has it: the mount's, which on btrfs is not what stat says."""
    mount = re.search(r"^mnt_id:\s*(\d+)", read_text(f"/proc/self/fdinfo/{descriptor}"), re.MULTILINE)
    if mount:
        found = re.search(rf"^{mount[1]} \d+ (\d+):(\d+) ", read_text("/proc/self/mountinfo"), re.MULTILINE)
        if found:
            return f"{int(found[1]):02x}:{int(found[2]):02x}"
    device = os.fstat(descriptor).st_dev
    return f"{os.major(device):02x}:{os.minor(device):02x}"


def describe_holder(descriptor: int, path: str) -> dict[str, Any]:
    """Say who holds a lock that every user may take.

    "lock", its path; "user", whose process holds it, and "pid", each as far as the kernel says it; "who", "since",
    "run", "age_s", what he has left beside it, if he has.
    """
    pid = holder_pid(descriptor)
    found: dict[str, Any] = {"lock": path}
    if not pid:
        return {**found, "user": "a process that cannot be seen from here: of a container, or hidden"}
    uid = uid_of(pid)
    if uid is None and _is_gone(pid):
        return {**found, "user": "what a process has left behind that ended"}
    found["pid"] = pid
    if uid is None:
        return {**found, "user": "a user whose processes are hidden"}
    return {**found, "user": user_name(uid), **_description(path, uid, pid)}


def _is_gone(pid: int) -> bool:
    """Whether there is no such process, and not only none that is shown."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _description(path: str, uid: int, pid: int) -> dict[str, Any]:
    with contextlib.suppress(ValueError, KeyError, TypeError, OverflowError):
        record = json.loads(read_file_of(record_path(path, uid), uid))
        process = identity(pid)
        if process and (record["pid"], record["start"], record["boot"]) == (pid, process[1], boot_id()):
            words = {name: record[name][:LONGEST] for name in WORDS if isinstance(record.get(name), str)}
            return {**words, "age_s": max(uptime_s() - float(record["uptime_s"]), 0.0)}
    return {}


def leave_description(path: str, record: dict[str, Any]) -> None:
    """Leave a run's description beside a lock that it has taken, for every user to read."""
    with contextlib.suppress(OSError):  # another user's file has that name: then it is held without one
        descriptor = open_new(record_path(path, os.geteuid()), 0o644)
        try:
            os.fchmod(descriptor, 0o644)
            os.write(descriptor, json.dumps(record).encode())
        finally:
            os.close(descriptor)


def record_path(path: str, uid: int) -> str:
    """Where a user leaves what he says of himself when he holds a lock."""
    return f"{path}.{uid}"


def uptime_s() -> float:
    """Seconds since boot: a device's clock may be wrong by a year, or be set."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
