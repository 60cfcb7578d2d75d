"""Why a process is gone: whether the kernel killed it when memory ran out."""

from __future__ import annotations

import os
import re
import time
from typing import Any

from ..facts import memory_mib

LOG = "/dev/kmsg"
RECORD_BYTES = 1 << 13
# A control group's own limit is not the board's: of that kind of kill nothing is said.
KILLED = re.compile(
    r"^\d+,\d+,(\d+),.*?Out of memory: Killed process (\d+) \(.*?\)"
    r".*?anon-rss:(\d+)kB, file-rss:(\d+)kB(?:, shmem-rss:(\d+)kB)?",
    re.MULTILINE,
)
# What the log has of before this program began is of another process, whatever its number; in microseconds since boot.
BEGAN_US = time.monotonic_ns() // 1000


def obituary(pid: int) -> dict[str, Any]:
    """What the kernel's log says of a process.

    Reply: "killed", whether the kernel killed it when memory ran out; None where the log may not be read, as an
    ordinary user may not everywhere. "resident_kib", what it had then; "memory_mib", what the board has.
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
    """All that is left of it; a record a read, see Documentation/ABI/testing/dev-kmsg of the kernel."""
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
