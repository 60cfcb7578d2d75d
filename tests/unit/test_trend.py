"""The trend of a series, against values known by construction, scipy's, and how often its interval holds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy  # type: ignore[import-untyped]  # scipy.stats is imported where it is first used: it takes seconds

from harness.agent.frames import Array
from harness.checks.trend import trend

X = np.arange(48) * 100.0


def stepped(at: int, by: float) -> Array:
    return np.where(np.arange(48) < at, 0.0, by)


@pytest.mark.parametrize(
    ("y", "slope", "gained"),
    [
        pytest.param(0 * X, 0, 0, id="level"),
        pytest.param(7 + X / 4, 0.25, 0.25, id="line"),
        pytest.param(7 - X / 4, -0.25, -0.25, id="falling"),
        pytest.param(X / 4 + 1e9 * (np.arange(48) == 20), 0.25, 0.25, id="one-point-far-off"),
        pytest.param(X / 4 + 1e6 * (np.arange(48) % 12 == 5), 0.25, 0.25, id="four-points-far-off"),
        pytest.param(stepped(3, 2048), 0, 2048 / 4400, id="a-step-near-the-beginning"),
        pytest.param(stepped(44, 2048), 0, 2048 / 4400, id="a-step-near-the-end"),
        pytest.param(stepped(47, 2048), 0, 0, id="a-step-at-the-last-point"),
    ],
)
def test_the_slope_is_that_of_most_pairs(y: Array, slope: float, gained: float) -> None:
    found = trend(X, y)
    assert found.slope == pytest.approx(slope)
    assert found.gained == pytest.approx(gained, rel=0.06)
    assert found.low <= found.slope <= found.high


def test_a_line_has_an_interval_of_no_width() -> None:
    found = trend(X, X / 4)
    assert (found.low, found.high) == (0.25, 0.25)


def test_what_settles_has_a_slope_that_ends() -> None:
    found = trend(X, np.minimum(X, 2000))
    assert found.slope > 0.3
    assert found.late == 0


def test_a_step_in_the_middle_leaves_open_whether_it_grows() -> None:
    found = trend(X, stepped(24, 2048))
    assert found.low == 0
    assert found.high > 0.2


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_few_points_have_no_interval(count: int) -> None:
    found = trend(X[:count], X[:count])
    assert (found.slope, found.low, found.high) == (1, -math.inf, math.inf)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        pytest.param([1.0], [1.0], id="one"),
        pytest.param([], [], id="none"),
        pytest.param([1.0, 1.0], [1.0, 2.0], id="no-distance"),
        pytest.param([2.0, 1.0], [1.0, 2.0], id="backwards"),
        pytest.param([1.0, 2.0], [1.0], id="lengths"),
        pytest.param([1.0, math.nan], [1.0, 2.0], id="nan"),
    ],
)
def test_what_has_no_slope_is_refused(x: list[float], y: list[float]) -> None:
    with pytest.raises(ValueError, match="at least two points"):
        trend(np.array(x), np.array(y))


@pytest.mark.parametrize("count", [10, 31, 48, 60])
def test_scipy_finds_the_same_or_the_next_narrower_interval(count: int) -> None:
    """It rounds to the nearest pair of slopes, where we take the outer one."""
    y = np.random.default_rng(count).standard_t(2, count)
    x = np.cumsum(np.random.default_rng(1).integers(1, 300, count)).astype(float)
    other = scipy.stats.theilslopes(y, x, 0.99)
    found = trend(x, y)
    first, second = np.triu_indices(count, 1)
    slopes = np.sort((y[second] - y[first]) / (x[second] - x[first]))
    low, high = np.searchsorted(slopes, [found.low, found.high])
    assert found.slope == pytest.approx(other.slope)
    assert other.low_slope in [pytest.approx(slopes[low]), pytest.approx(slopes[low + 1])]
    assert other.high_slope in [pytest.approx(slopes[high]), pytest.approx(slopes[high - 1])]


@pytest.mark.parametrize("count", [20, 31, 48])
def test_the_interval_holds_as_often_as_it_says_for_independent_errors(count: int) -> None:
    """2000 series of heavy tails: 1 % outside, in half of the cases below."""
    random = np.random.default_rng(19)
    found = [trend(X[:count], X[:count] / 2 + random.standard_t(2, count)) for _ in range(2000)]
    assert sum(each.low > 0.5 for each in found) <= 20
    assert sum(each.high < 0.5 for each in found) <= 20
    assert sum(each.low > 0.5 or each.high < 0.5 for each in found) >= 4
