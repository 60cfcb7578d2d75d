"""Latency quantiles and the rate of missed deadlines, with their bounds, from the closed loop's samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..checks import quantiles
from ..checks.finding import Finding
from ..checks.limits import Metric
from ..deploy.content import UNIFORM
from ..model.model import Array
from .figures import Figures, Misses, Quantile, Rule, figures, worse
from .measurement import DURATIONS, Measurement

P50 = Metric("latency_p50_ms", "ms", "half of all inferences are faster", wall_clock=True)
P90 = Metric("latency_p90_ms", "ms", "nine of ten inferences are faster", wall_clock=True)
P99 = Metric("latency_p99_ms", "ms", "99 of 100 inferences are faster", wall_clock=True)
DEADLINE_MISS_RATE = Metric(
    "deadline_miss_rate",
    "",
    "the share of inferences that take longer than deadline_ms",
    wall_clock=True,
    parameters=("deadline_ms",),
)
METRICS = (P50, P90, P99, DEADLINE_MISS_RATE)

QUANTILES = {P50: 0.5, P90: 0.9, P99: 0.99}


def latency(measured: Measurement, metric: Metric, raw: str, limit: float | None = None) -> Finding:
    """Report one quantile of the latency and its upper bound, on the spread inputs or the samples, whichever is worse.

    Args:
        measured: The durations.
        metric: P50, P90 or P99.
        raw: The path of the raw samples, for the evidence.
        limit: The limit in milliseconds, if there is one; ``judge`` replaces it by the one that it judges.
    """
    quantile = QUANTILES[metric]
    needed = quantiles.samples_needed(quantile)
    what = f"an upper bound of p{quantile * 100:g} at {quantiles.CONFIDENCE:.0%} confidence"
    rule = Rule(
        statistic=Quantile(quantile),
        needed=needed,
        what=what,
        limit=limit,
        slow_above_ms=limit,
        too_few=_too_few(measured),
    )
    finding = _finding(metric, measured, rule, raw)
    return replace(finding, at=lambda value: latency(measured, metric, raw, value))


def published(measured: Measurement, limit: float | None) -> tuple[Array, dict[str, Any]]:
    """Return what pytest-benchmark reports: the durations of the content whose p99 is judged, and further figures.

    Never the spread inputs and the samples together: quantiles of such a mixture describe neither.

    Returns:
        The durations in milliseconds, float64[n], empty if they could not be believed; and the content's name, its
        ``p99_ms`` and the ``memory_peak_mib``, as far as they are known.
    """
    if DURATIONS in measured.impossible:
        return np.empty(0), {}
    finding = latency(measured, P99, "", limit)
    name = finding.details.get("content", UNIFORM)
    (durations,) = (timed.values for timed in measured.contents if timed.name == name)
    more: dict[str, Any] = {"content": name}
    if finding.value is not None:
        more["p99_ms"] = finding.value
    if measured.memory_peak_kib:  # a process that does not come to its end has no peak
        more["memory_peak_mib"] = max(measured.memory_peak_kib) / 1024
    return durations, more


def deadline_miss_rate(measured: Measurement, deadline_ms: float | None, limit: float | None, raw: str) -> Finding:
    """Report the share of inferences that miss the deadline, and its upper bound, on whichever content is worse.

    Args:
        measured: The durations.
        deadline_ms: From when on an answer is late, in milliseconds; None if the model file sets no deadline.
        limit: The rate that may not be exceeded, 0 to 1, if there is a limit. If the samples are so few that not even a
            run without a miss could show it, there is no bound.
        raw: The path of the raw samples, for the evidence.
    """
    metric = DEADLINE_MISS_RATE
    if deadline_ms is None:
        why = "the model file sets no deadline: limits={'deadline_ms': …}"
        return Finding(metric, not_applicable=why, unasked=limit is None)
    needed = quantiles.samples_for_proportion(limit) if limit is not None and 0 < limit < 1 else 1
    what = "" if limit is None else f"showing a rate of {limit:g}"
    rule = Rule(
        statistic=Misses(deadline_ms),
        needed=needed,
        what=what,
        limit=limit,
        slow_above_ms=deadline_ms,
        too_few=_too_few(measured),
    )
    finding = _finding(metric, measured, rule, raw)
    if limit is None and (missed := finding.details.get("missed")):
        # A deadline alone sets no limit: without this note, a model that always misses it would pass silently.
        what = (
            f"{missed} of {finding.samples} inferences missed the deadline of {deadline_ms:g} ms; nothing limits that:"
        )
        finding = replace(finding, notes=(*finding.notes, f"{what} limits={{'deadline_miss_rate': …}}"))
    return replace(finding, at=lambda value: deadline_miss_rate(measured, deadline_ms, value, raw))


def _finding(metric: Metric, measured: Measurement, rule: Rule, raw: str) -> Finding:
    each = [figures(timed, rule) for timed in measured.contents]
    if impossible := measured.impossible.get(DURATIONS):  # the raw durations stay in the evidence, without any figure
        return Finding(metric, samples=measured.count, raw=raw, no_bound_reason=impossible)
    if not measured.count:
        return Finding(metric, no_bound_reason=measured.interruption or "no sample was taken")
    judged = worse(each, rule.limit)
    return Finding(
        metric,
        judged.value,
        None if judged.open else judged.bound,
        confidence=quantiles.CONFIDENCE,
        samples=judged.timed.count,
        raw=raw,
        no_bound_reason=judged.open,
        invalid_reason=_join_reasons(judged.open, measured.doubt),
        taken_on=judged.taken_on if len(each) > 1 else "",
        details=_details(each, judged, rule),
    )


def _details(each: Sequence[Figures], judged: Figures, rule: Rule) -> dict[str, Any]:
    timed = judged.timed
    details: dict[str, Any] = {"processes": [len(durations) for durations in timed.processes], "inputs": timed.inputs}
    if isinstance(rule.statistic, Misses):
        missed = int(np.count_nonzero(timed.values > rule.statistic.deadline_ms))
        details = {"deadline_ms": rule.statistic.deadline_ms, "missed": missed, **details}
    if drawn := timed.drawn_sizes:
        details["sizes"] = drawn
    if len(each) > 1:
        details |= {"content": timed.name, "by_content": {content.timed.name: content.described() for content in each}}
    return details


def _too_few(measured: Measurement) -> Callable[[str, int, str], str]:
    """Return a function that explains too few samples, and says how long enough of them would take."""

    def explain(found: str, needed: int, what: str) -> str:
        if measured.interruption:
            return f"{measured.interruption}; {found} were taken until then, {what} takes {needed}"
        seconds = measured.seconds_for(needed)
        wanted = max(needed, *(timed.wanted for timed in measured.contents))
        return (
            f"{found} in the time; {what} takes {needed}, each of another input. {wanted} would take about "
            f"{seconds:.0f} s: --time-limit {int(seconds * 1.25) + 10}"
        )

    return explain


def _join_reasons(no_bound_reason: str, invalid_reason: str) -> str:
    """Join both reasons if the measurement is invalid; return "" if it is not."""
    return "; ".join(filter(None, [no_bound_reason, invalid_reason])) if invalid_reason else ""
