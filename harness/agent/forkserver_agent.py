"""A forkserver that has imported a backend's runtime, and whose children are agents.

The host starts it in a bundle without an artifact, as

    python -m agent.forkserver_agent SOCKET

What a check needs to know of a fresh process is recorded here: the memory before the runtime was imported, and the peak
during the import.
"""

from __future__ import annotations

import ctypes
import importlib.util
import mmap
import struct
import sys
from collections.abc import Iterator, Sequence

from . import __main__ as agent
from . import illegal, telemetry
from .forkserver import run_forkserver

# Populate page tables for reading, as if every page had been read (madvise(2), Linux 5.14).
MADV_POPULATE_READ = 22
# An entry of /proc/PID/pagemap: the page is in memory.
PRESENT = 1 << 63
# How many pages the kernel maps at once, as far as they are in memory (fault_around_bytes: 64 KiB).
WINDOW = (1 << 16) // mmap.PAGESIZE


def main() -> None:
    """Import the runtime, then fork an agent for each connection."""
    map_whole_windows()
    before = telemetry.memory_kib()["peak"]
    illegal.install_handler()  # after the measurement: it would map more here than in an agent
    from . import backend  # type: ignore[attr-defined]  # shipped beside this file in a bundle

    backend.preload()
    if importlib.util.find_spec(f"{__package__}.near"):  # a client's fallback has a runtime of its own
        importlib.import_module(f"{__package__}.near").preload()
    pages = map_whole_windows()
    peak = telemetry.memory_kib()["peak"]

    def be_agent(words: list[str]) -> None:
        # A child inherits its parent's private memory, but maps the pages of files, libraries mostly, one by one.
        # A process that had imported the runtime itself has them all mapped, and they count in its resident set.
        map_pages(pages)
        telemetry.inherited_peak_kib = peak
        if "numpy.random" in sys.modules:  # the standard library reseeds its own generator after a fork
            sys.modules["numpy.random"].seed()
        agent.main(words[words.index("agent") + 1 :], before)

    run_forkserver(sys.argv[1], be_agent)


def map_whole_windows() -> list[tuple[int, int]]:
    """Map all pages that a process would have mapped whose files had been cached from the start; return where they are.

    When a page of a file is touched, the kernel also maps the cached pages around it. Here the files are read from the
    disk as they are touched, and little around them is cached yet; agents that start later find all of it cached.
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
    """Yield (address, bytes) of each stretch of windows in which this process has mapped a file's page; see proc(5)."""
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
    """Return for each aligned window of pages, from the first page's on, whether any of its pages is present."""
    flags = [False] * ((first + len(entries) - 1) // WINDOW - first // WINDOW + 1)
    for index, entry in enumerate(entries):
        if entry & PRESENT:
            flags[(first + index) // WINDOW - first // WINDOW] = True
    return flags


def stretches(flags: list[bool]) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of each run of true flags; end is exclusive."""
    first = None
    for index, flag in enumerate([*flags, False]):
        if flag and first is None:
            first = index
        elif not flag and first is not None:
            yield first, index
            first = None


if __name__ == "__main__":
    main()
