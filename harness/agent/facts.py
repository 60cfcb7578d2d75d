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
    """Return a file's text, stripped of NULs, spaces and newlines; "" where it does not exist or cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip("\0 \n")
    except OSError:
        return ""


def cpu_name() -> str:
    """Return the CPU's name: Arm's cores as compilers and QEMU spell them ("cortex-a72"), others as the kernel does."""
    text = read_text("/proc/cpuinfo")
    part = re.search(r"CPU implementer\s*: 0x41.*?CPU part\s*: (0x[0-9a-f]+)", text, re.DOTALL)
    if part:
        number = int(part.group(1), 16)
        return ARM_PARTS.get(number, f"arm-part-{number:#x}")
    named = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    return named.group(1).strip() if named else platform.processor() or "unknown"


def memory_mib() -> int:
    """Return the memory that the kernel manages, in MiB (a little less than what is installed)."""
    found = re.search(r"^MemTotal:\s*(\d+) kB", read_text("/proc/meminfo"), re.MULTILINE)
    return int(found.group(1)) // 1024 if found else 0


def serial() -> str:
    """Return the board's serial number; "" where its device tree, if any, has none."""
    return read_text("/proc/device-tree/serial-number") or read_text("/sys/firmware/devicetree/base/serial-number")


def cpu_features() -> list[str]:
    """List the CPU's optional features, by the kernel's names such as "atomics", "aes" and "avx2"."""
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", read_text("/proc/cpuinfo"), re.MULTILINE)
    return found.group(1).split() if found else []


def libc() -> str:
    """Return the C library's name and version, such as "glibc-2.36"; "" where it does not tell (musl)."""
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").replace(" ", "-")
    except (ValueError, OSError):
        return ""


def distributions(names: list[str] | None) -> dict[str, importlib.metadata.Distribution]:
    """Find installed distributions by name; those that are not installed are left out.

    Args:
        names: which to look for; None for all that are installed, with normalised names.
    """
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
    """Normalise a name as PEP 503 does; a damaged installation has none, or one that no package may have."""
    spelt = re.sub(r"[^0-9a-z]+", "-", (name or "").lower()).strip("-")
    return spelt[:128].rstrip("-") or "unnamed"


def _version(item: importlib.metadata.Distribution) -> str:
    """Return a distribution's version, with "-" for characters that no version has; "unknown" where it is damaged."""
    return re.sub(r"[^0-9A-Za-z.!+~_-]", "-", item.version or "unknown")[:64]


def _folder(item: importlib.metadata.Distribution) -> str:
    """Return the folder of a package, with "?" for characters that commands and messages cannot hold."""
    return re.sub("[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\U0010ffff]", "?", str(item.locate_file("")))[:4096]


def facts(packages: list[str] | None) -> dict[str, Any]:
    """Collect what the board is, as JSON's own types.

    Args:
        packages: the packages to look for; None for all that are installed.

    Returns:
        "packages" maps names to versions, "folders" to the folder that holds each; the rest is named by its key.
    """
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
