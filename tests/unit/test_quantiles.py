"""Bounds from order statistics, against scipy and against what they promise: how often they hold."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy  # type: ignore[import-untyped]  # scipy.stats is imported where it is first used: it takes seconds

from harness.checks.quantiles import (
    CONFIDENCE,
    binomial_below,
    estimate,
    proportion_upper_bound,
    samples_needed,
    upper_bound,
    upper_rank,
)
from harness.model.model import Array

QUANTILES = [pytest.param(q, id=f"p{q * 100:g}") for q in (0.5, 0.9, 0.99, 0.999)]


@pytest.mark.parametrize(
    ("quantile", "slow", "count"),
    [
        pytest.param(0.5, 0, 7, id="p50"),
        pytest.param(0.9, 0, 44, id="p90"),
        pytest.param(0.9, 1, 64, id="p90-one-slow"),
        pytest.param(0.99, 0, 459, id="p99"),
        pytest.param(0.99, 1, 662, id="p99-one-slow"),
        pytest.param(0.999, 0, 4603, id="p999"),
    ],
)
def test_as_many_samples_are_needed_as_loadgen_says(quantile: float, slow: int, count: int) -> None:
    assert samples_needed(quantile, slow) == count


@pytest.mark.parametrize("quantile", QUANTILES)
@pytest.mark.parametrize("count", [pytest.param(count, id=str(count)) for count in (1, 7, 459, 5000)])
def test_the_binomial_distribution_is_scipys(count: int, quantile: float) -> None:
    expected = scipy.stats.binom.cdf(np.arange(count + 1), count, quantile)
    np.testing.assert_allclose(binomial_below(count, quantile), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("quantile", QUANTILES)
def test_the_rank_is_the_smallest_that_scipy_allows(quantile: float) -> None:
    for count in (0, 1, 6, 7, 43, 44, 63, 64, 458, 459, 661, 662, 1000, 4602, 4603):
        # P(at least `rank` of the samples lie below the quantile) ≤ 1 − confidence
        fails = scipy.stats.binom.sf(np.arange(count), count, quantile)
        ranks = np.flatnonzero(fails <= 1 - CONFIDENCE) + 1
        assert upper_rank(count, quantile) == (int(ranks[0]) if len(ranks) else None)


@pytest.mark.parametrize(
    ("quantile", "count"),
    [
        pytest.param(0.5, 6, id="p50"),
        pytest.param(0.9, 43, id="p90"),
        pytest.param(0.99, 458, id="p99"),
        pytest.param(0.5, 0, id="none"),
    ],
)
def test_with_one_sample_too_few_there_is_no_bound(quantile: float, count: int) -> None:
    assert upper_bound(np.arange(count), quantile) is None


def test_the_bound_is_the_sample_of_that_rank_whatever_their_order() -> None:
    samples = np.random.default_rng(1).permutation(1000)
    assert upper_bound(samples, 0.9) == upper_rank(1000, 0.9) - 1  # type: ignore[operator]


def test_with_many_samples_the_slowest_does_not_matter() -> None:
    samples = np.ones(1000)
    samples[17] = 1e9
    assert upper_bound(samples, 0.99) == 1


@pytest.mark.parametrize(
    ("samples", "quantile", "value"),
    [
        pytest.param([3, 1, 2], 0.5, 2, id="median-of-three"),
        pytest.param([4, 1, 2, 3], 0.5, 2, id="median-is-a-sample"),
        pytest.param(range(1, 101), 0.99, 99, id="p99-of-100"),
        pytest.param(range(1, 102), 0.99, 100, id="p99-of-101"),
        pytest.param([5], 0.99, 5, id="one"),
    ],
)
def test_the_estimate_is_the_smallest_sample_that_few_enough_exceed(
    samples: list[int], quantile: float, value: float
) -> None:
    assert estimate(np.array(samples), quantile) == value


Draw = Callable[[np.random.Generator, tuple[int, int]], Array]


@pytest.mark.parametrize(
    ("draw", "inverse"),
    [
        pytest.param(
            lambda random, shape: random.lognormal(0, 1, shape), lambda q: scipy.stats.lognorm.ppf(q, 1), id="long-tail"
        ),
        pytest.param(lambda random, shape: random.uniform(size=shape), lambda q: q, id="short-tail"),
        pytest.param(
            lambda random, shape: random.geometric(0.05, shape),
            lambda q: scipy.stats.geom.ppf(q, 0.05),
            id="coarse-clock",
        ),
    ],
)
@pytest.mark.parametrize(
    ("quantile", "count"),
    [
        pytest.param(0.5, 7, id="p50-of-7"),
        pytest.param(0.9, 44, id="p90-of-44"),
        pytest.param(0.9, 200, id="p90-of-200"),
        pytest.param(0.99, 459, id="p99-of-459"),
        pytest.param(0.99, 1000, id="p99-of-1000"),
    ],
)
def test_the_bound_holds_as_often_as_it_promises(
    draw: Draw, inverse: Callable[[float], float], quantile: float, count: int
) -> None:
    trials = 2000
    samples = draw(np.random.default_rng(2), (trials, count))
    rank = upper_rank(count, quantile)
    assert rank is not None
    held = np.mean(np.sort(samples, axis=1)[:, rank - 1] >= inverse(quantile))
    noise = 3 * math.sqrt(CONFIDENCE * (1 - CONFIDENCE) / trials)
    assert held >= CONFIDENCE - noise


@pytest.mark.parametrize("count", [pytest.param(count, id=f"of-{count}") for count in (1, 10, 459, 1000, 20_000)])
def test_the_bound_of_a_proportion_is_the_quantile_of_a_beta_distribution(count: int) -> None:
    for hits in {0, 1, count // 100, count // 2, count - 1} & set(range(count)):
        expected = scipy.stats.beta.ppf(CONFIDENCE, hits + 1, count - hits)
        assert proportion_upper_bound(hits, count) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("hits", "count"), [pytest.param(0, 0, id="nothing-tried"), pytest.param(5, 5, id="always")])
def test_a_proportion_that_nothing_speaks_against_may_be_one(hits: int, count: int) -> None:
    assert proportion_upper_bound(hits, count) == 1


def test_the_bound_of_a_proportion_holds_as_often_as_it_promises() -> None:
    trials, count, probability = 2000, 500, 0.02
    hits = np.random.default_rng(3).binomial(count, probability, trials)
    bounds = {value: proportion_upper_bound(value, count) for value in map(int, np.unique(hits))}
    held = np.mean([bounds[int(value)] >= probability for value in hits])
    assert held >= CONFIDENCE - 3 * math.sqrt(CONFIDENCE * (1 - CONFIDENCE) / trials)
