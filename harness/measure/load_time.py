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
    """Report the shortest load of the processes, in seconds; the files were read before, so the page cache is warm."""
    if impossible := measured.impossible.get(LOAD):
        return Finding(LOAD_TIME, no_bound_reason=impossible)
    seconds = [load.load_ns / 1e9 for load in measured.loads]
    if not seconds:
        return Finding(LOAD_TIME, no_bound_reason="no process was loaded")
    is_complete = len(seconds) >= PROCESSES
    no_bound_reason = (
        ""
        if is_complete
        else measured.interruption
        or f"{len(seconds)} of {PROCESSES} processes in the time: give it more with --time-limit"
    )
    return Finding(
        LOAD_TIME,
        min(seconds),
        min(seconds) if is_complete else None,
        samples=len(seconds),
        no_bound_reason=no_bound_reason,
        invalid_reason="; ".join(filter(None, [measured.state_doubt, measured.far_doubt])),
        details={"each_s": seconds, "page_cache": "warm"},
    )
