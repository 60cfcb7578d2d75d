"""The state of the device and of this process, read from /proc and /sys: no library, no root."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from glob import glob
from typing import Any

from .facts import read_text
from .orphans import boot_id

# What a resident had needed before this process was made from it (see resident): the kernel counts anew in a child.
inherited_peak_kib = 0
# What the agent alone needs, and the model's program does not: its resident size, and the peak before it came.
_uncounted = {"resident": 0, "peak_before": 0}


def memory_kib() -> dict[str, int]:
    """This process's memory in KiB: "peak" (VmHWM), "resident" (VmRSS), "swapped" (VmSwap).

    Without what was imported uncounted (see import_uncounted).
    Never ru_maxrss: a child inherits that from its parent.
    """
    status = read_text("/proc/self/status")
    found = {}
    for name, key in (("peak", "VmHWM"), ("resident", "VmRSS"), ("swapped", "VmSwap")):
        line = re.search(rf"^{key}:\s*(\d+) kB", status, re.MULTILINE)
        found[name] = int(line.group(1)) if line else 0
    found["peak"] = max(found["peak"] - _uncounted["resident"], _uncounted["peak_before"], inherited_peak_kib)
    found["resident"] -= _uncounted["resident"]
    return found


def import_uncounted(name: str) -> None:
    """Import a module that the agent needs by itself; from here on its memory is not said to be the model's."""
    if name in sys.modules:
        return
    before = memory_kib()
    importlib.import_module(name)
    _uncounted["resident"] += max(memory_kib()["resident"] - before["resident"], 0)
    _uncounted["peak_before"] = before["peak"]


def governors() -> list[str]:
    """The CPU frequency governors in use; empty where the kernel offers none (a virtual machine)."""
    return sorted({read_text(path) for path in glob("/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor")})


def state() -> dict[str, Any]:
    """What makes a measurement valid or not. Compare two of them: one from before, one from after."""
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
    """Raspberry Pi firmware's get_throttled: bits 0-3 hold now, 16-19 have held since boot; None on other boards."""
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
