"""Figures of evidence as numbers that can be compared: which way is better, and what counts as worse than any."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

from ..checks.check import Verdict
from ..evidence.entry import Figure
from ..evidence.schema import CheckEntry

Better = Literal["lower", "higher"]

# hilgate's own metrics: evidence of before `better` was written does not say it of them, and none may say otherwise.
_HIGHER = frozenset({"accuracy", "availability"})
_LOWER = frozenset(
    {
        "parity",
        "energy_per_inference_mj",
        "cost_per_hour_usd",
        "cost_per_million_usd",
        "first_part_p50_ms",
        "first_part_p99_ms",
        "latency_p50_ms",
        "latency_p90_ms",
        "latency_p99_ms",
        "latency_p999_ms",
        "latency_max_ms",
        "deadline_miss_rate",
        "start_jitter_p99_ms",
        "switch_ms",
        "latency_over_other_percent",
        "memory_peak_mib",
        "memory_growth_kib_per_1000",
        "load_time_s",
        "first_start_s",
        "artifact_mib",
        "instructions_per_inference",
    }
)
NO_VALUE = math.nan
NO_BOUND = math.inf


def as_number(figure: Figure | None) -> float | None:
    """Return a figure as a float: the texts "inf", "-inf" and "nan" too; a count that no float holds is infinite."""
    if figure is None:
        return None
    try:
        return float(figure)
    except OverflowError:
        return math.inf if int(figure) > 0 else -math.inf


def better_of(check: CheckEntry) -> Better | None:
    """Say which of two values of a check's metric is the better one; None where the evidence does not tell."""
    return check.better or known_better(check.metric)


def known_better(metric: str) -> Better | None:
    """Say which of two values of a metric of hilgate's own is better; None of any other metric."""
    return "higher" if metric in _HIGHER else "lower" if metric in _LOWER else None


def keeps(bound: float, limit: float, better: Better) -> bool:
    """Tell whether a bound keeps a limit; NaN keeps none and is kept by none."""
    return bound <= limit if better == "lower" else bound >= limit


def score_of(checks: Iterable[CheckEntry], better: Better | None) -> float:
    """Return what a cell's checks of one metric count in a comparison, the lower the better.

    Returns:
        The bound, negated where higher is better. ``NO_BOUND``, which is worse than any, where there is a value that
        nothing vouches for: no bound, one that is not finite, or a measurement that its own reason calls doubtful.
        ``NO_VALUE`` where nothing was measured, or nobody knows which way is better. Of several checks of one metric
        the worst counts.
    """
    scores = [_score(check, better) for check in checks]
    if not scores or better is None or any(math.isnan(score) for score in scores):
        return NO_VALUE
    return max(scores)


def _score(check: CheckEntry, better: Better | None) -> float:
    if check.value is None or check.verdict is Verdict.NOT_APPLICABLE:
        return NO_VALUE
    bound = as_number(check.bound)
    # A reason beside MEASURED says why the measurement may not be believed: a throttled board, too few blocks.
    is_doubtful = check.verdict is Verdict.MEASURED and bool(check.reason)
    if bound is None or is_doubtful or not math.isfinite(bound):
        return NO_BOUND
    return bound if better == "lower" else -bound
