"""A resident that has imported a backend's runtime: its children are agents. Started by the host as

    python -m agent.resident_agent SOCKET

in a bundle without an artifact. What a check needs of a fresh process comes from this one's own record: the memory
before the runtime was imported, and the peak while it was.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
import sys
from collections.abc import Iterator

import numpy as np

from . import __main__ as agent
from . import telemetry
from .resident import wait

# Populate page tables for reading, as if every page had been read (madvise(2), Linux 5.14).
MADV_POPULATE_READ = 22
# An entry of /proc/PID/pagemap: the page is in memory.
PRESENT = 1 << 63


def main() -> None:
    """Import the runtime, wait."""
    before = telemetry.memory_kib()["peak"]
    from . import backend  # type: ignore[attr-defined]  # shipped beside this file in a bundle

    backend.preload()
    libc = ctypes.CDLL(None)
    pages = list(mapped_files())
    peak = telemetry.memory_kib()["peak"]

    def be_agent(words: list[str]) -> None:
        # A child inherits what is its parent's own, but finds the pages of files, shared libraries mostly, one by one.
        # A process that had imported the runtime by itself has them all, and they count in its resident set.
        for start, size in pages:
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), MADV_POPULATE_READ)
        telemetry.inherited_peak_kib = peak
        np.random.seed()  # the standard library's own random numbers see to that themselves
        agent.main(words[words.index("agent") + 1 :], before)

    wait(sys.argv[1], be_agent)


def mapped_files() -> Iterator[tuple[int, int]]:
    """(address, bytes) of each stretch of files' pages that this process has mapped; see proc(5)."""
    with open("/proc/self/maps", encoding="utf-8") as file:
        lines = [line.split(maxsplit=5) for line in file]
    with open("/proc/self/pagemap", "rb", buffering=0) as pagemap:
        for fields in lines:
            if len(fields) < 6 or not fields[5].startswith("/") or fields[1][0] != "r":
                continue
            start, end = (int(address, 16) for address in fields[0].split("-"))
            count = (end - start) // mmap.PAGESIZE
            pagemap.seek(start // mmap.PAGESIZE * 8)
            present = [bool(entry & PRESENT) for entry in struct.unpack(f"<{count}Q", pagemap.read(count * 8))]
            for first, last in stretches(present):
                yield start + first * mmap.PAGESIZE, (last - first) * mmap.PAGESIZE


def stretches(flags: list[bool]) -> Iterator[tuple[int, int]]:
    """(first, behind the last) of each run of true ones."""
    first = None
    for index, flag in enumerate([*flags, False]):
        if flag and first is None:
            first = index
        elif not flag and first is not None:
            yield first, index
            first = None


if __name__ == "__main__":
    main()
