"""The sequential rule: its risks, exactly; the counts that are documented; and bounds that agree with the verdicts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.agent.frames import Array
from harness.checks.blocks import Blocks
from harness.checks.sequential import BROKEN_BLOCKS, RISK, is_broken, is_kept, keeping_wealth, lower_rate, upper_rate
from tests.support.verdict_chances import TARGET, broken_until, chances, kept_from

INFINITE = math.inf
# Allowed shares, and up to how many blocks of one inference the risk is added up: as many as are quick.
CAPS = {0.5: 1000, 0.1: 3000, 0.01: 8000, 0.001: 16_000}
ALLOWED = [pytest.param(allowed, id=f"p{100 - allowed * 100:g}") for allowed in CAPS]


@pytest.fixture(scope="module", params=ALLOWED)
def risks(request: pytest.FixtureRequest) -> tuple[float, list[int], list[int]]:
    """The allowed share, and where its limit is kept and broken."""
    allowed: float = request.param
    return allowed, kept_from(allowed, CAPS[allowed]), broken_until(allowed, CAPS[allowed])


Risks = tuple[float, list[int], list[int]]


def test_at_the_limit_each_verdict_is_wrong_in_one_of_a_hundred_whenever_one_stops(risks: Risks) -> None:
    allowed, kept, broken = risks
    passed = chances(allowed, kept, [], CAPS[allowed]).kept.sum()
    failed = chances(allowed, [], broken, CAPS[allowed]).broken.sum()
    assert 0.001 < passed <= RISK  # and not because it never says anything
    assert 0.001 < failed <= RISK


def test_beyond_the_limit_wrong_verdicts_are_rarer_still(risks: Risks) -> None:
    allowed, kept, broken = risks
    cap = CAPS[allowed]
    at = chances(allowed, kept, broken, cap)
    above, below = chances(1.2 * allowed, kept, broken, cap), chances(0.8 * allowed, kept, broken, cap)
    assert above.kept.sum() < at.kept.sum() < below.kept.sum()
    assert below.broken.sum() < at.broken.sum() < above.broken.sum()


def test_a_verdict_comes_where_the_share_is_far_from_the_limit(risks: Risks) -> None:
    allowed, kept, broken = risks
    assert chances(0.1 * allowed, kept, broken, CAPS[allowed]).kept.sum() > 0.98
    assert chances(min(4 * allowed, 0.95), kept, broken, CAPS[allowed]).broken.sum() > 0.999


@pytest.mark.parametrize(
    ("allowed", "clean"),
    [
        pytest.param(0.5, 8, id="p50"),
        pytest.param(0.1, 49, id="p90"),
        pytest.param(0.05, 101, id="p95"),
        pytest.param(0.01, 515, id="p99"),
        pytest.param(0.001, 5167, id="p99.9"),
    ],
)
def test_as_many_blocks_as_documented(allowed: float, clean: int) -> None:
    assert not is_kept(np.zeros(clean - 1), allowed)
    assert is_kept(np.zeros(clean), allowed)
    assert not is_broken(np.ones(BROKEN_BLOCKS - 1), allowed)
    assert is_broken(np.ones(BROKEN_BLOCKS), allowed)
    assert not is_broken(np.zeros(clean), allowed)
    assert not is_kept(np.ones(10 * clean), allowed)


def test_slow_ones_of_a_p99_cost_as_many_blocks_as_documented() -> None:
    kept = kept_from(0.01, 1800)
    assert (kept[0], kept[1], kept[2], kept[5]) == (515, 992, 1172, 1706)


@pytest.mark.parametrize("slow", [0, 1, 2, 5])
def test_where_the_slow_ones_come_does_not_matter_at_the_end(slow: int) -> None:
    count = kept_from(0.01, 1800)[slow]
    for places in (range(slow), range(count - 2 * slow - 1, count - slow - 1), np.linspace(0, count - 2, slow)):
        shares = np.zeros(count)
        shares[np.asarray(places, dtype=int)] = 1
        assert keeping_wealth(shares, 0.01)[-2] < TARGET <= keeping_wealth(shares, 0.01)[-1]


def test_a_verdict_stays_once_it_has_been_reached() -> None:
    kept, broken = [np.zeros(515), np.ones(300)], [np.ones(10), np.zeros(20_000)]
    assert is_kept(np.concatenate(kept), 0.01)
    assert is_broken(np.concatenate(broken), 0.01)


@pytest.mark.parametrize("allowed", [0.01, 0.001])
def test_slow_ones_at_the_very_beginning_break_no_limit_that_is_kept_ever_after(allowed: float) -> None:
    shares = np.concatenate([np.ones(1 if allowed < 0.01 else 2), np.zeros(5000)])
    assert not is_broken(shares, allowed)


# Bounds and verdicts


def drawn(random: np.random.Generator) -> Blocks:
    """Durations of one to three processes: ties, zeros, infinities, all equal, one block, blocks of several."""
    size = int(random.choice([1, 2, 7]))
    most = int(random.choice([1, 12, 60, 600]))
    processes = tuple(_durations(random, most * size) for _ in range(random.integers(1, 4)))
    return Blocks(processes, (size,) * len(processes))


def _durations(random: np.random.Generator, count: int) -> Array:
    kinds = (
        random.lognormal(0, 1, count),
        random.integers(0, 4, count).astype(float),  # ties and zeros
        np.full(count, 3.0),
        np.where(random.random(count) < random.choice([0.001, 0.05, 0.6]), INFINITE, 1.0),
        np.full(count, INFINITE),
        np.where(random.random(count) < 0.5, 0.0, random.random(count)),
    )
    return kinds[random.integers(len(kinds))]


def limits_around(blocks: Blocks, random: np.random.Generator) -> list[float]:
    """Values themselves, just below and just above them, between them and beyond them."""
    values = np.unique(blocks.values)
    finite = values[np.isfinite(values)]
    some = random.choice(values, min(len(values), 12), replace=False)
    between = (finite[:-1] + finite[1:]) / 2
    beyond = [-1.0, float(finite[-1]) + 1 if len(finite) else 1.0, INFINITE]
    near = [*np.nextafter(some, -INFINITE), *np.nextafter(some, INFINITE)]
    return [float(each) for each in (*some, *near, *between[:5], *beyond)]


@pytest.mark.parametrize("allowed", ALLOWED)
def test_the_bounds_of_a_quantile_are_the_limits_at_which_the_verdict_changes(allowed: float) -> None:
    random = np.random.default_rng(19)
    seen = {"kept": 0, "broken": 0, "neither": 0}
    for _ in range(120):
        blocks = drawn(random)
        upper, lower = blocks.quantile_upper(allowed), blocks.quantile_lower(allowed)
        for limit in (*limits_around(blocks, random), *(each for each in (upper, lower) if each is not None)):
            shares = blocks.shares_over(limit)
            kept, broken = is_kept(shares, allowed), is_broken(shares, allowed)
            assert kept == (upper is not None and upper <= limit), (upper, limit)
            assert broken == (lower is not None and limit < lower), (lower, limit)
            seen["kept" if kept else "broken" if broken else "neither"] += 1
    assert seen["broken"]
    assert seen["neither"]
    assert bool(seen["kept"]) == (allowed > 0.001)  # 5167 blocks are more than there are


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([], (None, None), id="none"),
        pytest.param([7.0], (None, None), id="one"),
        pytest.param([7.0] * 7, (None, None), id="one-too-few"),
        pytest.param([7.0] * 8, (7.0, None), id="enough-to-keep"),
        pytest.param([7.0] * 10, (7.0, 7.0), id="all-equal"),
        pytest.param([0.0] * 10, (0.0, 0.0), id="zeros"),
        pytest.param([INFINITE] * 10, (INFINITE, INFINITE), id="all-dropped"),
        pytest.param([1.0] * 50 + [INFINITE], (1.0, 1.0), id="one-dropped-of-51"),
        pytest.param([INFINITE] * 50 + [1.0], (INFINITE, INFINITE), id="one-in-time-of-51"),
    ],
)
def test_the_bounds_of_a_median_of_ties(values: list[float], expected: tuple[float | None, float | None]) -> None:
    blocks = Blocks((np.array(values),), (1,))
    assert (blocks.quantile_upper(0.5), blocks.quantile_lower(0.5)) == expected


@pytest.mark.parametrize("kind", ["clean", "all", "rare", "half", "one", "parts"])
@pytest.mark.parametrize("count", [1, 2, 10, 100, 2000])
def test_the_bounds_of_a_rate_are_the_limits_at_which_the_verdict_changes(kind: str, count: int) -> None:
    random = np.random.default_rng([19, count])
    shares = {
        "clean": np.zeros(count),
        "all": np.ones(count),
        "rare": (random.random(count) < 0.01).astype(float),
        "half": (random.random(count) < 0.5).astype(float),
        "one": np.eye(1, count)[0],
        "parts": random.integers(0, 4, count) / 3,
    }[kind]
    upper, lower = upper_rate(shares), lower_rate(shares)
    assert 0 <= lower <= shares.mean() <= upper <= 1
    near = [each + apart for each in (upper, lower) for apart in (-1e-8, 1e-8)]  # bounds are good to 1e-9
    grid = [*np.geomspace(1e-5, 0.999, 60), *near]
    for limit in (float(each) for each in grid if 0 < each < 1):
        assert is_kept(shares, limit) == (upper <= limit), (upper, limit)
        assert is_broken(shares, limit) == (limit < lower), (lower, limit)


def test_bounds_close_in_on_the_share() -> None:
    shares = (np.random.default_rng(19).random(20_000) < 0.02).astype(float)
    upper, lower = upper_rate(shares), lower_rate(shares)
    assert 0.015 < lower < shares.mean() < upper < 0.03


@pytest.mark.parametrize(("allowed", "kept", "broken"), [(0.0, False, True), (1.0, True, False), (2.0, True, False)])
def test_a_share_of_nothing_and_of_everything(allowed: float, kept: bool, broken: bool) -> None:
    shares = np.array([0.0, 0.5, 1.0])
    assert (is_kept(shares, allowed), is_broken(shares, allowed)) == (kept, broken)
    assert not is_broken(np.zeros(3), allowed)
    assert not is_kept(np.empty(0), allowed)
    assert not is_broken(np.empty(0), allowed)
