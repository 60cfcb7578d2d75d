"""For how long calls to another computer are made: on a device whose durations are made."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness.deploy.content import UNIFORM, Request, Timed
from harness.errors import RemoteError
from harness.measure import measurement, schedule
from harness.measure.accuracy import AccuracyRun
from harness.measure.availability import availability, span_s
from harness.measure.measurement import Measurement
from harness.measure.schedule import REMOTE_S, Schedule
from harness.parity import PARITY
from harness.parity.search_finding import finding_without_answer
from tests.unit.test_schedule import Simulated, slow


class Remote(Simulated):
    """A device that makes calls; the first ``down`` starts find no server, after ``up`` starts."""

    def __init__(self, up: int = 99, down: int = 0) -> None:
        super().__init__(slow(0))
        self.up, self.down = up, down

    def fresh(self) -> tuple[Any, Any]:
        if self.processes >= self.up and self.down:
            self.down -= 1
            self.now += 1.0
            raise RemoteError("the call failed during 'load'", kind="refused", found="connection refused")
        return super().fresh()

    def begin(self, contents: list[Timed]) -> None:
        super().begin(contents)
        for timed in contents:
            timed.codes.append(np.empty(0, np.uint8))
            timed.requests.append([])

    def take(self, timed: Timed, quota: int, budget_s: float, is_enough: Callable[[], bool]) -> None:
        end, taken = self.now + budget_s, 0
        while taken < quota and (not taken or (self.now < end and not is_enough())):
            before, done = self.now, timed.count
            super().take(timed, min(quota - taken, 200), 0.0, lambda: True)
            count = timed.count - done
            timed.codes[-1] = np.zeros(len(timed.processes[-1]), np.uint8)
            timed.requests[-1].append(Request(count, 0, round((self.now - before) * 1e9), 0))
            taken += count


def sampled(
    monkeypatch: pytest.MonkeyPatch, device: Remote, limit_s: float = 300.0, least: float | None = None
) -> Measurement:
    for module in (schedule, measurement):
        monkeypatch.setattr(module, "time", device)
    monkeypatch.setattr(schedule, "ClosedLoop", device.loop)
    measured = Measurement(uniform=Timed(name=UNIFORM), is_over=False, began=0.0, timeout_ms=100.0)
    source: Any = device
    content: Any = None
    parts: dict[str, Any] = {"measured": measured, "source": source, "content": content, "at_least": 459}
    Schedule(**parts, report=lambda progress: None, end=limit_s, availability_min=least).run()
    measured.is_over, measured.took_s = True, device.now
    return measured


def test_calls_are_made_for_a_minute_in_three_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = sampled(monkeypatch, Remote())
    assert measured.planned_s == REMOTE_S
    assert REMOTE_S <= span_s(measured) <= REMOTE_S + 6
    spans = [sum(request.elapsed_ns for request in process) / 1e9 for process in measured.uniform.requests]
    assert len(spans) == 3
    assert min(spans) >= REMOTE_S / 3


def test_a_shorter_time_limit_is_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = sampled(monkeypatch, Remote(), limit_s=30.0)
    assert 15 <= span_s(measured) <= 30
    assert len(measured.processes) == 3


def test_a_limit_that_takes_more_calls_gets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 0.999 it takes 4603 without a failure: twice as many calls of 10 ms are planned."""
    measured = sampled(monkeypatch, Remote(), least=0.999)
    assert measured.planned_s == pytest.approx(2 * 4603 * 0.01)
    assert measured.count >= 2 * 4603


def test_a_server_that_is_gone_for_a_moment_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = sampled(monkeypatch, Remote(up=1, down=2))
    assert len(measured.unreached) == 2
    assert len(measured.processes) == 3


def test_a_server_that_stays_away_leaves_what_was_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = sampled(monkeypatch, Remote(up=2, down=99))
    assert len(measured.unreached) == 3
    finding = availability(measured, 0.9, "")
    assert finding.value == 1.0
    assert finding.bound is None
    assert "2 processes" in finding.no_bound_reason


def test_a_server_that_never_answers_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RemoteError):
        sampled(monkeypatch, Remote(up=0, down=99))


# Answers


LOST = RemoteError("the call failed during 'infer'", kind="late", found="no answer in 1 s")


def test_accuracy_without_an_answer_is_open() -> None:
    def infer(sets: Any) -> Any:
        raise LOST

    samples: Any = SimpleNamespace(step=1, sets=({},), given=1, labels=np.zeros(1))
    built: Any = None
    finding = AccuracyRun(built, (samples, 0.9), infer, lambda done, total: None)()
    assert finding.value is None
    assert "(late)" in finding.no_bound_reason
    assert not finding.failure


def test_parity_without_an_answer_is_open() -> None:
    ended: Any = SimpleNamespace(tried=12, state=SimpleNamespace(failing=None))
    finding = finding_without_answer(ended, LOST)
    assert finding.metric is PARITY
    assert "(late)" in finding.no_bound_reason
    assert "12 inputs" in finding.no_bound_reason
    assert not finding.failure
