"""The kernel's record of a kill when memory ran out."""

from __future__ import annotations

import os
import re
import time
from typing import Any

from ..facts import memory_mib

LOG = "/dev/kmsg"
RECORD_BYTES = 1 << 13
# Kills at a control group's own limit, which is not the board's, are worded otherwise and do not match.
KILLED = re.compile(
    r"^\d+,\d+,(\d+),.*?Out of memory: Killed process (\d+) \(.*?\)"
    r".*?anon-rss:(\d+)kB, file-rss:(\d+)kB(?:, shmem-rss:(\d+)kB)?",
    re.MULTILINE,
)
# Records from before this program began concern other processes of the same pid; in microseconds since boot.
BEGAN_US = time.monotonic_ns() // 1000


def find_oom_kill(pid: int) -> dict[str, Any]:
    """Look a process up in the kernel's log.

    Returns:
        "killed", whether the kernel killed the process when memory ran out; None where the log may not be read, which
        some systems forbid to ordinary users. If so, also "resident_kib", its memory then, and "memory_mib", the
        board's.
    """
    try:
        text = _kernel_log()
    except OSError:
        return {"killed": None}
    for found in reversed(list(KILLED.finditer(text))):
        if int(found[2]) == pid and int(found[1]) > BEGAN_US:
            resident = sum(int(kib) for kib in found.groups()[2:] if kib)
            return {"killed": True, "resident_kib": resident, "memory_mib": memory_mib()}
    return {"killed": False}


def _kernel_log() -> str:
    """Read what the kernel's log still holds, one record per read (the kernel's Documentation/ABI/testing/dev-kmsg)."""
    descriptor = os.open(LOG, os.O_RDONLY | os.O_NONBLOCK)
    records = []
    try:
        while True:
            try:
                records.append(os.read(descriptor, RECORD_BYTES))
            except BrokenPipeError:  # the next record was overwritten meanwhile
                continue
    except BlockingIOError:
        return b"".join(records).decode("utf-8", "replace")
    finally:
        os.close(descriptor)
