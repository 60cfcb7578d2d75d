"""Who holds a lock, as the kernel reports it; and the holder's own description, where the holder really wrote it.

Any user may hold a lock in a folder that all users share, and any other user may have written its file. /proc/locks
tells which process took the lock (proc(5)), and /proc/PID/status which user's it is. The holder leaves a description of
the run beside the lock, in a file that is believed as far as the kernel confirms it: the file must belong to that user,
and describe that process (issue 17, point 5).

The kernel tells no pid of a process in another pid namespace (a container), and little of another user's process where
/proc is mounted with hidepid; then the description says so.
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

# The texts that a description may have, each no longer than LONGEST.
WORDS = ("who", "since", "run")
LONGEST = 200


def holder_pid(descriptor: int) -> int:
    """Return the pid of the process that took the lock (flock) on an open file; 0 where none did, or it is hidden."""
    wanted = f"{_device(descriptor)}:{os.fstat(descriptor).st_ino}"
    for line in read_text("/proc/locks").splitlines():
        fields = line.split()  # a process that waits for it has "->" in the second field
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5] == wanted:
            return max(int(fields[4]), 0)
    return 0


def _device(descriptor: int) -> str:
    """Return a file's disk as /proc/locks writes it: the mount's, which on btrfs differs from stat's."""
    mount = re.search(r"^mnt_id:\s*(\d+)", read_text(f"/proc/self/fdinfo/{descriptor}"), re.MULTILINE)
    if mount:
        found = re.search(rf"^{mount[1]} \d+ (\d+):(\d+) ", read_text("/proc/self/mountinfo"), re.MULTILINE)
        if found:
            return f"{int(found[1]):02x}:{int(found[2]):02x}"
    device = os.fstat(descriptor).st_dev
    return f"{os.major(device):02x}:{os.minor(device):02x}"


def describe_holder(descriptor: int, path: str) -> dict[str, Any]:
    """Describe who holds a lock that every user may take.

    Args:
        descriptor: the lock's file, open.
        path: its path.

    Returns:
        "lock", the path; "user", whose process holds it, and "pid", as far as the kernel tells; "who", "since", "run"
        and "age_s" from the holder's description, if there is one.
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
    """Whether a process does not exist, rather than being hidden."""
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
    with contextlib.suppress(OSError):  # another user's file has that name: then there is no description
        descriptor = open_new(record_path(path, os.geteuid()), 0o644)
        try:
            os.fchmod(descriptor, 0o644)
            os.write(descriptor, json.dumps(record).encode())
        finally:
            os.close(descriptor)


def record_path(path: str, uid: int) -> str:
    """Return the path of the description that a user leaves beside a lock."""
    return f"{path}.{uid}"


def uptime_s() -> float:
    """Return the seconds since boot: a device's time of day may be wrong by a year, or be set meanwhile."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
