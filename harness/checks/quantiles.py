"""Confidence bounds of quantiles and proportions that hold for any distribution, from a fixed number of samples.

An upper bound of the q-quantile is an order statistic: of n independent samples, the k-th smallest is at or above the
quantile unless k or more samples lie below it, and the number of those is at most binomial(n, q). See H. A. David and
H. N. Nagaraja, Order Statistics, 3rd ed., section 7.1. Why not a bootstrap: docs/decisions/0006-order-statistics.md.
MLPerf LoadGen's early stopping counts the same way: p90 takes 44 samples and p99 459; 64 and 662 if one may be slow.

The number of samples must not depend on the samples: looking repeatedly and stopping at a bound that suits is another
question.
"""

from __future__ import annotations

import math

import numpy as np

from ..agent.frames import Array

# Of a bound, one-sided: a limit that is broken passes in at most one of a hundred runs.
CONFIDENCE = 0.99


def binomial_below(count: int, probability: float) -> Array:
    """Compute the binomial distribution function P(X ≤ k) for every k of 0 … count.

    Computed from logarithms, so that it does not overflow for large counts.

    Args:
        count: The number of trials, n.
        probability: The probability of each, with 0 < probability < 1.

    Returns:
        float64[count + 1].
    """
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])
    k = np.arange(count + 1)
    choose = logs[count] - logs[k] - logs[count - k]
    below: Array = np.cumsum(np.exp(choose + k * math.log(probability) + (count - k) * math.log1p(-probability)))
    return below


def upper_rank(count: int, quantile: float, confidence: float = CONFIDENCE) -> int | None:
    """Return the smallest rank whose order statistic bounds the quantile from above.

    Args:
        count: The number of samples.
        quantile: The quantile, 0 to 1.
        confidence: The bound's confidence, 0 to 1.

    Returns:
        k, from 1 to count, so that the k-th smallest sample is an upper bound; None if the samples are too few.
    """
    if count == 0:
        return None
    # The k-th smallest sample fails as a bound if k or more samples lie below the quantile.
    sufficient = np.flatnonzero(binomial_below(count, quantile)[:-1] >= confidence)
    return int(sufficient[0]) + 1 if len(sufficient) else None


def samples_needed(quantile: float, slow: int = 0, confidence: float = CONFIDENCE) -> int:
    """Count the samples that an upper bound of the quantile needs so that the ``slow`` slowest may lie above it."""
    count = slow + 1
    while (rank := upper_rank(count, quantile, confidence)) is None or rank > count - slow:
        count += 1
    return count


def estimate(samples: Array, quantile: float) -> float:
    """Compute the empirical quantile: the smallest sample that at most a share of 1 − quantile exceeds."""
    return float(np.quantile(samples, quantile, method="inverted_cdf"))


def upper_bound(samples: Array, quantile: float, confidence: float = CONFIDENCE) -> float | None:
    """Compute an upper bound of the quantile, in the samples' unit; None if the samples are too few."""
    rank = upper_rank(len(samples), quantile, confidence)
    return None if rank is None else float(np.partition(samples, rank - 1)[rank - 1])


def samples_for_proportion(limit: float, confidence: float = CONFIDENCE) -> int:
    """Count the trials without a hit that show a probability to be at most ``limit``, with 0 < limit < 1."""
    return math.ceil(math.log(1 - confidence) / math.log1p(-limit))


def proportion_upper_bound(hits: int, count: int, confidence: float = CONFIDENCE) -> float:
    """Compute the upper bound of a probability after ``hits`` in ``count`` trials (Clopper and Pearson, 1934)."""
    if hits >= count:
        return 1.0
    low, high = hits / count, 1.0
    for _ in range(60):  # bisect to the last bit of a float64
        middle = (low + high) / 2
        if 0 < middle < 1 and binomial_below(count, middle)[hits] > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def binomial_at_most(hits: int, count: int, probability: float) -> float:
    """Compute P(X ≤ hits) of a binomial distribution, for counts of millions: only terms that matter are added.

    Args:
        hits: k, 0 to count.
        count: The number of trials, n.
        probability: The probability of each, with 0 < probability < 1.
    """
    if hits >= count:
        return 1.0
    if hits > count * probability:  # the other tail is the smaller one
        return 1.0 - binomial_at_most(count - hits - 1, count, 1 - probability)
    # Below the mean terms fall from k on downwards; forty standard deviations further down nothing is left.
    first = max(hits - 40 * math.isqrt(max(hits, 1)) - 100, 0)
    k = np.arange(first, hits)
    steps = np.log(count - k) - np.log(k + 1) + math.log(probability) - math.log1p(-probability)
    start = math.lgamma(count + 1) - math.lgamma(first + 1) - math.lgamma(count - first + 1)
    start += first * math.log(probability) + (count - first) * math.log1p(-probability)
    return float(np.exp(np.concatenate([[start], start + np.cumsum(steps)])).sum())


def share_upper_bound(hits: int, count: int, confidence: float = CONFIDENCE) -> float:
    """Compute what ``proportion_upper_bound`` does, for counts of millions; the last digits may differ."""
    if hits >= count:
        return 1.0
    low, high = hits / count, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if 0 < middle < 1 and binomial_at_most(hits, count, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high
