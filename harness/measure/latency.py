"""Latency and missed deadlines: what the closed loop's samples say, with bounds."""

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
    """One quantile of the latency, and its upper bound: of the spread inputs or of the samples, whichever is worse.

    Args:
        raw: the path of the raw samples, for the evidence.
        limit: what must be kept, if anything; whoever judges it puts its own in its place.
    """
    quantile = QUANTILES[metric]
    needed = quantiles.samples_needed(quantile)
    what = f"an upper bound of p{quantile * 100:g} at {quantiles.CONFIDENCE:.0%} confidence"
    rule = Rule(Quantile(quantile), needed, what, limit, limit, _too_few(measured))
    found = _finding(metric, measured, rule, raw)
    return replace(found, at=lambda value: latency(measured, metric, raw, value))


def published(measured: Measurement, limit: float | None) -> tuple[Array, dict[str, Any]]:
    """What other tools are told: the durations in milliseconds of the content whose p99 is judged, and what else.

    Never noise and samples together, for their quantiles are nobody's.
    """
    if DURATIONS in measured.impossible:
        return np.empty(0), {}
    found = latency(measured, P99, "", limit)
    name = found.details.get("content", UNIFORM)
    (durations,) = (timed.values for timed in measured.contents if timed.name == name)
    more: dict[str, Any] = {"content": name}
    if found.value is not None:
        more["p99_ms"] = found.value
    if measured.memory_peak_kib:  # a process that does not come to its end has no peak
        more["memory_peak_mib"] = max(measured.memory_peak_kib) / 1024
    return durations, more


def deadline_miss_rate(measured: Measurement, deadline_ms: float | None, limit: float | None, raw: str) -> Finding:
    """How often the deadline is missed, and the upper bound of its probability: of whichever content is worse.

    Args:
        limit: the rate that must be kept, if there is one: where not even a run without a miss could show it with so
            few samples, nothing is said.
    """
    metric = DEADLINE_MISS_RATE
    if deadline_ms is None:
        why = "the model file sets no deadline: limits={'deadline_ms': …}"
        return Finding(metric, not_applicable=why, unasked=limit is None)
    needed = quantiles.samples_for_proportion(limit) if limit is not None and 0 < limit < 1 else 1
    what = "" if limit is None else f"showing a rate of {limit:g}"
    rule = Rule(Misses(deadline_ms), needed, what, limit, deadline_ms, _too_few(measured))
    found = _finding(metric, measured, rule, raw)
    if limit is None and (missed := found.details.get("missed")):
        # A deadline by itself is a parameter: without this, a model that always misses it would pass without a word.
        said = f"{missed} of {found.samples} inferences missed the deadline of {deadline_ms:g} ms; nothing limits that:"
        found = replace(found, notes=(*found.notes, f"{said} limits={{'deadline_miss_rate': …}}"))
    return replace(found, at=lambda value: deadline_miss_rate(measured, deadline_ms, value, raw))


def _finding(metric: Metric, measured: Measurement, rule: Rule, raw: str) -> Finding:
    each = [figures(timed, rule) for timed in measured.contents]
    if impossible := measured.impossible.get(DURATIONS):  # kept, for whoever wants to see it; but no figure of it
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
        invalid_reason=_joined(judged.open, measured.doubt),
        taken_on=judged.taken_on if len(each) > 1 else "",
        details=_details(each, judged, rule),
    )


def _details(each: Sequence[Figures], judged: Figures, rule: Rule) -> dict[str, Any]:
    timed = judged.timed
    details: dict[str, Any] = {"processes": [len(block) for block in timed.blocks], "inputs": timed.inputs}
    if isinstance(rule.statistic, Misses):
        missed = int(np.count_nonzero(timed.values > rule.statistic.deadline_ms))
        details = {"deadline_ms": rule.statistic.deadline_ms, "missed": missed, **details}
    if len(each) > 1:
        details |= {"content": timed.name, "by_content": {one.timed.name: one.described() for one in each}}
    return details


def _too_few(measured: Measurement) -> Callable[[str, int, str], str]:
    def say(found: str, needed: int, what: str) -> str:
        if measured.interruption:
            return f"{measured.interruption}; {found} were taken until then, {what} takes {needed}"
        seconds = measured.seconds_for(needed)
        wanted = max(needed, *(timed.wanted for timed in measured.contents))
        return (
            f"{found} in the time; {what} takes {needed}, each of another input. {wanted} would take about "
            f"{seconds:.0f} s: --time-limit {int(seconds * 1.25) + 10}"
        )

    return say


def _joined(missing: str, doubt: str) -> str:
    """With a doubt, both are said; without one, nothing is doubted."""
    return "; ".join(filter(None, [missing, doubt])) if doubt else ""
