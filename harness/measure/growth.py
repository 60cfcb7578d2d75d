"""Memory growth: what an inference on new inputs leaves behind in the process that serves the model.

A process is fitted by itself, never together with others: they start at different levels. Each has a trend (see
harness.checks.trend) in KiB per 1000 inferences.

- FAIL: in two processes the lower end of the interval is above the limit, and so is the slope of the second half of the
  readings. One process may meet a step that looks like a slope; what settles slowly has no slope in the end.
- PASS: in no process it is, and in every process that was judged the interval's upper end, and what was really gained
  from the first readings to the last, are within the limit. The second is for what comes in large steps: few pairs of
  readings have one between them.
- Otherwise it is undecided.

All are judged that did at least half as many inferences as the longest: what a shorter one leaves open, a longer one
may tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..checks.finding import Finding
from ..checks.limits import Metric
from ..checks.trend import CONFIDENCE, Trend
from .measurement import DURATIONS, GROWTH, Measurement
from .memory_series import LEAST_READINGS, NEEDED, MemorySeries
from .schedule import LOST_ALLOWED

MEMORY_GROWTH = Metric(
    "memory_growth_kib_per_1000",
    "KiB",
    "what 1000 inferences on new inputs leave in the serving process's anonymous memory",
)
METRICS = (MEMORY_GROWTH,)

# How many processes must exceed the limit by themselves.
CONFIRMING = 2
UNKNOWN = "the device's kernel does not say how much of a process's memory is anonymous (RssAnon: Linux 4.5 and later)"


def memory_growth(measured: Measurement, limit: float | None = None) -> Finding:
    """Report the largest of the processes' trends, in KiB per 1000 inferences.

    Args:
        measured: The readings of each process.
        limit: The limit in KiB per 1000 inferences, if there is one; ``judge`` replaces it by the one that it judges.
    """
    finding = _finding(measured, limit)
    return replace(finding, at=lambda value: memory_growth(measured, value))


def _finding(measured: Measurement, limit: float | None) -> Finding:
    if impossible := measured.impossible.get(GROWTH):
        return Finding(MEMORY_GROWTH, no_bound_reason=impossible)
    enough = [each for each in measured.memory_series if each.is_enough]
    if not enough:
        why = _too_few(measured)
        if limit is None:
            return Finding(MEMORY_GROWTH, not_applicable=f"nothing limits it, and {why}", unasked=True)
        return Finding(MEMORY_GROWTH, no_bound_reason=why)
    trends = {index: each.trend() for index, each in enumerate(measured.memory_series) if each.is_enough}
    longest = max(measured.memory_series[index].count for index in trends)
    judged = [
        each
        for index, each in trends.items()
        if 2 * measured.memory_series[index].count >= longest or (limit is not None and _least(each) > limit)
    ]
    worst = max(judged, key=_most)
    return Finding(
        MEMORY_GROWTH,
        worst.slope,
        _most(worst),
        bound_low=lowest_of_two(list(trends.values())),
        undecided_reason="" if limit is None else _undecided(measured, judged, longest, limit),
        confidence=CONFIDENCE,
        samples=sum(each.count for each in enough),
        details={"by_process": [_described(measured.memory_series[index], each) for index, each in trends.items()]},
    )


def is_settled(measured: Measurement, limit: float) -> bool:
    """Tell whether nothing more can be learned of a limit: it is kept or broken, or no reading can be believed."""
    finding = _finding(measured, limit)
    is_broken = finding.bound_low is not None and finding.bound_low > limit
    is_kept = finding.bound is not None and finding.bound <= limit
    return is_broken or is_kept or GROWTH in measured.impossible


def cannot_go_on(measured: Measurement) -> bool:
    """Tell whether sampling was given up, because of the connection or of reports that cannot be true."""
    return DURATIONS in measured.impossible or len(measured.lost) > LOST_ALLOWED


def has_grown(measured: Measurement, limit: float) -> bool:
    """Tell whether a process grew by more than the limit, which another one has to confirm."""
    return any(_least(each.trend()) > limit for each in measured.memory_series if each.is_enough)


def is_settled_by(each: Trend, limit: float) -> bool:
    """Tell whether a process leaves nothing open by itself: its memory grows by more than the limit, or it does not."""
    return _least(each) > limit or _most(each) <= limit


def lowest_of_two(trends: Sequence[Trend]) -> float | None:
    """Return what CONFIRMING processes say each by itself that memory grows at least; None if there are fewer."""
    lows = sorted((_least(each) for each in trends), reverse=True)
    return lows[CONFIRMING - 1] if len(lows) >= CONFIRMING else None


def _least(each: Trend) -> float:
    return min(each.low, each.late)


def _most(each: Trend) -> float:
    return max(each.high, each.gained)


def _described(series: MemorySeries, each: Trend) -> dict[str, Any]:
    figures = {"slope": each.slope, "low": each.low, "high": each.high, "gained": each.gained, "late": each.late}
    rounded = {name: round(value, 2) for name, value in figures.items()}
    return {
        "inferences": series.count,
        "readings": len(series.kib),
        **rounded,
        "kib": _ends(series),
        "fitted": series.fitted(),
    }


def _ends(series: MemorySeries) -> list[int]:
    """Return the first and the last reading."""
    return [series.kib[0], series.kib[-1]]


def _too_few(measured: Measurement) -> str:
    """Explain that no process did enough inferences, and what it would take."""
    most = max(measured.memory_series, key=lambda each: each.count, default=MemorySeries())
    if most.count >= NEEDED:
        few = (
            f"memory was read {len(most.kib)} times in {most.count} inferences: a trend takes {LEAST_READINGS} readings"
        )
        return f"{few} after the first fifth" if most.kib else UNKNOWN
    if measured.interruption and not measured.growth_pace_s:
        return f"{measured.interruption}; no process did {NEEDED} inferences until then"
    pace_s = _pace_s(measured)
    takes = f", which would take about {NEEDED * pace_s:.0f} s: {_time_limit(NEEDED * pace_s)}" if pace_s else ""
    return f"{most.count} inferences in one process are too few: a trend takes {NEEDED}{takes}"


def _undecided(measured: Measurement, judged: Sequence[Trend], longest: int, limit: float) -> str:
    """Explain why the limit lies within the bounds, and what it would take."""
    worst = max(judged, key=_most)
    found = (
        f"memory grew between {_least(worst):.4g} and {_most(worst):.4g} KiB per 1000 inferences, where {limit:g} are "
        f"allowed ({len(judged)} processes, {longest} inferences)"
    )
    grown = sum(_least(each) > limit for each in judged)
    if grown and len(judged) == 1:
        return f"{found}; a second process has to say so, too: give it time with --time-limit"
    if grown:
        return f"{found}; other processes do not say so: memory may be kept once, and not with each inference"
    # What is no trend but a step, or noise, counts the less the more inferences there are.
    more = longest * min(max(_most(worst) / limit, 2.0), 100.0) if limit else 0.0
    if not more or not (pace_s := _pace_s(measured)):
        return found
    return f"{found}; about {more:.0f} inferences would settle it: {_time_limit(more * pace_s)}"


def _pace_s(measured: Measurement) -> float:
    """Return what an inference takes, with the making of its input, in seconds; 0 where it is not known."""
    return measured.growth_pace_s or measured.uniform.pace_s


def _time_limit(seconds: float) -> str:
    """Word the option that gives one process so much time, where another one may have to confirm it."""
    return f"--time-limit {int(CONFIRMING * 1.25 * seconds) + 10}"
