"""A device, looked at: who holds it, what its store takes, in what state it is. No lock is taken, nothing is written.

For `hilgate devices` and `hilgate doctor`, which must not get in the way of a run.
"""

from __future__ import annotations

import os
import re
import time
from typing import Any

from .. import telemetry
from ..facts import read_text
from . import lock
from .store import KINDS, Store


def holder(store: str) -> dict[str, Any] | None:
    """What the run that holds the device says of itself; None where none does."""
    return lock.holder(os.path.join(_root(store), "lock"))


def look(store: str) -> dict[str, Any]:
    """All of it, as JSON's own types.

    "store", its path; "holder"; "entries", how many; "damaged", their names; "used_bytes"; "free_bytes" and "writable",
    of the store or of the folder that it would be made in; "state", see telemetry; "time" by the device's clock;
    "swap_total_kib", "swap_used_kib".
    """
    root = _root(store)
    there = Store(root, make=False)
    whole = all(os.path.isdir(there.path(kind)) for kind in KINDS)
    entries = there.entries() if whole else []
    damaged = [name for name in entries if not there.is_intact(name) and os.path.exists(there.path(name))]
    place = root
    while not os.path.exists(place):
        place = os.path.dirname(place)
    disk = os.statvfs(place)
    total, free = (_meminfo_kib(name) for name in ("SwapTotal", "SwapFree"))
    return {
        "store": root,
        "holder": holder(store),
        "entries": len(entries),
        "damaged": damaged,
        "used_bytes": there.used_bytes(),
        "free_bytes": disk.f_bavail * disk.f_frsize,
        "writable": os.path.isdir(place) and os.access(place, os.W_OK | os.X_OK),
        "state": telemetry.state(),
        "time": time.time(),
        "swap_total_kib": total,
        "swap_used_kib": total - free,
    }


def _root(store: str) -> str:
    return os.path.abspath(os.path.expanduser(store))


def _meminfo_kib(name: str) -> int:
    found = re.search(rf"^{name}:\s*(\d+) kB", read_text("/proc/meminfo"), re.MULTILINE)
    return int(found.group(1)) if found else 0
