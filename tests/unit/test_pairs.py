"""The taking of pairs: their order, their inputs, how many, and what is done where one does not come about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from harness.agent.frames import Frame
from harness.deploy.call import Call
from harness.deploy.content import Timed, content_of
from harness.deploy.deployment import Deployment, LoadReport
from harness.errors import AgentDied, LinkLost
from harness.measure.measurement import Measurement
from harness.measure.pairs import (
    FEWEST,
    LOST_ALLOWED,
    MOST,
    PLANNED_SHARE,
    TIMED_LEAST,
    TIMED_MOST,
    Pairs,
    Plan,
    make_plan,
    take_pairs,
)
from harness.model.model import Input, Model

MS = 1_000_000
CONTENT = content_of(Model(build=lambda: cast(Any, None), inputs=[Input("x", shape=(4,), min_value=0, max_value=1)]))
STATE: dict[str, Any] = {
    "boot": "1",
    "governor": [],
    "throttled_bits": None,
    "throttle_events": 0,
    "swapped_pages": 0,
    "swapped_kib": 0,
}

Step = Callable[[int], None]


@dataclass
class Bench:
    """A device with two builds, on which time is what the durations say. Keeps what was asked of it."""

    started: list[str] = field(default_factory=list)
    alive: list[str] = field(default_factory=list)
    asked: list[tuple[str, Any, int]] = field(default_factory=list)

    def start(self, name: str) -> None:
        assert not self.alive, "two processes at a time"
        self.started.append(name)
        self.alive.append(name)


@dataclass
class Build:
    """A build whose inferences take a time of its own; a step is called with the number of each of its processes."""

    bench: Bench
    name: str
    duration_ns: int = MS
    step: Step = lambda number: None
    broken: Step = lambda number: None
    processes: int = 0
    failed: int = 0

    def fresh(self) -> tuple[Deployment, LoadReport]:
        self.close()
        self.bench.start(self.name)
        self.processes += 1
        self.step(self.processes)
        load = LoadReport(
            load_ns=MS, memory_kib=dict.fromkeys(("first",), 1), outputs=(), runtime={}, settings={}, first=()
        )
        return cast(Deployment, Process(self)), load

    def close(self) -> None:
        self.bench.alive = [name for name in self.bench.alive if name != self.name]

    @contextmanager
    def failures_kept(self, *, at_measured_sizes: bool = False) -> Iterator[None]:
        try:
            yield
        except Exception:
            self.failed += 1
            raise

    def result_name(self) -> str:
        return "kept"

    def collect(self, name: str) -> Frame | None:
        return None


class Process:
    """One process of a build."""

    where = "here"

    def __init__(self, build: Build) -> None:
        self.build = build
        self.last_call = Call(0.0, 0)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.build.close()

    def warm_up(self, feed: Any, budget_s: float) -> dict[str, Any]:
        taken = 40 * self.build.duration_ns
        self.last_call = Call(taken / 1e9, taken)
        return {
            "elapsed_ns": taken,
            "iterations": 40,
            "settled": True,
            "median_ns": self.build.duration_ns,
            "making_ns": 0,
        }

    def measure(self, feed: Any, samples: int, budget_s: float, keep: str) -> tuple[Any, dict[str, Any]]:
        self.build.broken(self.build.processes)
        self.build.bench.asked.append((self.build.name, feed.header["first"], samples))
        durations = self.build.duration_ns + np.arange(samples, dtype=np.int64) % 7
        if self.build.duration_ns < 0:
            durations = durations - 100
        total = int(abs(durations).sum())
        self.last_call = Call(total / 1e9, total)
        return durations, {
            "loop_ns": total,
            "making_ns": 0,
            "untimed_ns": 0,
            "untimed": 0,
            "inferences": [],
            "anonymous_kib": [],
            "elapsed_ns": total,
            "before": STATE,
            "after": STATE,
        }

    def memory_kib(self) -> dict[str, int]:
        return {"peak": 10_000}


def taken(other: Build, build: Build, limit_s: float = 300.0) -> Pairs:
    return take_pairs(other, build, CONTENT, limit_s, lambda done, plan: None)


def builds(**more: Any) -> tuple[Bench, Build, Build]:
    bench = Bench()
    return bench, Build(bench, "old"), Build(bench, "new", **more)


def raising(error: Exception, *numbers: int) -> Step:
    """Fails in the processes of these numbers."""

    def step(number: int) -> None:
        if number in numbers:
            raise error

    return step


def test_pairs_come_in_the_order_abba_after_one_process_of_each_that_does_not_count() -> None:
    bench, old, new = builds()
    pairs = taken(old, new)
    assert pairs.plan is not None
    assert (pairs.plan.pairs, len(pairs.done), pairs.open, pairs.lost) == (MOST, MOST, "", [])
    assert bench.started == ["old", "new", *["old", "new", "new", "old"] * (MOST // 2)]
    assert not bench.alive


@pytest.mark.parametrize("slower", [pytest.param(MS, id="alike"), pytest.param(40 * MS, id="forty-times-slower")])
def test_both_processes_of_a_pair_have_the_same_inputs_and_other_pairs_have_others(slower: int) -> None:
    bench, old, new = builds(duration_ns=slower)
    pairs = taken(old, new)
    assert pairs.plan is not None
    calls = {name: [each[1:] for each in bench.asked if each[0] == name] for name in ("old", "new")}
    assert calls["old"] == calls["new"]
    counted = calls["old"][1:]  # the first is the one that does not count
    assert len({first for first, _ in counted}) == len(counted) == MOST
    assert {count for _, count in counted} == {pairs.plan.inferences}
    blocks = CONTENT.blocks_of(pairs.plan.inferences)
    firsts = [first for first, _ in counted]
    assert all(after - before >= blocks for before, after in pairwise(firsts))


@pytest.mark.parametrize("where", ["step", "broken"])
@pytest.mark.parametrize("side", ["old", "new"])
def test_a_pair_whose_connection_drops_is_taken_again(where: str, side: str) -> None:
    bench = Bench()
    lost = raising(LinkLost("the connection dropped"), 1, 4)  # in the first that does not count, and in a pair
    both = {name: Build(bench, name) for name in ("old", "new")}
    setattr(both[side], where, lost)
    pairs = taken(both["old"], both["new"])
    assert (len(pairs.done), pairs.open, len(pairs.lost)) == (MOST, "", 2)
    assert all(one.count == pairs.done[0][0].count for pair in pairs.done for one in pair)


def test_a_connection_that_drops_again_and_again_leaves_it_open() -> None:
    _, old, new = builds(broken=raising(LinkLost("the connection dropped"), *range(3, 99)))
    pairs = taken(old, new)
    assert "3 pairs were dropped, the last because the connection dropped" in pairs.open
    assert len(pairs.lost) == LOST_ALLOWED + 1


def test_another_build_that_dies_says_nothing_of_this_one() -> None:
    bench = Bench()
    died = raising(AgentDied("the agent died", found="…\nkilled by SIGSEGV"), 3)
    old = Build(bench, "old", broken=died)
    pairs = taken(old, Build(bench, "new"))
    assert pairs.open == "the other build cannot be run: the agent died; killed by SIGSEGV"
    assert not bench.alive


def test_this_build_that_dies_is_an_error_of_the_cell() -> None:
    bench, old, new = builds(broken=raising(AgentDied("the agent died"), 3))
    with pytest.raises(AgentDied):
        taken(old, new)
    assert (new.failed, old.failed, bench.alive) == (1, 0, [])


@pytest.mark.parametrize("side", [0, 1])
def test_a_report_that_is_impossible_is_no_failure_of_a_build(side: int) -> None:
    bench = Bench()
    both = [Build(bench, name) for name in ("old", "new")]

    def lie(number: int) -> None:
        both[side].duration_ns = -MS if number > 3 else MS

    both[side].broken = lie
    pairs = taken(both[0], both[1])
    assert "durations above 0 ns" in pairs.impossible
    assert [build.failed for build in both] == [0, 0]


def trial(pace_s: float) -> Measurement:
    return Measurement(uniform=Timed(name="uniform", pace_s=pace_s))


@pytest.mark.parametrize(
    ("paces", "spent_s", "left_s", "pairs", "inferences"),
    [
        pytest.param((1e-4, 1e-4), 1.0, 300, MOST, TIMED_MOST, id="fast"),
        pytest.param((0.01, 0.01), 2.0, 300, MOST, 50, id="half-a-second-each"),
        pytest.param((0.01, 0.05), 2.0, 300, MOST, 10, id="by-the-slower"),
        pytest.param((0.01, 0.01), 8.0, 100, 6, 50, id="as-many-as-there-is-time-for"),
        pytest.param((0.01, 0.01), 8.0, 72, FEWEST, 31, id="fewer-inferences-for-five-pairs"),
        pytest.param((1.0, 1.0), 2.0, 300, 15, TIMED_LEAST, id="slow"),
        pytest.param((1.0, 1.0), 8.0, 100, 0, TIMED_LEAST, id="too-slow"),
        pytest.param((0.01, 0.01), 30.0, 100, 0, TIMED_LEAST, id="too-slow-to-start"),
        pytest.param((0.01, 0.01), 1.0, -5, 0, TIMED_LEAST, id="the-time-was-up-before"),
    ],
)
def test_what_is_done_is_fixed_by_the_time(
    paces: tuple[float, float], spent_s: float, left_s: float, pairs: int, inferences: int
) -> None:
    trials = [trial(pace) for pace in paces]
    plan = make_plan(trials, spent_s=spent_s, left_s=left_s, limit_s=left_s + spent_s)
    assert (plan.pairs, plan.inferences) == (pairs, inferences)
    if pairs:
        assert plan.expected_s <= left_s
    else:  # the time that it says would do
        enough_s = plan.expected_s
        assert make_plan(trials, spent_s=spent_s, left_s=enough_s - spent_s, limit_s=enough_s).pairs >= FEWEST


def test_where_five_pairs_are_too_many_it_is_said_what_they_take() -> None:
    _, old, new = builds(duration_ns=10_000 * MS)
    pairs = taken(old, new, limit_s=20.0)
    assert pairs.plan == Plan(
        pairs=0, inferences=TIMED_LEAST, step=1, expected_s=pairs.plan.expected_s if pairs.plan else 0
    )
    assert "the time does not do for 5 pairs" in pairs.open
    assert "--time-limit 52" in pairs.open  # 5 × 5 × 10 s, and the room that is left beside it


def test_where_the_first_starts_leave_little_time_it_is_fixed_by_the_second_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench, old, new = builds(duration_ns=100 * MS)
    now = [0.0]

    def start(number: int) -> None:
        now[0] += 10.0 if number == 1 else 0.5  # as from a card

    old.duration_ns, old.step, new.step = 100 * MS, start, start
    monkeypatch.setattr("harness.measure.pairs.time", SimpleNamespace(monotonic=lambda: now[0]))
    pairs = taken(old, new, limit_s=60.0)
    assert pairs.plan is not None
    assert pairs.plan.pairs == len(pairs.done) == int(PLANNED_SHARE * 39 / 2)
    assert bench.started[:5] == ["old", "new", "old", "new", "old"]
    assert make_plan([trial(0.1)] * 2, spent_s=20.0, left_s=40.0, limit_s=60.0).pairs == 0  # by the first ones
