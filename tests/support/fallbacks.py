"""Measurements of a cell with a fallback, made by hand, as the loops keep them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.agent.failure import KINDS
from harness.agent.pacing import NEVER
from harness.agent.sides import FAR, UNASKED
from harness.measure.measurement import Measurement
from harness.model.model import Array
from harness.model.sensor_clock import SensorClock
from tests.support.failing_calls import MS, TIMEOUT_MS, clean, remote

LATE, REFUSED = KINDS.index("late") + 1, KINDS.index("refused") + 1
# What an inference takes on the device, in nanoseconds.
LOCAL_NS = MS // 2


def sides_of(count: int, *outages: tuple[int, int], kind: int = LATE) -> Array:
    """Which side answers each of so many inferences: in an outage, from one to before another, the device does."""
    sides = np.full(count, FAR, np.int64)
    for first, end in outages:
        sides[first:end] = UNASKED
        sides[first] = kind
    return sides


def with_fallback(
    sides: Sequence[Array],
    clock: SensorClock | None = None,
    *,
    local_ns: int = LOCAL_NS,
    missed_ms: float = TIMEOUT_MS,
) -> Measurement:
    """Make a measurement of the sides of each process's inferences.

    Args:
        sides: of each process.
        clock: the sensor's.
        local_ns: what an inference takes on the device, in nanoseconds.
        missed_ms: how long a call takes that is missed.
    """
    measured = remote(*(clean(len(each)) for each in sides), clock=clock)
    timed = measured.uniform
    for number, each in enumerate(sides):
        local = local_ns + np.arange(len(each)) % 1009  # a clock that goes
        spent = np.where(each == UNASKED, local, local_ns + int(missed_ms * MS))
        is_near = each != FAR
        if clock is None:
            timed.processes[number] = np.where(is_near, spent, timed.processes[number])
            timed.sides.append(each)
            continue
        releases = timed.releases[number]
        releases[is_near, 2] = releases[is_near, 1] + spent[is_near]
        free = 0
        for place, (due, _, end) in enumerate(releases.tolist()):
            if due < free:
                releases[place, 1:] = NEVER
            free = max(free, end)
        ran = releases[:, 2] != NEVER
        timed.processes[number] = np.where(ran, releases[:, 2] - releases[:, 0], np.inf)
        timed.sides.append(np.where(ran, each, NEVER))
    timed.requests = [[each._replace(elapsed_ns=10**9) for each in process] for process in timed.requests]
    return measured
