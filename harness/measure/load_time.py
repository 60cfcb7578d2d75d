"""Load time: from the process's start to the first inference done, the page cache warm."""

from __future__ import annotations

from ..checks.finding import Finding
from ..checks.limits import Metric
from .measurement import LOAD, PROCESSES, Measurement

LOAD_TIME = Metric(
    "load_time_s",
    "s",
    "from the process's start to its first inference done, best of 3, page cache warm",
    wall_clock=True,
    device_limit=True,
)
METRICS = (LOAD_TIME,)


def load_time(measured: Measurement) -> Finding:
    """The best of the processes; the files had been read before, so they come from the page cache."""
    if impossible := measured.impossible.get(LOAD):
        return Finding(LOAD_TIME, no_bound_reason=impossible)
    seconds = [load.load_ns / 1e9 for load in measured.loads]
    if not seconds:
        return Finding(LOAD_TIME, no_bound_reason="no process was loaded")
    enough = len(seconds) >= PROCESSES
    missing = (
        ""
        if enough
        else measured.interruption
        or f"{len(seconds)} of {PROCESSES} processes in the time: give it more with --time-limit"
    )
    return Finding(
        LOAD_TIME,
        min(seconds),
        min(seconds) if enough else None,
        samples=len(seconds),
        no_bound_reason=missing,
        invalid_reason=measured.state_doubt,
        details={"each_s": seconds, "page_cache": "warm"},
    )
