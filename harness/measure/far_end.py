"""Availability where a cell has a fallback: it is of the far end, and local answers are none of its.

While the device answers, the far end is asked only once a second, and not by inferences. So two shares can be counted.
Of all inferences, what the far end has answered: a long outage weighs there as much as the device is fast. Of the
inferences that asked it: the outage is a single call there, however long it was. A limit is kept only where the first
share keeps it, and broken only where the second one does not keep it either; in between it is open.

A device that is slower than the far end gives few local answers in a long outage. So for keeping a limit they count as
at least as many as the far end would have given in the same time.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ..agent.failure import NEVER
from ..agent.sides import FAR, UNASKED
from ..checks import quantiles
from ..checks.finding import Finding
from ..deploy.content import Timed
from ..deploy.failed_calls import describe_failed
from ..model.model import Array
from .availability import AVAILABILITY, Tally, describe_calls, planned_tally, why_missing
from .measurement import Measurement
from .switching import count_missed, count_sides, notes_on


def far_availability(measured: Measurement, limit: float | None, raw: str) -> Finding:
    """Report the share of inferences that the far end answered in time, and bounds on it; see the module.

    Args:
        measured: the measurement of a cell with a fallback, with samples.
        limit: the share that is to be answered, 0 to 1, if there is a limit.
        raw: the path of the raw samples, for the evidence.
    """
    sides, calls = measured.sides, _as_calls(measured)
    everything = Tally(len(sides), int(np.count_nonzero(sides)))
    asked = Tally(int(np.count_nonzero(sides != UNASKED)), int(np.count_nonzero((sides != UNASKED) & (sides != FAR))))
    planned = planned_tally(calls)
    failed = count_missed(sides)
    low = min(planned.low, everything.low, _by_time(measured).low)
    high = max(planned.high, everything.high, asked.high)
    missing = why_missing(calls)
    answered = count_sides(measured)
    details = {**describe_calls(calls, asked, planned, failed), "answered": answered}
    return Finding(
        AVAILABILITY,
        1 - everything.failed / everything.calls,
        None if missing else low,
        bound_low=high,
        undecided_reason=missing or ("" if limit is None else _open(everything, asked, (low, high), limit)),
        confidence=quantiles.CONFIDENCE,
        samples=everything.calls,
        raw=raw,
        no_bound_reason=missing,
        remark=describe_failed(failed, asked.calls),
        notes=notes_on(answered),
        details=details,
        at=lambda value: far_availability(measured, value, raw),
    )


def _by_time(measured: Measurement) -> Tally:
    """Count what the far end answered, and as failed what it would have answered in the time of local inferences.

    On a sensor's clock releases that a local inference kept from being run are among these.
    """
    period_ns = 0 if measured.clock is None else measured.clock.period_ns
    far = near = 0
    far_ns = near_ns = 0.0
    for timed in measured.contents:
        for spans, sides in zip(timed.ran, timed.sides, strict=True):
            is_far = sides[sides != NEVER] == FAR
            far_ns, near_ns = far_ns + float(spans[is_far].sum()), near_ns + float(spans[~is_far].sum())
            far, near = far + int(np.count_nonzero(is_far)), near + _count_near(sides)
    if far:
        near = max(near, math.ceil(near_ns / max(far_ns / far, period_ns)))
    return Tally(far + near, near)


def _count_near(sides: Array) -> int:
    """Count local answers, and the releases that were dropped meanwhile."""
    if not len(sides):
        return 0
    busy_with = np.maximum.accumulate(np.where(sides != NEVER, np.arange(len(sides)), 0))
    return int(np.count_nonzero(sides[busy_with] > FAR))


def _as_calls(measured: Measurement) -> Measurement:
    """Return the same measurement as that of a client whose local answers are calls that failed."""
    again = replace(measured, uniform=_calls_of(measured.uniform))
    if measured.samples.given:
        again.samples = _calls_of(measured.samples)
    return again


def _calls_of(timed: Timed) -> Timed:
    return replace(timed, codes=[_codes(sides) for sides in timed.sides])


def _codes(sides: Array) -> Array:
    return np.maximum(sides, 0).astype(np.uint8)


def _open(everything: Tally, asked: Tally, bounds: tuple[float, float], limit: float) -> str:
    """Explain why a limit that is not decided lies between the bounds."""
    low, high = bounds
    return (
        f"the far end answered {everything.calls - everything.failed} of {everything.calls} inferences, and "
        f"{asked.calls - asked.failed} of the {asked.calls} that asked it: between {low:.5g} and {high:.5g} are "
        f"answered there, where {limit:g} are to be. While the device answers, nobody knows more: measure without it"
    )
