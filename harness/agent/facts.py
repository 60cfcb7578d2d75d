"""What the board is: architecture, CPU, memory, kernel, Python, packages. Standard library only."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import struct
import sys
from typing import Any

# MIDR_EL1 part numbers of Arm Ltd. (implementer 0x41), from Arm's technical reference manuals.
ARM_PARTS = {
    0xD03: "cortex-a53",
    0xD05: "cortex-a55",
    0xD07: "cortex-a57",
    0xD08: "cortex-a72",
    0xD0B: "cortex-a76",
    0xD42: "cortex-a78ae",
}


def read_text(path: str) -> str:
    """A file's text without the NULs and blanks at its end; "" where there is no such file or it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip("\0 \n")
    except OSError:
        return ""


def cpu_name() -> str:
    """The CPU's name: Arm cores as compilers and QEMU spell them ("cortex-a72"), others as the kernel does."""
    text = read_text("/proc/cpuinfo")
    part = re.search(r"CPU implementer\s*: 0x41.*?CPU part\s*: (0x[0-9a-f]+)", text, re.DOTALL)
    if part:
        number = int(part.group(1), 16)
        return ARM_PARTS.get(number, f"arm-part-{number:#x}")
    named = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    return named.group(1).strip() if named else platform.processor() or "unknown"


def memory_mib() -> int:
    """The memory that the kernel manages, in MiB (a little below what is soldered on)."""
    found = re.search(r"^MemTotal:\s*(\d+) kB", read_text("/proc/meminfo"), re.MULTILINE)
    return int(found.group(1)) // 1024 if found else 0


def serial() -> str:
    """The board's serial number, where a device tree has one."""
    return read_text("/proc/device-tree/serial-number") or read_text("/sys/firmware/devicetree/base/serial-number")


def cpu_features() -> list[str]:
    """What the CPU can beyond its architecture's beginnings, in the kernel's words: "atomics", "aes", "avx2", …"""
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", read_text("/proc/cpuinfo"), re.MULTILINE)
    return found.group(1).split() if found else []


def libc() -> str:
    """The C library that programs run with, such as "glibc-2.36"; "" where it does not say (musl)."""
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").replace(" ", "-")
    except (ValueError, OSError):
        return ""


def distributions(names: list[str] | None) -> dict[str, importlib.metadata.Distribution]:
    """What is installed, by name; packages that are not there are left out. None asks for all that there are."""
    found: dict[str, importlib.metadata.Distribution] = {}
    if names is None:
        for item in importlib.metadata.distributions():
            found.setdefault(_normal(item.metadata["Name"]), item)  # as imports do, the first one counts
        return found
    for name in names:
        try:
            found[name] = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _normal(name: str | None) -> str:
    """As PEP 503 spells it; a damaged installation has no name, or one that no package has."""
    spelt = re.sub(r"[^0-9a-z]+", "-", (name or "").lower()).strip("-")
    return spelt[:128].rstrip("-") or "unnamed"


def _version(item: importlib.metadata.Distribution) -> str:
    """A version as packages have them; a damaged installation has none."""
    return re.sub(r"[^0-9A-Za-z.!+~_-]", "-", item.version or "unknown")[:64]


def _folder(item: importlib.metadata.Distribution) -> str:
    """Where a package lies; a name that cannot be a part of commands and messages is shown with marks in its place."""
    return re.sub("[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\U0010ffff]", "?", str(item.locate_file("")))[:4096]


def facts(packages: list[str] | None) -> dict[str, Any]:
    """All of it, as JSON's own types; "folders" are those that have the packages' own."""
    installed = distributions(packages)
    return {
        "arch": platform.machine(),
        "cpu": cpu_name(),
        "features": cpu_features(),
        "cores": os.cpu_count() or 1,
        "memory_mib": memory_mib(),
        "board": read_text("/proc/device-tree/model"),
        "serial": serial(),
        "kernel": platform.release(),
        "libc": libc(),
        "python": platform.python_version(),
        "executable": os.environ.get("HILGATE_PYTHON") or sys.executable,
        "bits": 8 * struct.calcsize("P"),
        "packages": {name: _version(item) for name, item in installed.items()},
        "folders": {name: _folder(item) for name, item in installed.items()},
    }
