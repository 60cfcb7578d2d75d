"""The state of the device and of this process, read from /proc and /sys: no library, no root."""

from __future__ import annotations

import ctypes
import importlib
import re
import subprocess
import sys
from glob import glob
from typing import Any

from .facts import read_text
from .orphans import boot_id

# The peak of the forkserver that this process was forked from (see forkserver): the kernel starts anew in a child.
inherited_peak_kib = 0
# Modules that the agent needs, and a deployed model does not: their resident size, and the peak before their import.
_uncounted = {"resident": 0, "peak_before": 0}


def memory_kib() -> dict[str, int]:
    """Return this process's memory in KiB: "peak" (VmHWM), "resident" (VmRSS), "swapped" (VmSwap).

    Modules that were imported by import_uncounted are subtracted. ru_maxrss is not used, for a child inherits it.
    """
    status = read_text("/proc/self/status")
    found = {}
    for name, key in (("peak", "VmHWM"), ("resident", "VmRSS"), ("swapped", "VmSwap")):
        line = re.search(rf"^{key}:\s*(\d+) kB", status, re.MULTILINE)
        found[name] = int(line.group(1)) if line else 0
    found["peak"] = max(found["peak"] - _uncounted["resident"], _uncounted["peak_before"], inherited_peak_kib)
    found["resident"] -= _uncounted["resident"]
    return found


def anonymous_kib() -> int | None:
    """Return how much of this process's memory belongs to no file, in KiB: RssAnon, and VmSwap, as that was it once.

    Pages of files, which the kernel maps and drops as it likes, are not in it; a page that was freed lazily (MADV_FREE)
    is, until the kernel takes it. None where the kernel does not say (before Linux 4.5).
    """
    status = read_text("/proc/self/status")
    found = [re.search(rf"^{key}:\s*(\d+) kB", status, re.MULTILINE) for key in ("RssAnon", "VmSwap")]
    return None if found[0] is None else sum(int(line.group(1)) for line in found if line)


def give_back() -> None:
    """Have the allocator give its free pages back to the kernel, where it is one that can (glibc's).

    What it keeps of the loading, up to tens of MiB, would take in what inferences leave behind, and hide it.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def import_uncounted(name: str) -> None:
    """Import a module that only the agent needs, and subtract its memory from what is reported from now on."""
    if name in sys.modules:
        return
    before = memory_kib()
    importlib.import_module(name)
    _uncounted["resident"] += max(memory_kib()["resident"] - before["resident"], 0)
    _uncounted["peak_before"] = before["peak"]


def governors() -> list[str]:
    """List the CPU frequency governors in use; empty where the kernel offers none (a virtual machine)."""
    return sorted({read_text(path) for path in glob("/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor")})


def state() -> dict[str, Any]:
    """Read what tells whether a measurement is valid; the states before and after it are to be compared."""
    return {
        "boot": boot_id(),
        "governor": governors(),
        "frequency_khz": _numbers("/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq"),
        "temperature_mc": _numbers("/sys/class/thermal/thermal_zone*/temp"),
        "throttled_bits": _throttled_bits(),
        "throttle_events": sum(_numbers("/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count")),
        "swapped_pages": _swapped_pages(),
        "swapped_kib": memory_kib()["swapped"],
    }


def _numbers(pattern: str) -> list[int]:
    texts = (read_text(path) for path in sorted(glob(pattern)))
    return [int(text) for text in texts if re.fullmatch(r"-?\d+", text)]


def _throttled_bits() -> int | None:
    """Return get_throttled of the Raspberry Pi's firmware; None on other boards.

    Bits 0 to 3 are set while a condition lasts, bits 16 to 19 once it has occurred since boot.
    """
    text = read_text("/sys/devices/platform/soc/soc:firmware/get_throttled")
    if not text and read_text("/proc/device-tree/model").startswith("Raspberry Pi"):
        try:
            command = ["vcgencmd", "get_throttled"]
            text = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout
        except (OSError, subprocess.SubprocessError):
            return None
    found = re.search(r"(?:0x)?([0-9a-fA-F]+)\s*$", text)
    return int(found.group(1), 16) if found else None


def _swapped_pages() -> int:
    counts = re.findall(r"^pswp(?:in|out) (\d+)$", read_text("/proc/vmstat"), re.MULTILINE)
    return sum(int(count) for count in counts)
