"""How long sampling goes on, over which processes, and what it comes to: on a device whose durations are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.checks.check import Check, Verdict, judge
from harness.checks.limits import Limit
from harness.deploy.content import UNIFORM, Timed
from harness.measure import measurement, schedule
from harness.measure.latency import DEADLINE_MISS_RATE, P99, P999, deadline_miss_rate, latency
from harness.measure.measurement import Measurement
from harness.measure.memory_series import MemorySeries
from harness.measure.schedule import Progress, Schedule
from harness.measure.tails import Tail
from harness.model.model import Array

QUICK_MS, LIMIT_MS, SLOW_MS = 10.0, 20.0, 30.0
START_S, WARM_UP_S, CALL_S = 2.0, 0.5, 2.0
Shape = Callable[[np.random.Generator, int, int], Array]


def slow(share: float, process: int | None = None) -> Shape:
    """Durations of which a share is slow, independently; of one process only, if it is given."""

    def durations(random: np.random.Generator, number: int, count: int) -> Array:
        is_slow = (random.random(count) < share) & (process is None or number == process)
        return np.where(is_slow, SLOW_MS, QUICK_MS)

    return durations


def in_bursts(share: float, length: int) -> Shape:
    """Durations of which a share is slow, in bursts of a length."""

    def durations(random: np.random.Generator, number: int, count: int) -> Array:
        made = np.full(count, QUICK_MS)
        starts = np.flatnonzero(random.random(count) < share / length)
        for start in starts:
            made[start : start + length] = SLOW_MS
        return made

    return durations


class Simulated:
    """A device whose time passes by what it was made to take; it is clock, source, deployment and loop in one."""

    written = ()
    first_ns = int(QUICK_MS * 1e6)

    def __init__(self, shape: Shape) -> None:
        self.now, self.processes, self.shape = 0.0, 0, shape
        self.random = np.random.default_rng(7)
        self.states: list[Any] = []
        self.calls: list[Any] = []
        self.series = MemorySeries()
        self.last_call = self
        self.host_s = 0.001
        self.memory_kib: Any = lambda: {"peak": 1}

    def monotonic(self) -> float:
        return self.now

    def fresh(self) -> tuple[Any, Any]:
        self.now += START_S
        return self, self

    def __enter__(self) -> Simulated:
        return self

    def __exit__(self, *_: object) -> None:
        self.processes += 1

    def loop(self, *, report: Callable[[], None], **_: object) -> Simulated:
        self.report = report
        return self

    def begin(self, contents: list[Timed]) -> None:
        for timed in contents:
            timed.processes.append(np.empty(0, np.int64))
            timed.numbers.append(np.empty(0, np.int64))
            timed.block_sizes.append(1)

    def warm_up(self, timed: Timed, budget_s: float) -> dict[str, Any]:
        self.now += WARM_UP_S
        timed.pace_s = QUICK_MS / 1e3
        return {"median_ns": int(QUICK_MS * 1e6), "making_ns": 0, "elapsed_ns": 1, "settled": True}

    def take(self, timed: Timed, quota: int, budget_s: float, is_enough: Callable[[], bool]) -> None:
        end, taken = self.now + budget_s, 0
        while taken < quota and (not taken or (self.now < end and not is_enough())):
            count = min(int(CALL_S * 1e3 / QUICK_MS), quota - taken)
            durations_ms = self.shape(self.random, self.processes, count)
            numbers = np.arange(timed.count, timed.count + count)
            timed.processes[-1] = np.concatenate([timed.processes[-1], (durations_ms * 1e6).astype(np.int64)])
            timed.numbers[-1] = np.concatenate([timed.numbers[-1], numbers])
            self.now += durations_ms.sum() / 1e3
            taken += count
            self.report()


def sampled(
    monkeypatch: pytest.MonkeyPatch, shape: Shape, tail: Tail, limit_s: float = 300.0
) -> tuple[Measurement, list[Progress]]:
    device, told = Simulated(shape), list[Progress]()
    for module in (schedule, measurement):
        monkeypatch.setattr(module, "time", device)
    monkeypatch.setattr(schedule, "ClosedLoop", device.loop)
    measured = Measurement(uniform=Timed(name=UNIFORM), block_ms=100.0, tails=(tail,), is_over=False, began=0.0)
    source: Any = device
    content: Any = None
    Schedule(measured=measured, source=source, content=content, report=told.append, end=limit_s, at_least=1).run()
    measured.is_over, measured.took_s = True, device.now
    return measured, told


def judged(measured: Measurement, tail: Tail) -> Check:
    if tail.is_rate:
        metric, finding = DEADLINE_MISS_RATE, deadline_miss_rate(measured, LIMIT_MS, tail.allowed, "")
    else:
        metric = P999 if tail.allowed == 0.001 else P99
        finding = latency(measured, metric, "", tail.threshold_ms)
    assert tail.limit is not None
    return judge(finding, [Limit(metric.limit_key, tail.limit, "here")])


TAIL = Tail.of_quantile(0.99, LIMIT_MS)


@pytest.mark.parametrize(
    ("shape", "tail", "verdict", "blocks"),
    [
        pytest.param(slow(0), TAIL, Verdict.PASS, (515, 540), id="clean"),
        pytest.param(
            slow(0), Tail.of_quantile(0.999, LIMIT_MS), Verdict.INCONCLUSIVE, (2600, 3000), id="p999-in-300-s"
        ),
        pytest.param(slow(0.001), TAIL, Verdict.PASS, (515, 700), id="one-in-a-thousand"),
        pytest.param(slow(0.01), TAIL, Verdict.INCONCLUSIVE, (2500, 3000), id="at-the-limit"),
        pytest.param(slow(0.03), TAIL, Verdict.FAIL, (10, 600), id="3-percent"),
        pytest.param(slow(1.0), TAIL, Verdict.FAIL, (10, 110), id="all"),
        pytest.param(slow(0.2, process=1), TAIL, Verdict.FAIL, (10, 300), id="the-second-process"),
        pytest.param(in_bursts(0.01, 10), TAIL, Verdict.INCONCLUSIVE, (200, 400), id="bursts-of-a-block-at-the-limit"),
        pytest.param(slow(0), Tail.of_misses(LIMIT_MS, 0.01), Verdict.PASS, (515, 540), id="no-miss"),
        pytest.param(slow(0.05), Tail.of_misses(LIMIT_MS, 0.01), Verdict.FAIL, (10, 300), id="misses"),
        pytest.param(slow(0), Tail.of_misses(LIMIT_MS, 0.0), Verdict.INCONCLUSIVE, (2500, 3000), id="a-rate-of-0"),
        pytest.param(slow(0.5), Tail.of_misses(LIMIT_MS, 0.0), Verdict.FAIL, (10, 110), id="a-rate-of-0-broken"),
        pytest.param(slow(0.5), Tail.of_misses(LIMIT_MS, 1.0), Verdict.PASS, (10, 110), id="a-rate-of-1"),
    ],
)
def test_sampling_goes_on_until_the_limit_is_decided(
    monkeypatch: pytest.MonkeyPatch, shape: Shape, tail: Tail, verdict: Verdict, blocks: tuple[int, int]
) -> None:
    measured, _ = sampled(monkeypatch, shape, tail)
    check = judged(measured, tail)
    assert check.verdict is verdict, check.reason
    assert blocks[0] <= check.finding.details["blocks"] <= blocks[1]
    assert len(measured.processes) >= 3
    assert measured.took_s <= 300 + START_S + WARM_UP_S + 1.5 * CALL_S


def test_a_pass_rests_on_three_processes_each_with_a_quarter_of_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    measured, _ = sampled(monkeypatch, slow(0), TAIL)
    counts = judged(measured, TAIL).finding.details["blocks_by_process"]
    assert len(counts) == 3
    assert min(counts) >= sum(counts) / 4


def test_a_process_that_breaks_the_limit_by_itself_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    check = judged(sampled(monkeypatch, slow(0.03, process=1), TAIL)[0], TAIL)
    assert check.verdict is Verdict.FAIL
    assert "process 2 of 3 breaks it alone, and the verdict is about the processes that ran" in check.reason


def test_too_little_time_is_undecided_and_says_what_it_would_take(monkeypatch: pytest.MonkeyPatch) -> None:
    measured, _ = sampled(monkeypatch, slow(0), TAIL, limit_s=30.0)
    check = judged(measured, TAIL)
    assert check.verdict is Verdict.INCONCLUSIVE
    assert "p99 takes about 515 like these. That would take about 59 s: --time-limit" in check.reason


def test_what_is_open_is_told_with_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    told = sampled(monkeypatch, slow(0), TAIL)[1]
    assert [progress.done for progress in told[:2]] == [0, 0]
    assert told[1].left_s == pytest.approx(3 * (START_S + WARM_UP_S) + 51.5, abs=0.1)
    assert told[2].still_open == "p99: 20 of about 515 blocks"
    assert told[-1].still_open == ""
