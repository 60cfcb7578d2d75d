"""Which files a process has mapped, what it read, and who else has a file mapped: /proc/PID/smaps, io, maps (proc(5)).

All are hidden of other users' processes, unless one is root.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Optional

# 7f0c8d000000-7f0c8d02a000 r-xp 00028000 08:02 131 /usr/lib/…/libc.so.6
MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ (?:[1-9]\d* +(/.*)|.*)$")
RESIDENT = re.compile(r"^Rss: +(\d+) kB$")


def mapped_kib(pid: int) -> dict[str, int]:
    """Return the regular files that a process has mapped, and how many KiB of each it uses; {} where that is hidden."""
    found: dict[str, int] = {}
    path = ""
    for line in _lines(f"/proc/{pid}/smaps"):
        if (start := MAPPING.match(line)) is not None:
            path = start[1] if start[1] and os.path.isfile(start[1]) else ""  # "" of memory that is no file's
        elif path and (resident := RESIDENT.match(line)) is not None:
            found[path] = found.get(path, 0) + int(resident[1])
    return found


def read_bytes(pid: int) -> Optional[int]:  # noqa: UP045  # Python 3.9
    """Return how many bytes a process has had read from disks so far; None where the kernel does not account for it.

    Reading ahead for it counts, what others have read before does not (read_bytes in /proc/PID/io).
    """
    found = [line.rpartition(" ")[2] for line in _lines(f"/proc/{pid}/io") if line.startswith("read_bytes: ")]
    return int(found[0]) if found else None


def holders(pages: Mapping[str, int]) -> tuple[list[dict[str, object]], int]:
    """Find who has one of these files mapped.

    Args:
        pages: how many pages of each file are resident.

    Returns:
        The "pid" and "name" of each such process, this one's own included, those first that have the files of most
        pages; and how many processes hide their mappings.
    """
    found: list[tuple[int, int]] = []
    hidden = 0
    for pid in (int(name) for name in os.listdir("/proc") if name.isdecimal()):
        lines = _lines(f"/proc/{pid}/maps")
        paths = {match[1] for match in map(MAPPING.match, lines) if match is not None and match[1]}
        if weight := sum(pages.get(path, 0) for path in paths):
            found.append((-weight, pid))
        hidden += not lines and bool(_lines(f"/proc/{pid}/cmdline"))  # a kernel's thread has neither
    return [{"pid": pid, "name": _name(pid)} for _, pid in sorted(found)], hidden


def _name(pid: int) -> str:
    if pid == os.getpid():
        return "hilgate's own check of the page cache"
    return next(iter(_lines(f"/proc/{pid}/comm")), "?")


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read().splitlines()
    except OSError:
        return []
