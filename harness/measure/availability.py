"""Availability: the share of calls to the computer that serves the model that were answered in time, and its bound.

Of calls, not of time: an outage of 30 s is three calls that wait for 10 s each, or thousands that are refused at once.
What it is in time stands beside it: the longest time without an answer. And of answers that came whole, of the shape
and type that were asked for: whether they are right is what parity says.

The bound is Clopper and Pearson's (1934), for calls that fail independently of each other, of a number that no failure
decides. So for how long calls are made is fixed beforehand (Measurement.planned_s): a sample that ends by the clock has
that bound's confidence, also if calls that fail take longer than others, or less long. If the limits on other metrics
then take more calls, these count in the share, and in the bound only to its disadvantage.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from ..agent.pacing import NEVER
from ..checks import quantiles
from ..checks.finding import Finding
from ..checks.limits import Metric
from ..deploy.content import Request, Timed
from ..deploy.failed_calls import describe_failed
from ..model.model import Array
from .measurement import DURATIONS, PROCESSES, Measurement

AVAILABILITY = Metric(
    "availability",
    "",
    "the share of calls to another computer that are answered within timeout_ms",
    bound="min",
    wall_clock=True,
)
METRICS = (AVAILABILITY,)

HERE = "the model runs on the device: nothing is called"
ASSUMES = "calls fail independently of each other"
# More calls than that are not suggested.
MOST_CALLS = 10_000_000
# Of the normal distribution, 99 % lie below so many standard deviations: quantiles.CONFIDENCE.
NORMAL = 2.326


@dataclass(frozen=True)
class Tally:
    """Calls, and how many of them failed."""

    calls: int
    failed: int

    @property
    def low(self) -> float:
        """What the share of answered calls does not fall below."""
        return 1 - _upper(self.failed, self.calls) if self.calls else 0.0

    @property
    def high(self) -> float:
        """What the share of answered calls does not exceed."""
        return _upper(self.calls - self.failed, self.calls) if self.calls else 1.0


@lru_cache(maxsize=4096)
def _upper(hits: int, count: int) -> float:
    return quantiles.share_upper_bound(hits, count)


def availability(measured: Measurement, limit: float | None, raw: str) -> Finding:
    """Report the share of calls that were answered, over all contents, and its bounds.

    Args:
        measured: The measurement; of a model that runs on the device the metric does not apply.
        limit: The share that is to be answered, 0 to 1, if there is a limit.
        raw: The path of the raw samples, for the evidence.
    """
    if not measured.is_remote:
        return Finding(AVAILABILITY, not_applicable=HERE, unasked=True)
    if impossible := measured.impossible.get(DURATIONS):
        return Finding(AVAILABILITY, samples=measured.count, raw=raw, no_bound_reason=impossible)
    everything = _all_calls(measured)
    if not everything.calls:
        return Finding(AVAILABILITY, no_bound_reason=measured.interruption or "no call was made")
    if measured.raw_sides is not None:
        from .far_end import far_availability  # it is counted by what is here

        return far_availability(measured, limit, raw)
    planned = planned_tally(measured)
    failed = _failed_by_kind(measured)
    missing = why_missing(measured)
    low, high = min(planned.low, everything.low), max(planned.high, everything.high)
    finding = Finding(
        AVAILABILITY,
        1 - everything.failed / everything.calls,
        None if missing else low,
        bound_low=high,
        undecided_reason=missing or ("" if limit is None else _open(measured, everything, planned, limit)),
        confidence=quantiles.CONFIDENCE,
        samples=everything.calls,
        raw=raw,
        no_bound_reason=missing,
        remark=describe_failed(failed, everything.calls),
        notes=_notes(measured, failed, everything.calls),
        details=describe_calls(measured, everything, planned, failed),
    )
    return replace(finding, at=lambda value: availability(measured, value, raw))


def describe_calls(measured: Measurement, made: Tally, planned: Tally, failed: Mapping[str, int]) -> dict[str, Any]:
    """Describe what an availability is counted of, for the evidence.

    Args:
        measured: the measurement.
        made: all calls that were made.
        planned: those of the time that was fixed beforehand.
        failed: how many failed, by how they did.
    """
    return {
        "timeout_ms": measured.timeout_ms,
        "calls": made.calls,
        "failed": failed,
        "longest_failures": longest_failures(measured),
        "longest_without_answer_s": longest_without_answer_s(measured),
        "span_s": span_s(measured),
        "planned_s": measured.planned_s,
        "planned_calls": planned.calls,
        "planned_failed": planned.failed,
        "assumes": ASSUMES,
    }


def span_s(measured: Measurement) -> float:
    """Return for how long calls were made, over all processes, by the device's clock, in seconds."""
    spent_ns = sum(each.elapsed_ns for timed in measured.contents for each in _joined(timed.requests))
    return round(spent_ns / 1e9, 3)


def longest_failures(measured: Measurement) -> int:
    """Return the largest number of calls in a row that failed, within a process."""
    return max((_longest_run(np.concatenate(codes) > 0) for codes in _by_process(measured)), default=0)


def longest_without_answer_s(measured: Measurement) -> float:
    """Return the longest time for which the robot waited for an answer, in seconds.

    In a closed loop it is that of calls in a row that failed, and of the call behind them that was answered. Of those
    that failed it is known how long they took in all in each request to the device (of two seconds): each counts as
    long as the others there. On a sensor's clock it is the time from when an input was due to the end of an inference,
    with the inputs in between that were dropped.
    """
    longest = 0.0
    if measured.clock is None:
        for spent, codes in zip(_spent_ns(measured), _by_process(measured), strict=True):
            longest = max(longest, _longest_wait(spent, np.concatenate(codes) == 0))
    else:
        for timed in measured.contents:
            for releases, kinds in zip(timed.releases, timed.codes, strict=True):
                longest = max(longest, _longest_paced(releases, kinds))
    return round(longest / 1e9, 3)


def _all_calls(measured: Measurement) -> Tally:
    contents = measured.contents
    return Tally(sum(timed.calls for timed in contents), sum(sum(timed.failed.values()) for timed in contents))


def planned_tally(measured: Measurement) -> Tally:
    """Count the calls of the time that was fixed beforehand: of each of the first processes, on each content, a part.

    Whatever came behind them was taken because other limits were not decided, which failures may have caused.
    """
    part_ns = measured.planned_s * 1e9 / PROCESSES / len(measured.contents)
    calls = failed = 0
    for timed in measured.contents:
        made = [process for process in range(len(timed.processes)) if len(timed.processes[process])][:PROCESSES]
        for process in made:
            codes = timed.codes[process][: _within(timed.requests[process], part_ns)]
            is_call = _is_call(timed, process)[: len(codes)]
            calls, failed = calls + int(np.count_nonzero(is_call)), failed + int(np.count_nonzero(codes))
    return Tally(calls, failed)


def _within(requests: Sequence[Request], part_ns: float) -> int:
    """Count what the requests timed that were begun within a time, which begins with the first."""
    count, spent_ns = 0, 0
    for request in requests:
        if spent_ns >= part_ns:
            break
        count, spent_ns = count + request.calls, spent_ns + request.elapsed_ns
    return count


def _is_call(timed: Timed, process: int) -> Array:
    """Tell of each raw sample whether it was a call: a release that was dropped was none. bool[n]."""
    if not timed.releases:
        return np.ones(len(timed.processes[process]), bool)
    made: Array = timed.releases[process][:, 2] != NEVER
    return made


def _failed_by_kind(measured: Measurement) -> dict[str, int]:
    failed: dict[str, int] = {}
    for timed in measured.contents:
        for kind, count in timed.failed.items():
            failed[kind] = failed.get(kind, 0) + count
    return failed


def _joined(parts: Sequence[Sequence[Request]]) -> Iterator[Request]:
    for part in parts:
        yield from part


def _by_process(measured: Measurement) -> Iterator[list[Array]]:
    """Yield the codes of each process's calls on each content, in the order in which they were made."""
    contents = measured.contents
    for process in range(len(measured.uniform.processes)):
        yield [timed.codes[process][_is_call(timed, process)] for timed in contents]


def _spent_ns(measured: Measurement) -> Iterator[Array]:
    """Yield how long each call of a process took in the closed loop, float64[n]; of failed ones the mean."""
    for process in range(len(measured.uniform.processes)):
        parts = [np.empty(0)]
        for timed in measured.contents:
            spent = timed.processes[process].astype(np.float64)
            place = 0
            for request in timed.requests[process]:
                part = spent[place : place + request.calls]
                part[np.isinf(part)] = request.failed_ns / max(request.failed, 1)
                place += request.calls
            parts.append(spent)
        yield np.concatenate(parts)


def _longest_run(is_failed: Array) -> int:
    edges = np.flatnonzero(np.diff(is_failed.astype(np.int8), prepend=0, append=0))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def _starts(is_answered: Array) -> Array:
    """Return where each wait begins: at first, and behind each call that was answered, if any comes there."""
    begins = np.concatenate([[True], is_answered[:-1]])
    return np.flatnonzero(begins)


def _longest_wait(spent: Array, is_answered: Array) -> float:
    return float(np.add.reduceat(spent, _starts(is_answered)).max()) if len(spent) else 0.0


def _longest_paced(releases: Array, codes: Array) -> float:
    if not len(releases):
        return 0.0
    due, _, end = releases.T
    starts = _starts((end != NEVER) & (codes == 0))
    return float((np.maximum.reduceat(np.maximum(end, due), starts) - due[starts]).max())


def why_missing(measured: Measurement) -> str:
    """Say why there is no bound, however many calls there were: too few processes began to call."""
    begun = sum(any(len(codes) for codes in each) for each in _by_process(measured))
    if begun >= PROCESSES:
        return ""
    why = measured.interruption or "give it more with --time-limit"
    return f"calls were made by {begun} processes, and {PROCESSES} are wanted: {why}"


def _open(measured: Measurement, everything: Tally, planned: Tally, limit: float) -> str:
    """Explain why a limit that is not decided lies between the bounds, and what would decide it."""
    failed = describe_failed(_failed_by_kind(measured), everything.calls) or f"none of {everything.calls} calls failed"
    low, high = min(planned.low, everything.low), max(planned.high, everything.high)
    found = f"{failed}: between {low:.5g} and {high:.5g} are answered, where {limit:g} are to be"
    share = everything.failed / everything.calls
    needed = calls_needed(share, limit)
    if needed is None:
        return f"{found}; no number of calls like these shows that"
    pace_s = span_s(measured) / everything.calls
    seconds = needed * pace_s
    return f"{found}; it takes about {needed} calls like these, {seconds:.0f} s: --time-limit {int(1.5 * seconds) + 10}"


def calls_needed(share: float, limit: float) -> int | None:
    """Estimate how many calls show that a limit is kept; None if more than MOST_CALLS, or no number does.

    Args:
        share: Of the calls so many fail, 0 to 1.
        limit: The share that is to be answered, 0 to 1.
    """
    allowed = 1 - limit
    if not 0 < allowed < 1 or share >= allowed:
        return None
    count = quantiles.samples_for_proportion(allowed)
    if share:  # by the normal distribution: it is an estimate in any case
        count = max(count, math.ceil(NORMAL**2 * allowed * limit / (allowed - share) ** 2))
    return count if count <= MOST_CALLS else None


def _notes(measured: Measurement, failed: dict[str, int], calls: int) -> tuple[str, ...]:
    """Word the note that calls failed: how many, and for how long there was no answer."""
    if not failed:
        return ()
    run, wait_s = longest_failures(measured), longest_without_answer_s(measured)
    row = f"up to {run} in a row, and up to {wait_s:.3g} s without an answer"
    what = f"{describe_failed(failed, calls)}, {row}"
    return (f"{what}; {_bursts(failed, calls, run)}",) if _bursts(failed, calls, run) else (what,)


def _bursts(failed: dict[str, int], calls: int, run: int) -> str:
    """Say that failures came in bursts, where independent ones hardly ever come in so long a run: one in a hundred."""
    share = sum(failed.values()) / calls
    if share >= 1 or calls * share**run * (1 - share) >= 1 - quantiles.CONFIDENCE:
        return ""
    return "they came in bursts, and the bound on availability assumes that they do not: it may say too much"
