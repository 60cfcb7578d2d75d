"""The closed loop and its warm-up, on a clock that only inferences move."""

import gc
import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness.agent import timing
from harness.agent.timing import timed_loop, warm_up

MS = 1_000_000


class FakeModel:
    """Takes as long as its durations say, one after the other, then as long as the last."""

    def __init__(self, durations_ns: Sequence[int]) -> None:
        self.durations = list(durations_ns)
        self.now = 0
        self.seen: list[Any] = []

    def run(self, prepared: Any) -> None:
        """One inference."""
        self.now += self.durations[min(len(self.seen), len(self.durations) - 1)]
        self.seen.append(prepared)


Make = Callable[..., FakeModel]


def in_turn(*prepared: Any) -> Callable[[int], list[Any]]:
    """What renews a ring of these, as many as are wanted at once."""
    endless = itertools.cycle(prepared)
    return lambda wanted: list(itertools.islice(endless, min(wanted, len(prepared))))


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes a model whose inferences move the clock that the agent reads."""
    monkeypatch.setattr(gc, "collect", lambda: 0)  # of all that pytest holds: a quarter of a second each time

    def make(*durations_ns: int) -> FakeModel:
        fake = FakeModel(durations_ns)
        monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter_ns=lambda: fake.now))
        return fake

    return make


# The loop


def test_every_inference_is_timed(model: Make) -> None:
    durations = timed_loop(model(30, 10, 20).run, in_turn("x"), 3, budget_ns=1000)
    assert durations.dtype == np.int64
    assert durations.tolist() == [30, 10, 20]


def test_inputs_are_taken_in_turn(model: Make) -> None:
    fake = model(1)
    timed_loop(fake.run, in_turn("a", "b", "c"), 7, budget_ns=1000)
    assert "".join(fake.seen) == "abcabca"


@pytest.mark.parametrize(
    ("budget", "count"),
    [
        pytest.param(0, 1, id="none-still-takes-one"),
        pytest.param(1, 1, id="less-than-one"),
        pytest.param(25, 3, id="ends-with-the-one-that-crosses-it"),
        pytest.param(100, 10, id="enough"),
    ],
)
def test_the_loop_ends_when_its_budget_is_used_up(model: Make, budget: int, count: int) -> None:
    assert len(timed_loop(model(10).run, in_turn("x"), 10, budget)) == count


@pytest.mark.parametrize("budget", [pytest.param(0, id="truncated"), pytest.param(1000, id="whole")])
def test_no_garbage_is_collected_while_timing(model: Make, budget: int) -> None:
    fake = model(10)
    collecting: list[bool] = []

    def run(prepared: Any) -> None:
        collecting.append(gc.isenabled())
        fake.run(prepared)

    timed_loop(run, in_turn("x"), 2, budget)
    assert not any(collecting)
    assert gc.isenabled()


def test_garbage_is_collected_again_after_an_error(model: Make) -> None:
    model(1)

    def run(prepared: Any) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        timed_loop(run, in_turn("x"), 2, budget_ns=100)
    assert gc.isenabled()


# Warm-up


def test_a_steady_model_settles_after_three_blocks(model: Make) -> None:
    fake = model(MS)
    said = warm_up(fake.run, in_turn("x"), budget_ns=10_000 * MS)
    assert said == {"iterations": 61, "elapsed_ns": 61 * MS, "settled": True, "median_ns": MS}


def test_a_model_that_gets_faster_is_waited_for(model: Make) -> None:
    falling = [int(20 * MS * 0.9 ** (count / 3)) for count in range(60)]
    said = warm_up(model(*falling).run, in_turn("x"), budget_ns=10_000 * MS)
    assert (said["settled"], said["median_ns"]) == (True, falling[-1])


@pytest.mark.parametrize(
    ("duration", "size"),
    [
        pytest.param(1000 * MS, 3, id="slow"),
        pytest.param(2 * MS, 10, id="20-ms"),
        pytest.param(1, 1000, id="fast"),
        pytest.param(0, 1000, id="faster-than-the-clock"),
    ],
)
def test_a_block_has_a_number_of_inferences_that_suits_the_model(model: Make, duration: int, size: int) -> None:
    said = warm_up(model(duration).run, in_turn("x"), budget_ns=10**15)
    assert said["iterations"] == 1 + 3 * size


@pytest.mark.parametrize(
    ("budget", "iterations"),
    [
        pytest.param(0, 1, id="none"),
        pytest.param(50 * MS, 1, id="less-than-one"),
        pytest.param(250 * MS, 3, id="within-the-first-block"),
        pytest.param(450 * MS, 5, id="within-the-second-block"),
    ],
)
def test_the_budget_ends_the_warm_up(model: Make, budget: int, iterations: int) -> None:
    said = warm_up(model(100 * MS).run, in_turn("x"), budget)
    assert (said["settled"], said["iterations"]) == (False, iterations)
    assert said["elapsed_ns"] <= max(budget, 0) + 100 * MS


def test_the_first_inference_does_not_count_as_the_speed_to_reach(model: Make) -> None:
    said = warm_up(model(MS // 10, MS).run, in_turn("x"), budget_ns=10_000 * MS)
    assert (said["settled"], said["median_ns"]) == (True, MS)


# The process's age


def test_a_process_knows_how_long_ago_it_was_started() -> None:
    program = "import time, sys; time.sleep(0.3); from harness.agent.timing import since_process_start_ns as age; "
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program + "print(age())"], capture_output=True, text=True, check=True)
    outside_s = time.monotonic() - start
    tick_s = 0.02
    assert 0.3 - tick_s <= int(done.stdout) / 1e9 <= outside_s + tick_s


@pytest.mark.parametrize(
    ("durations", "count", "one"),
    [
        pytest.param([5.0, 5.0, 500.0], 3, 5.0, id="once-a-run-and-one-disturbed"),
        pytest.param([1.0, 9.0, 1.0, 9.0, 1.0, 900.0], 3, 10.0, id="twice-a-run-at-different-sizes"),
        pytest.param([1.0, 2.0, 3.0], 2, 3.0, id="runs-that-differ-have-only-a-mean"),
        pytest.param([], 3, 0.0, id="never"),
    ],
)
def test_what_a_step_takes_in_one_run(durations: list[float], count: int, one: float) -> None:
    assert timing.of_one(durations, count) == one
