"""How long growth's own processes go on, and what they come to: on a device whose memory and time are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.checks.check import Verdict, judge
from harness.checks.limits import Limit
from harness.deploy.content import UNIFORM, Timed
from harness.errors import LinkLost
from harness.measure import growth_process
from harness.measure.growth import MEMORY_GROWTH, memory_growth
from harness.measure.growth_process import GrowthProcesses
from harness.measure.measurement import Measurement
from harness.measure.memory_series import MemorySeries
from harness.model.model import Array

PACE_S, CALL = 0.01, 200
LIMIT = 100.0
# The memory in KiB of a process, by its number and after so many inferences.
Memory = Callable[[int, Array], Array]


def leaks(kib_per_1000: float, process: int | None = None) -> Memory:
    """One that keeps so much, or of which one process does."""
    return lambda number, done: kib_per_1000 / 1000 * done * (process in (None, number))


def once(at: int) -> Memory:
    """One that keeps 2 MiB once."""
    return lambda number, done: 2048.0 * (done > at)


class Simulated:
    """A device whose time passes by what it was made to take; it is clock, source, deployment, content and loop."""

    written = ()

    def __init__(self, memory: Memory, lost: int = 0) -> None:
        self.now, self.processes, self.memory, self.lost = 0.0, 0, memory, lost
        self.series = MemorySeries()

    def monotonic(self) -> float:
        return self.now

    def fresh(self) -> tuple[Any, Any]:
        self.now += 2.0
        return self, self

    def __enter__(self) -> Simulated:
        return self

    def __exit__(self, *_: object) -> None:
        self.processes += 1

    def spread_timed(self) -> Timed:
        return Timed(name=UNIFORM)

    def loop(self, *, report: Callable[[], None], is_timed: bool, **_: object) -> Simulated:
        assert not is_timed
        self.report, self.series = report, MemorySeries()
        return self

    def begin(self, contents: list[Timed]) -> None:
        for timed in contents:
            timed.processes.append(np.empty(0, np.int64))

    def warm_up(self, timed: Timed, budget_s: float) -> None:
        self.now += 0.5
        timed.pace_s = PACE_S

    def take(self, timed: Timed, quota: int, budget_s: float) -> None:
        end, taken = self.now + budget_s, 0
        while taken < quota and (not taken or self.now < end):
            if self.lost and timed.count > 1000:
                self.lost -= 1
                raise LinkLost("the connection dropped")
            count = min(CALL, quota - taken)
            after = np.array([count // 2, count])
            kib = 50_000 + self.memory(self.processes, self.series.count + after)
            calm = {"swapped_kib": 0}
            reply = {"inferences": after.tolist(), "anonymous_kib": kib.astype(int).tolist(), "untimed": 0}
            self.series.add({**reply, "before": calm, "after": calm}, count, are_new=True)
            timed.processes[-1] = np.concatenate([timed.processes[-1], np.ones(count, np.int64)])
            self.now += count * PACE_S
            taken += count
            self.report()


@pytest.mark.parametrize(
    ("memory", "time_limit_s", "lost", "verdict", "counts"),
    [
        pytest.param(leaks(0), 300, 0, Verdict.PASS, [5000], id="nothing"),
        pytest.param(leaks(50), 300, 0, Verdict.PASS, [5000], id="less"),
        pytest.param(leaks(200), 300, 0, Verdict.FAIL, [5000, 5000], id="leaks-and-is-confirmed"),
        pytest.param(leaks(200, 0), 300, 0, Verdict.INCONCLUSIVE, [5000, 5000], id="only-the-first"),
        pytest.param(leaks(200), 100, 0, Verdict.INCONCLUSIVE, [5000, 0], id="no-time-for-a-second"),
        pytest.param(leaks(0), 51, 0, Verdict.INCONCLUSIVE, [0], id="no-time-at-all"),
        pytest.param(once(2500), 300, 0, Verdict.PASS, [17_300], id="once-and-goes-on-until-it-is-long-past"),
        pytest.param(once(2500), 100, 0, Verdict.INCONCLUSIVE, [5000], id="once-and-no-time-to-go-on"),
        pytest.param(leaks(0), 300, 1, Verdict.PASS, [1200, 5000], id="a-connection-that-drops"),
        pytest.param(leaks(0), 300, 3, Verdict.INCONCLUSIVE, [1200] * 3, id="and-again"),
    ],
)
def test_processes_go_on_until_the_limit_is_settled(
    memory: Memory,
    time_limit_s: float,
    lost: int,
    verdict: Verdict,
    counts: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device: Any = Simulated(memory, lost)
    monkeypatch.setattr(growth_process, "time", device)
    monkeypatch.setattr(growth_process, "ClosedLoop", device.loop)
    measured, told = Measurement(), list[tuple[int, int, float]]()
    processes = GrowthProcesses(
        measured=measured,
        source=device,
        content=device,
        limit=LIMIT,
        time_limit_s=time_limit_s,
        report=lambda done, wanted, left_s: told.append((done, wanted, left_s)),
    )
    processes.run()
    check = judge(memory_growth(measured), [Limit(MEMORY_GROWTH.limit_key, LIMIT, "here")])
    assert check.verdict is verdict, check.reason
    assert [series.count for series in measured.memory_series] == pytest.approx(counts, abs=500)
    assert device.now <= time_limit_s + CALL * PACE_S
    assert len(processes.notes) == lost
    assert all(done <= wanted and left_s >= 0 for done, wanted, left_s in told)
