"""The closed loop: one caller, one inference after the other, each timed with the device's own monotonic clock."""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .facts import read_text
from .failure import NEVER, CallFailed, Failures, note
from .frames import Array

Run = Callable[[Any], Any]
# Returns prepared inputs for the next inferences, at most so many (see ring); its own duration is not timed.
Renew = Callable[[int], Sequence[Any]]

# A warm-up block lasts about this long, so that its median means something for fast models too …
BLOCK_NS = 20_000_000
# … within these counts.
BLOCK_COUNTS = (3, 1000)
# Warm-up is over when this many blocks in a row were no more than 3 % faster than the fastest before them.
STILL_BLOCKS = 2
IMPROVEMENT = 0.97


def timed_loop(run: Run, renew: Renew, samples: int, budget_ns: int, failures: Failures | None = None) -> Array:
    """Time inferences one by one; return int64[n] nanoseconds, 1 ≤ n ≤ samples, fewer when the budget is used up.

    Each prepared input is run once. ``renew`` is not timed, but counts towards the budget. Garbage is collected before
    and not during the loop: the collector's pauses are Python's, not the model's.

    A call that failed (see failure) has the duration NEVER, and is noted in failures; without these it is raised.
    """
    clock = time.perf_counter_ns
    durations = np.full(samples, -1, dtype=np.int64)  # written to, so that it does not grow with the inferences
    index = 0
    gc.collect()
    gc.disable()
    try:
        end = clock() + budget_ns
        while index < samples:
            for item in renew(samples - index):
                start = clock()
                try:
                    run(item)
                    stop = clock()
                    durations[index] = stop - start
                except CallFailed as error:
                    stop = clock()
                    note(failures, index, error, stop - start)
                    durations[index] = NEVER
                index += 1
                if stop > end:
                    return durations[:index].copy()
    finally:
        gc.enable()
    return durations


def warm_up(run: Run, renew: Renew, budget_ns: int) -> dict[str, Any]:
    """Run until blocks stop getting faster, or the budget is used up.

    Returns:
        "iterations"; "elapsed_ns"; "settled", whether blocks stopped getting faster; "median_ns", of those of the last
        block that did not fail: where all did, the mean of failed calls; and what Failures.header says.
    """
    start = time.perf_counter_ns()
    low, high = BLOCK_COUNTS
    failures = Failures(high)
    median = _median(timed_loop(run, renew, 1, 0, failures), failures)
    best, still, iterations = float("inf"), 0, 1
    while still < STILL_BLOCKS and (left := start + budget_ns - time.perf_counter_ns()) > 0:
        size = min(max(int(BLOCK_NS / max(median, 1)), low), high)  # the first calls compile, and tell little
        block = timed_loop(run, renew, size, left, failures)
        iterations += len(block)
        median = _median(block, failures)
        still = 0 if median < best * IMPROVEMENT else still + 1
        best = min(best, median)
    return {
        "iterations": iterations,
        "elapsed_ns": time.perf_counter_ns() - start,
        "settled": still >= STILL_BLOCKS,
        "median_ns": int(median),
        **failures.header(),
    }


def _median(block: Array, failures: Failures) -> float:
    answered = [duration for duration in block.tolist() if duration != NEVER]
    return statistics.median(answered) if answered else failures.mean_ns()


def of_one(durations: Sequence[float], count: int) -> float:
    """Estimate what a step takes in one of count runs: the medians of its first calls, its second calls, …, added up.

    A median ignores what disturbed single calls; where runs differ in how often they call, the mean is all there is.
    """
    calls, odd = divmod(len(durations), count)
    if odd:
        return sum(durations) / count
    return sum(statistics.median(durations[call::calls]) for call in range(calls))


def since_process_start_ns() -> int:
    """Return the nanoseconds since the kernel started this process (resolution: a clock tick, mostly 10 ms).

    The start is field 22 of /proc/self/stat, in ticks since boot (proc(5)); CLOCK_BOOTTIME counts from the same
    instant.
    """
    text = read_text("/proc/self/stat")
    ticks = int(text[text.rindex(")") + 2 :].split()[19])
    started = ticks * (1_000_000_000 // os.sysconf("SC_CLK_TCK"))
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) - started
