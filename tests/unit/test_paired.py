"""The t interval of pairs: it holds as often as it says, decides when it may, and knows how many pairs it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from harness.checks.paired import CONFIDENCE, as_log_ratio, as_percent, paired_ratio, t_quantile

LIMIT = as_log_ratio(3.0)


@pytest.mark.parametrize(
    ("probability", "freedom", "published"),
    [  # NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2
        pytest.param(0.995, 1, 63.657, id="1"),
        pytest.param(0.995, 2, 9.925, id="2"),
        pytest.param(0.995, 3, 5.841, id="3"),
        pytest.param(0.995, 4, 4.604, id="4"),
        pytest.param(0.995, 7, 3.499, id="7"),
        pytest.param(0.995, 11, 3.106, id="11"),
        pytest.param(0.995, 19, 2.861, id="19"),
        pytest.param(0.995, 60, 2.660, id="60"),
        pytest.param(0.975, 4, 2.776, id="0.975"),
        pytest.param(0.95, 10, 1.812, id="0.95"),
        pytest.param(0.999, 100, 3.174, id="0.999"),
        pytest.param(0.995, 999, 2.581, id="nearly-normal"),
    ],
)
def test_quantiles_of_t_are_those_that_are_published(probability: float, freedom: int, published: float) -> None:
    assert t_quantile(probability, freedom) == pytest.approx(published, abs=0.0006)


@pytest.mark.parametrize(("probability", "freedom"), [(0.5, 4), (1.0, 4), (0.995, 0)])
def test_a_quantile_that_does_not_exist_is_refused(probability: float, freedom: int) -> None:
    with pytest.raises(ValueError, match="wanted"):
        t_quantile(probability, freedom)


@pytest.mark.parametrize("pairs", [0, 1])
def test_an_interval_takes_two_pairs(pairs: int) -> None:
    with pytest.raises(ValueError, match=f"found {pairs}"):
        paired_ratio([0.1] * pairs)


def test_an_interval_by_hand() -> None:
    found = paired_ratio([0.01, 0.02, 0.03, 0.04, 0.05], grain=0.001)
    half = 4.604 * math.sqrt(0.00025) / math.sqrt(5) + 0.001
    assert found.mean == pytest.approx(0.03)
    assert found.low == pytest.approx(0.03 - half, abs=1e-5)
    assert found.high == pytest.approx(0.03 + half, abs=1e-5)


def test_twice_as_long_and_half_as_long_are_equally_far_from_the_same() -> None:
    assert paired_ratio([math.log(2), math.log(0.5)]).mean == 0
    assert as_percent(math.log(2)) == pytest.approx(100)
    assert as_log_ratio(as_percent(0.0123)) == pytest.approx(0.0123)


@pytest.mark.parametrize(
    ("ratios", "grain", "decides"),
    [
        pytest.param([0.0] * 5, 0.0, "kept", id="the-same"),
        pytest.param([0.0] * 5, 0.05, "open", id="a-clock-too-coarse-to-tell"),
        pytest.param([0.1] * 5, 0.0, "broken", id="slower-each-time"),
        pytest.param([0.1] * 5, 0.08, "open", id="slower-by-the-clocks-grain"),
        pytest.param([0.001, -0.001, 0.002, -0.002, 0.0], 0.0, "kept", id="the-same-but-for-noise"),
        pytest.param([0.3, -0.3, 0.2, -0.2, 0.0], 0.0, "open", id="noise-that-hides-all"),
        pytest.param([0.05, 0.051, 0.049, 0.05, 0.3], 0.0, "open", id="slower-and-one-pair-disturbed"),
        pytest.param([-0.4] * 4 + [-0.5], 0.0, "kept", id="much-faster"),
    ],
)
def test_an_interval_decides_only_what_it_does_not_hold(ratios: Sequence[float], grain: float, decides: str) -> None:
    found = paired_ratio(ratios, grain)
    decided = "kept" if found.high <= LIMIT else "broken" if found.low > LIMIT else "open"
    assert decided == decides


@pytest.mark.parametrize("pairs", [5, 8, 12, 20])
@pytest.mark.parametrize("drift", [pytest.param(0.0, id="still"), pytest.param(0.05, id="drifting")])
def test_the_interval_holds_as_often_as_it_says(pairs: int, drift: float) -> None:
    """Effects of a process of 1.5 %, pairs in the order ABBA, beside a machine that gets slower by 5 %."""
    rng = np.random.Generator(np.random.Philox([19, pairs, int(drift * 100)]))
    runs = 1500
    slots = rng.normal(0, 0.015, (runs, pairs, 2)) + np.linspace(0, drift, 2 * pairs).reshape(pairs, 2)
    sides = slots[:, :, 1] - slots[:, :, 0]
    ratios = LIMIT + sides * np.where(np.arange(pairs) % 2, -1, 1)  # the true ratio is the limit itself
    found = [paired_ratio(one) for one in ratios.tolist()]
    failed = sum(one.low > LIMIT for one in found) / runs
    passed = sum(one.high <= LIMIT for one in found) / runs
    each = (1 - CONFIDENCE) / 2
    most = each + 4 * math.sqrt(each / runs)
    assert 0 < failed < most
    assert 0 < passed < most


@pytest.mark.parametrize("distance", [0.002, 0.005, 0.01, 0.03])
def test_so_many_pairs_as_it_would_take_would_decide_it(distance: float) -> None:
    found = paired_ratio([0.01, -0.01, 0.012, -0.012, 0.0])
    needed = found.pairs_needed(found.mean + distance)
    assert needed is not None
    assert needed >= 2

    def half(pairs: int) -> float:
        return t_quantile(0.995, pairs - 1) * found.spread / math.sqrt(pairs)

    assert half(needed) < distance
    assert needed == 2 or half(needed - 1) >= distance


@pytest.mark.parametrize(
    ("ratios", "grain"),
    [pytest.param([0.01, -0.01], 0.0, id="just-at-the-limit"), pytest.param([0.0, 0.0], 0.1, id="the-grain-remains")],
)
def test_what_no_number_of_pairs_would_decide_is_said_to_be_so(ratios: Sequence[float], grain: float) -> None:
    assert paired_ratio(ratios, grain).pairs_needed(0.0 if not grain else LIMIT) is None
