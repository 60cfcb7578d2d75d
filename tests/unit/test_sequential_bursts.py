"""What the sequential rule withstands: slow inferences in bursts, of models that are exactly at their limit."""

from __future__ import annotations

import numpy as np
import pytest

from harness.checks.blocks import FEWEST, Blocks
from harness.checks.quantiles import upper_rank
from harness.checks.sequential import is_broken, is_kept
from tests.support.bursts import Chain, blocks_by_count, blocks_by_the_clock, draw_chain, fails, passes

P99 = 0.01
TRIALS, FEWER_TRIALS = 2000, 200
# As many blocks as a chain is followed for, of ten bursts each where they come in bursts; twice what a clean run takes.
BLOCKS = 1000


def chains(mean_burst: int, size: int, trials: int) -> list[Chain]:
    """Chains exactly at the limit."""
    random = np.random.default_rng([19, mean_burst, size])
    count = BLOCKS * (size if mean_burst == 1 else max(10 * mean_burst, size))
    return [draw_chain(random, P99, mean_burst, count) for _ in range(trials)]


@pytest.mark.slow
@pytest.mark.parametrize("mean_burst", [1, 3, 10, 30])
@pytest.mark.parametrize(("longer", "at_most"), [pytest.param(1, 0.02, id="as-long"), pytest.param(3, 0.01, id="3x")])
def test_at_the_limit_bursts_pass_as_rarely_as_documented(mean_burst: int, longer: int, at_most: float) -> None:
    size = longer * mean_burst
    drawn = chains(mean_burst, size, TRIALS)
    passed = np.mean([passes(chain, P99, size) for chain in drawn])
    failed = np.mean([fails(chain, P99, size) for chain in drawn[:FEWER_TRIALS]])
    rank = upper_rank(1000, 1 - P99)
    assert rank is not None
    fixed = np.mean([chain.slow_before(np.array([1000]))[0] <= 1000 - rank for chain in drawn])
    print(
        f"bursts of {mean_burst}, blocks of {size}: PASS {passed:.2%}, FAIL {failed:.2%}; fixed 1000: PASS {fixed:.1%}"
    )
    assert passed <= at_most
    assert failed <= 0.02
    if mean_burst >= 3:
        assert fixed > 0.05  # what the rule is for


@pytest.mark.parametrize("mean_burst", [1, 3, 10])
def test_a_chain_has_the_share_and_the_bursts_that_it_was_drawn_with(mean_burst: int) -> None:
    random = np.random.default_rng(19)
    drawn = [draw_chain(random, 0.1, mean_burst, 20_000) for _ in range(50)]
    values = np.concatenate([chain.values() for chain in drawn])
    assert values.mean() == pytest.approx(0.1, rel=0.05)
    starts = np.count_nonzero(np.diff(values) == 1)
    assert values.sum() / starts == pytest.approx(mean_burst, rel=0.05)


@pytest.mark.parametrize(("mean_burst", "size"), [(1, 1), (1, 3), (2, 2), (3, 3), (5, 2), (10, 30)])
def test_the_quick_simulation_says_what_the_rule_says(mean_burst: int, size: int) -> None:
    random = np.random.default_rng([19, mean_burst])
    allowed = 0.3  # so that verdicts come soon
    seen = set()
    for share in (0.1, 0.15, 0.25, 0.4):
        for _ in range(4):
            chain = draw_chain(random, share, mean_burst, 60 * max(size, 2 * mean_burst))
            expected = [_looked_at(chain, at, allowed, size) for at in (*chain.starts, chain.count)]
            assert passes(chain, allowed, size) == any(kept for kept, _ in expected)
            assert fails(chain, allowed, size) <= any(
                _looked_at(chain, at, allowed, size)[1] for at in (*chain.ends, chain.count)
            )
            seen.add(passes(chain, allowed, size))
    assert seen == {True, False}


def _looked_at(chain: Chain, until: int, allowed: float, size: int) -> tuple[bool, bool]:
    """The rule itself, on the first inferences."""
    blocks = Blocks((chain.values()[:until],), (size,)).for_bursts(0.5)
    shares = blocks.shares_over(0.5)
    return is_kept(shares, allowed), is_broken(shares, allowed)


@pytest.mark.parametrize(
    ("size", "slow", "judged"),
    [
        pytest.param(1, [50], 1, id="one-inference-is-a-block"),
        pytest.param(2, [50], FEWEST, id="two"),
        pytest.param(3, [50, 70, 90], FEWEST, id="three"),
        pytest.param(7, [50, 70, 90], 7, id="seven"),
        pytest.param(2, [], 2, id="clean"),
    ],
)
def test_blocks_of_two_or_three_become_four_once_one_is_slow(size: int, slow: list[int], judged: int) -> None:
    values = np.zeros(1000)
    values[slow] = 1
    assert Blocks((values,), (size,)).for_bursts(0.5).sizes == (judged,)


def test_blocks_that_end_by_the_clock_fail_a_model_that_keeps_its_limit_and_blocks_by_count_do_not() -> None:
    random = np.random.default_rng(19)
    share, trials, count = 0.9 * P99, 300, 2000
    by_clock = [blocks_by_the_clock(random, share, count) for _ in range(trials)]
    by_count = [blocks_by_count(random, share, count) for _ in range(trials)]
    assert np.mean(by_count) == pytest.approx(share, rel=0.05)
    assert np.mean(by_clock) > 2 * P99
    assert np.mean([is_broken(shares, P99) for shares in by_clock]) > 0.99
    assert np.mean([is_broken(shares, P99) for shares in by_count]) <= 0.01
