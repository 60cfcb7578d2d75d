"""Latency and missed deadlines: what the closed loop's samples say, with bounds."""

from __future__ import annotations

import numpy as np

from ..checks import Finding
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
    return Finding(
        metric,
        quantiles.estimate(samples, quantile),
        quantiles.upper_bound(samples, quantile),
        quantiles.CONFIDENCE,
        len(samples),
        raw,
        missing=_missing(measured, quantile, len(samples)),
        doubt=measured.doubt,
        details={"processes": [len(block) for block in measured.blocks]},
    )


def deadline_miss_rate(measured: Measurement, deadline_ms: float | None, raw: str) -> Finding:
    """How often the deadline is missed, and the upper bound of its probability."""
    metric = DEADLINE_MISS_RATE
    if deadline_ms is None:
        return Finding(metric, not_applicable="the model file sets no deadline: limits={'deadline_ms': …}")
    samples = measured.durations_ms
    if not len(samples):
        return Finding(metric, missing="no sample was taken")
    missed = int(np.count_nonzero(samples > deadline_ms))
    bound = quantiles.proportion_upper_bound(missed, len(samples))
    details = {"deadline_ms": deadline_ms, "missed": missed}
    return Finding(
        metric,
        missed / len(samples),
        bound,
        quantiles.CONFIDENCE,
        len(samples),
        raw,
        doubt=measured.doubt,
        details=details,
    )


def _missing(measured: Measurement, quantile: float, count: int) -> str:
    needed = quantiles.samples_needed(quantile)
    if count >= needed:
        return ""
    seconds = measured.seconds_needed
    return (
        f"{count} samples in the time; an upper bound of p{quantile * 100:g} at {quantiles.CONFIDENCE:.0%} confidence "
        f"takes {needed}. {measured.wanted} would take about {seconds:.0f} s: --time-limit {int(seconds * 1.25) + 10}"
    )
