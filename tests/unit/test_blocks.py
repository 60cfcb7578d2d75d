"""Durations cut into blocks: shares, bursts, processes and bounds."""

from __future__ import annotations

import numpy as np
import pytest

from harness.agent.frames import Array
from harness.checks.blocks import Blocks, block_size

P99 = 0.01


def one(values: Array, size: int = 1) -> Blocks:
    return Blocks((values,), (size,))


@pytest.mark.parametrize(
    ("block_ms", "inference_ms", "size"),
    [(20, 1, 20), (20, 3, 7), (20, 19.9, 2), (20, 20, 1), (20, 500, 1), (100, 0.001, 100_000)],
)
def test_a_block_lasts_as_long_as_asked_and_has_an_inference(block_ms: float, inference_ms: float, size: int) -> None:
    assert block_size(block_ms, inference_ms) == size


def test_shares_are_those_of_whole_blocks_and_no_block_spans_two_processes() -> None:
    blocks = Blocks((np.array([1.0, 9, 1, 1, 9]), np.array([9.0, 9, 9, 1])), (2, 3))
    assert blocks.counts == (2, 1)
    assert blocks.shares_over(5).tolist() == [0.5, 0.0, 1.0]
    assert blocks.process(1).shares_over(5).tolist() == [1.0]
    assert blocks.values.tolist() == [1, 9, 1, 1, 9, 9, 9]


def test_without_a_whole_block_there_is_no_share_and_no_bound() -> None:
    blocks = Blocks((np.array([1.0]), np.empty(0)), (2, 2))
    assert (blocks.count, blocks.shares_over(0).tolist(), blocks.quantile_upper(P99)) == (0, [], None)


@pytest.mark.parametrize(
    ("over", "run"), [("", 0), ("0000", 0), ("1111", 4), ("0101", 1), ("0110", 2), ("11010", 1.5), ("10011", 1.5)]
)
def test_the_mean_run_of_slow_ones(over: str, run: float) -> None:
    assert one(np.array([float(each) for each in over])).mean_run(0.5) == run


def test_runs_do_not_span_processes() -> None:
    assert Blocks((np.array([0.0, 1]), np.array([1.0, 0])), (1, 1)).mean_run(0.5) == 1


def test_slow_ones_one_by_one_are_judged_on_the_blocks_as_they_are() -> None:
    values = np.zeros(1000)
    values[::100] = 1
    assert one(values, 5).for_bursts(0.5).sizes == (5,)


def test_bursts_are_judged_on_blocks_ten_times_as_long_and_longer_blocks_stay() -> None:
    values = np.zeros(1000)
    values[100:104] = values[500:504] = 1
    assert one(values, 5).for_bursts(0.5).sizes == (40,)
    assert one(values, 50).for_bursts(0.5).sizes == (50,)


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_many_independent_slow_ones_are_no_bursts(share: float) -> None:
    values = (np.random.default_rng(1).random(4000) < share).astype(float)
    assert one(values).for_bursts(0.5).sizes == (1,)


@pytest.mark.parametrize(
    ("counts", "enough"),
    [
        ((10, 10, 10), True),
        ((10, 10), False),
        ((20, 10, 10), True),
        ((21, 10, 9), False),  # a quarter of 40 is 10
        ((10, 10, 0), False),
        ((10, 10, 10, 20, 20, 20), True),
        ((10, 10, 10, 20, 20), False),
    ],
)
def test_a_limit_is_kept_by_three_processes_each_of_weight(counts: tuple[int, ...], *, enough: bool) -> None:
    blocks = Blocks(tuple(np.zeros(count * 2) for count in counts), (2,) * len(counts))
    assert blocks.has_processes is enough


def test_clean_blocks_bound_the_quantile_by_the_slowest_and_too_few_do_not() -> None:
    values = np.arange(515.0)
    assert one(values).quantile_upper(P99) == 514
    assert one(values[:514]).quantile_upper(P99) is None


def test_slow_blocks_bound_the_quantile_from_below() -> None:
    values = np.array([5.0, 6, 7, 8] * 5)
    assert one(values).quantile_upper(P99) is None
    assert one(values).quantile_lower(P99) == 8.0  # a quarter of them is 8: each limit below is broken


def test_dropped_ones_are_infinitely_late() -> None:
    values = np.full(20, np.inf)
    assert one(values).quantile_upper(P99) is None
    assert one(values).quantile_lower(P99) == np.inf
    assert one(values).shares_over(1e9).tolist() == [1.0] * 20
