"""A look at a device: who holds it, how much its store takes, its state. No lock is taken, nothing is written.

For `hilgate devices` and `hilgate doctor`, which must not get in the way of a run.
"""

from __future__ import annotations

import os
import re
import time
from typing import Any

from .. import telemetry
from ..facts import read_text
from . import device_lock
from .folders import free_bytes, is_sealed, size_of
from .store import FOLDERS, KINDS
from .trial import root_of


def look(store: str) -> dict[str, Any]:
    """Describe a device as far as it can be seen without its lock, as JSON's own types.

    Args:
        store: its store's path; "~" is the home folder.

    Returns:
        "store", the absolute path; "holder", the record of the run that holds the device, or None; "entries", their
        number; "damaged", the names of damaged ones; "used_bytes"; "free_bytes", on the disk of the store or of the
        folder that it would be made in; "state", see telemetry; "time", by the device's clock; "swap_total_kib",
        "swap_used_kib".
    """
    root = root_of(store)
    entries = [entry for kind in KINDS for entry in _names(root, kind)]
    # A run may be removing some of them meanwhile: those are not damaged.
    damaged = [entry for entry in entries if not is_sealed(f"{root}/{entry}") and os.path.exists(f"{root}/{entry}")]
    total, free = (_meminfo_kib(name) for name in ("SwapTotal", "SwapFree"))
    return {
        "store": root,
        "holder": device_lock.held_by(os.path.join(root, "lock")) or None,
        "entries": len(entries),
        "damaged": damaged,
        "used_bytes": sum(size_of(os.path.join(root, name)) for name in FOLDERS),
        "free_bytes": free_bytes(root),
        "state": telemetry.state(),
        "time": time.time(),
        "swap_total_kib": total,
        "swap_used_kib": total - free,
    }


def _names(root: str, kind: str) -> list[str]:
    try:
        return [f"{kind}/{name}" for name in sorted(os.listdir(os.path.join(root, kind))) if not name.startswith(".")]
    except OSError:
        return []


def _meminfo_kib(name: str) -> int:
    found = re.search(rf"^{name}:\s*(\d+) kB", read_text("/proc/meminfo"), re.MULTILINE)
    return int(found.group(1)) if found else 0
