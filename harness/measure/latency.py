"""Latency and missed deadlines: what the closed loop's samples say, with bounds."""

from __future__ import annotations

import numpy as np

from ..finding import Finding
from ..limits import Metric
from . import quantiles
from .sampling import Measurement

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


def latency(measured: Measurement, metric: Metric, raw: str) -> Finding:
    """One quantile of the latency, and its upper bound.

    Args:
        raw: the path of the raw samples, for the evidence.
    """
    quantile = QUANTILES[metric]
    samples = measured.durations_ms
    if not len(samples):
        return Finding(metric, missing="no sample was taken")
    missing = _missing(measured, quantile, len(samples))
    return Finding(
        metric,
        quantiles.estimate(samples, quantile),
        quantiles.upper_bound(samples, quantile),
        quantiles.CONFIDENCE,
        len(samples),
        raw,
        missing=missing,
        doubt=_joined(missing, measured.doubt),
        details={"processes": [len(block) for block in measured.blocks]},
    )


def deadline_miss_rate(measured: Measurement, deadline_ms: float | None, limit: float | None, raw: str) -> Finding:
    """How often the deadline is missed, and the upper bound of its probability.

    Args:
        limit: the rate that must be kept, if there is one: where not even a run without a miss could show it with so
            few samples, nothing is said.
    """
    metric = DEADLINE_MISS_RATE
    if deadline_ms is None:
        return Finding(metric, not_applicable="the model file sets no deadline: limits={'deadline_ms': …}")
    samples = measured.durations_ms
    if not len(samples):
        return Finding(metric, missing="no sample was taken")
    missed = int(np.count_nonzero(samples > deadline_ms))
    bound: float | None = quantiles.proportion_upper_bound(missed, len(samples))
    missing = ""
    if limit is not None and 0 < limit < 1 and missed / len(samples) <= limit:
        needed = quantiles.samples_for_proportion(limit)
        if len(samples) < needed:
            bound, missing = None, _too_few(measured, len(samples), needed, f"showing a rate of {limit:g}")
    details = {"deadline_ms": deadline_ms, "missed": missed}
    return Finding(
        metric,
        missed / len(samples),
        bound,
        quantiles.CONFIDENCE,
        len(samples),
        raw,
        missing=missing,
        doubt=_joined(missing, measured.doubt),
        details=details,
    )


def _missing(measured: Measurement, quantile: float, count: int) -> str:
    needed = quantiles.samples_needed(quantile)
    what = f"an upper bound of p{quantile * 100:g} at {quantiles.CONFIDENCE:.0%} confidence"
    return _too_few(measured, count, needed, what) if count < needed else ""


def _too_few(measured: Measurement, count: int, needed: int, what: str) -> str:
    seconds = measured.seconds_for(max(needed, measured.wanted))
    if measured.interruption:
        return f"{measured.interruption}; {count} samples were taken until then, {what} takes {needed}"
    return (
        f"{count} samples in the time; {what} takes {needed}. {max(needed, measured.wanted)} would take about "
        f"{seconds:.0f} s: --time-limit {int(seconds * 1.25) + 10}"
    )


def _joined(missing: str, doubt: str) -> str:
    """With a doubt, both are said; without one, nothing is doubted."""
    return "; ".join(filter(None, [missing, doubt])) if doubt else ""
