"""Distribution-free bounds: what can be said for certain from so many samples, whatever their distribution.

An upper bound of the q-quantile is an order statistic: of n independent samples, the k-th smallest is at or above it
unless k or more of them lie below it, and that number is binomial(n, q) at most. See H. A. David and H. N. Nagaraja,
Order Statistics, 3rd ed., 7.1. MLPerf LoadGen's early stopping counts the same way (anchors: p90 44 samples, p99 459,
with 64 and 662 where one may be slow).
"""

from __future__ import annotations

import math

import numpy as np

from ..agent.frames import Array

CONFIDENCE = 0.99


def binomial_below(count: int, probability: float) -> Array:
    """P(X ≤ k) of X ~ binomial(count, probability), float64[count + 1], for 0 < probability < 1."""
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])
    k = np.arange(count + 1)
    choose = logs[count] - logs[k] - logs[count - k]
    below: Array = np.cumsum(np.exp(choose + k * math.log(probability) + (count - k) * math.log1p(-probability)))
    return below


def upper_rank(count: int, quantile: float, confidence: float = CONFIDENCE) -> int | None:
    """The smallest k so that the k-th smallest of count samples bounds the quantile from above; None: too few
    samples."""
    if count == 0:
        return None
    # The k-th smallest fails to bound it when k or more samples lie below it.
    enough = np.flatnonzero(binomial_below(count, quantile)[:-1] >= confidence)
    return int(enough[0]) + 1 if len(enough) else None


def samples_needed(quantile: float, slow: int = 0, confidence: float = CONFIDENCE) -> int:
    """How many samples an upper bound takes, when the ``slow`` slowest are to lie above it."""
    count = slow + 1
    while (rank := upper_rank(count, quantile, confidence)) is None or rank > count - slow:
        count += 1
    return count


def estimate(samples: Array, quantile: float) -> float:
    """The empirical quantile: the smallest sample that is not exceeded by more than 1 − q of them."""
    return float(np.quantile(samples, quantile, method="inverted_cdf"))


def upper_bound(samples: Array, quantile: float, confidence: float = CONFIDENCE) -> float | None:
    """An upper bound of the quantile at the confidence; None: too few samples."""
    rank = upper_rank(len(samples), quantile, confidence)
    return None if rank is None else float(np.partition(samples, rank - 1)[rank - 1])


def samples_for_proportion(limit: float, confidence: float = CONFIDENCE) -> int:
    """How many trials without a hit show that a probability is at most ``limit``, 0 < limit < 1."""
    return math.ceil(math.log(1 - confidence) / math.log1p(-limit))


def proportion_upper_bound(hits: int, count: int, confidence: float = CONFIDENCE) -> float:
    """An upper bound of a probability of which ``hits`` of ``count`` trials are known (Clopper and Pearson, 1934)."""
    if hits >= count:
        return 1.0
    low, high = hits / count, 1.0
    for _ in range(60):  # to the last bit of a float64
        middle = (low + high) / 2
        if 0 < middle < 1 and binomial_below(count, middle)[hits] > 1 - confidence:
            low = middle
        else:
            high = middle
    return high
