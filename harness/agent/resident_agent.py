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
from collections.abc import Iterator, Sequence

from . import __main__ as agent
from . import illegal, telemetry
from .resident import wait

# Populate page tables for reading, as if every page had been read (madvise(2), Linux 5.14).
MADV_POPULATE_READ = 22
# An entry of /proc/PID/pagemap: the page is in memory.
PRESENT = 1 << 63
# How many pages the kernel maps at once, as far as they are in memory (fault_around_bytes: 64 KiB).
WINDOW = (1 << 16) // mmap.PAGESIZE


def main() -> None:
    """Import the runtime, wait."""
    map_whole_windows()
    before = telemetry.memory_kib()["peak"]
    illegal.say_where()  # after that: what it maps would be more here than in an agent
    from . import backend  # type: ignore[attr-defined]  # shipped beside this file in a bundle

    backend.preload()
    pages = map_whole_windows()
    peak = telemetry.memory_kib()["peak"]

    def be_agent(words: list[str]) -> None:
        # A child inherits what is its parent's own, but finds the pages of files, shared libraries mostly, one by one.
        # A process that had imported the runtime by itself has them all, and they count in its resident set.
        map_pages(pages)
        telemetry.inherited_peak_kib = peak
        if "numpy.random" in sys.modules:  # the standard library's own random numbers see to that themselves
            sys.modules["numpy.random"].seed()
        agent.main(words[words.index("agent") + 1 :], before)

    wait(sys.argv[1], be_agent)


def map_whole_windows() -> list[tuple[int, int]]:
    """Map all that a process would have by now whose files were in memory from the beginning; returns where it is.

    The kernel maps what is in memory around a page of a file that is touched. Here the files come from the disk as they
    are touched, and little is around them yet; agents that start later by themselves find them all.
    """
    pages = list(mapped_files())
    map_pages(pages)
    return pages


def map_pages(pages: list[tuple[int, int]]) -> None:
    """Map stretches of pages, (address, bytes) each."""
    libc = ctypes.CDLL(None)
    for start, size in pages:
        libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), MADV_POPULATE_READ)


def mapped_files() -> Iterator[tuple[int, int]]:
    """(address, bytes) of each stretch of windows in which this process has mapped a page of a file; see proc(5)."""
    with open("/proc/self/maps", encoding="utf-8") as file:
        lines = [line.split(maxsplit=5) for line in file]
    with open("/proc/self/pagemap", "rb", buffering=0) as pagemap:
        for fields in lines:
            if len(fields) < 6 or not fields[5].startswith("/") or fields[1][0] != "r":
                continue
            first, last = (int(address, 16) // mmap.PAGESIZE for address in fields[0].split("-"))
            pagemap.seek(first * 8)
            entries = struct.unpack(f"<{last - first}Q", pagemap.read((last - first) * 8))
            for start, end in stretches(windows(first, entries)):
                low = max((first // WINDOW + start) * WINDOW, first)
                high = min((first // WINDOW + end) * WINDOW, last)
                yield low * mmap.PAGESIZE, (high - low) * mmap.PAGESIZE


def windows(first: int, entries: Sequence[int]) -> list[bool]:
    """Whether a page of it is present, for each aligned window of pages from the first page's on."""
    flags = [False] * ((first + len(entries) - 1) // WINDOW - first // WINDOW + 1)
    for index, entry in enumerate(entries):
        if entry & PRESENT:
            flags[(first + index) // WINDOW - first // WINDOW] = True
    return flags


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
