"""The sensor's clock, on a clock that only inferences, waits and the making of inputs move."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from harness.agent.frames import Array
from harness.agent.pacing import Clock, Pace, paced_loop
from harness.deploy.paced_plausibility import behind_after
from tests.support.fake_sensor import FakeSensor

LONG = 10**15
D = "dropped"


@pytest.fixture(autouse=True)
def _no_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "collect", lambda: 0)  # of all that pytest holds: a quarter of a second each time


def responses(fates: Array) -> list[int | str]:
    """From release to end, or D."""
    return [D if end < 0 else int(end - due) for due, _, end in fates.tolist()]


@pytest.mark.parametrize(
    ("durations", "late", "wanted"),
    [
        pytest.param([4], "drop", [4, 4, 4, 4], id="in-time"),
        pytest.param([4], "queue", [4, 4, 4, 4], id="in-time-queue"),
        pytest.param([10], "drop", [10, 10, 10, 10], id="just-in-time"),
        pytest.param([10], "queue", [10, 10, 10, 10], id="just-in-time-queue"),
        pytest.param([11], "drop", [11, D, 11, D, 11], id="1-ns-late"),
        pytest.param([11], "queue", [11, 12, 13, 14], id="each-1-ns-later"),
        pytest.param([4, 25, 4], "drop", [4, 25, D, D, 4, 4, 25], id="a-slow-one"),
        pytest.param([4, 25, 4, 4, 4], "queue", [4, 25, 19, 13, 7, 4, 25], id="a-queue-that-empties"),
        pytest.param([20, 4], "drop", [20, D, 4, 20, D, 4], id="free-as-the-second-comes"),
        pytest.param([35], "drop", [35, D, D, D, 35, D, D, D], id="far-too-slow"),
        pytest.param([35], "queue", [35, 60, 85, 110], id="far-too-slow-queue"),
    ],
)
@pytest.mark.parametrize("ring", [1, 2, 3, 100])
def test_what_becomes_of_each_release(durations: list[int], late: str, wanted: list[int | str], ring: int) -> None:
    """Whatever the ring's size is, and however long making inputs takes: neither is any of the model's lateness."""
    sensor = FakeSensor(durations, ring=ring, making=777)
    fates = sensor.measure(Pace(10, late, -10), len(wanted), LONG)
    assert fates.dtype == np.int64
    assert fates[:, 0].tolist() == [10 * number for number in range(len(wanted))]
    assert responses(fates) == wanted
    ran = fates[fates[:, 2] >= 0]
    assert (ran[:, 2] - ran[:, 1]).tolist() == [durations[number % len(durations)] for number in range(len(ran))]


@pytest.mark.parametrize("late", ["drop", "queue"])
@pytest.mark.parametrize("calls", [[1] * 60, [7, 1, 30, 22], [2] * 30])
@pytest.mark.parametrize("seed", range(5))
def test_a_loop_that_is_cut_into_calls_is_the_same_as_a_whole_one(late: str, calls: list[int], seed: int) -> None:
    """What is still queued or running when a call ends is not forgiven."""
    durations = np.random.default_rng(seed).integers(1, 30, 41).tolist()
    whole = FakeSensor(durations, ring=100).measure(Pace(10, late, -10), 60, LONG)
    sensor, behind = FakeSensor(durations, ring=4, making=1234), -10
    parts: list[int | str] = []
    for count in calls:
        pace = Pace(10, late, behind)
        part = sensor.measure(pace, count, LONG)
        behind = behind_after(part, pace)
        parts += responses(part)
    assert parts == responses(whole)


def test_a_late_wake_up_is_the_models_lateness() -> None:
    """A process that slept through its releases (SIGSTOP) has one that came late, and missed the others."""
    sensor = FakeSensor([4], lateness={2: 33})
    assert responses(sensor.measure(Pace(10, "drop", -10), 8, LONG)) == [4, 4, 37, D, D, D, 4, 4]
    sensor = FakeSensor([4], lateness={2: 33})
    assert responses(sensor.measure(Pace(10, "queue", -10), 8, LONG)) == [4, 4, 37, 31, 25, 19, 13, 7]


@pytest.mark.parametrize(
    ("budget", "late", "wanted"),
    [
        pytest.param(0, "drop", [25, D, D], id="none-still-takes-one"),
        pytest.param(0, "queue", [25], id="none-still-takes-one-queue"),
        pytest.param(39, "drop", [25, D, D], id="the-next-would-come-too-late"),
        pytest.param(99, "drop", [25, D, D, 25, D, D, 25, D, D], id="no-drop-is-forgotten-at-the-end"),
        pytest.param(100, "queue", [25, 40, 55, 70], id="ends-with-the-one-that-crosses-it"),
    ],
)
def test_the_loop_ends_when_its_budget_is_used_up(budget: int, late: str, wanted: list[int | str]) -> None:
    assert responses(FakeSensor([25]).measure(Pace(10, late, -10), 50, budget)) == wanted


def test_it_begins_when_the_first_release_is_due() -> None:
    sensor = FakeSensor([4], making=50)
    began = sensor.clock.time
    sensor.measure(Pace(10, "drop", -7), 1, LONG)
    assert sensor.clock.time == began + 50 + 7 + 4


def test_releases_that_the_call_before_was_busy_for_are_dropped_at_once() -> None:
    sensor = FakeSensor([4])
    assert responses(sensor.measure(Pace(10, "drop", 31), 3, 0)) == [D, D, D]
    assert sensor.runs == 0
    assert responses(sensor.measure(Pace(10, "drop", 31), 5, LONG)) == [D, D, D, D, 4]
    assert responses(sensor.measure(Pace(10, "queue", 31), 5, LONG)) == [35, 29, 23, 17, 11]


def test_no_input_is_run_twice_or_out_of_turn() -> None:
    sensor = FakeSensor([4, 25, 4], ring=3)
    sensor.measure(Pace(10, "drop", -10), 40, LONG)
    assert sensor.seen == list(range(sensor.runs))


def test_no_garbage_is_collected_meanwhile_and_again_after_an_error() -> None:
    collecting: list[bool] = []

    def run(item: Any) -> None:
        collecting.append(gc.isenabled())
        raise RuntimeError

    with pytest.raises(RuntimeError):
        paced_loop(run, lambda wanted: [0], Pace(10, "drop", 0), 1, 0)
    assert (collecting, gc.isenabled()) == ([False], True)


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param((0, "drop", 0), id="no-period"),
        pytest.param((1.5, "drop", 0), id="half-a-nanosecond"),
        pytest.param((True, "drop", 0), id="true"),
        pytest.param((10, "skip", 0), id="unknown"),
        pytest.param((10, "drop", None), id="behind-nothing"),
    ],
)
def test_what_is_no_pace_is_refused(arguments: Sequence[Any]) -> None:
    with pytest.raises(ValueError, match="wanted"):
        Pace(*arguments)


def test_the_monotonic_clock_waits_until_then_and_no_shorter() -> None:
    clock = Clock()
    for wait in (-1000, 0, 50_000, 1_000_000):
        due = clock.now() + wait
        clock.wait_until(due)
        assert clock.now() >= due
