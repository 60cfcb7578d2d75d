"""What a device may report of releases, and what cannot be true: each lie is named, no honest extreme is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.agent.pacing import Pace
from harness.deploy.call import Call
from harness.deploy.paced_plausibility import why_releases_impossible
from harness.model.model import Array
from tests.support.fake_sensor import FakeSensor

MS, S = 1_000_000, 1_000_000_000
INFINITE = float("inf")


class Report:
    """An honest call, to be changed: of durations that wander about one, released every 10 ms."""

    def __init__(
        self, each: int = 4 * MS, late: str = "drop", behind: int = -10 * MS, asked: int = 200, budget: int = 3600 * S
    ) -> None:
        self.pace, self.asked, self.budget_s = Pace(10 * MS, late, behind), asked, budget / 1e9
        durations = (each + np.random.default_rng(5).integers(-each // 20, each // 20, 97)).tolist()
        sensor = FakeSensor(durations, ring=40, making=3 * MS, lateness=60_000)
        began = sensor.clock.time
        self.releases: Array = sensor.measure(self.pace, asked, budget)
        loop = sensor.clock.time - began + 900 * sensor.runs
        rings = -(-max(sensor.made, 1) // 40)
        self.header = {"making_ns": 3 * MS * rings, "untimed": 0, "untimed_ns": 0, "loop_ns": loop}
        self.call = Call((loop + 50 * MS) / 1e9 + 0.01, loop + 50 * MS)

    def reason(self) -> str:
        return why_releases_impossible(
            self.releases, self.header, self.call, asked=self.asked, budget_s=self.budget_s, pace=self.pace
        )


@pytest.mark.parametrize("late", ["drop", "queue"])
@pytest.mark.parametrize(
    "more",
    [
        pytest.param({}, id="usual"),
        pytest.param({"each": 10 * MS}, id="about-as-long-as-the-period"),
        pytest.param({"each": 35 * MS}, id="far-too-slow"),
        pytest.param({"each": 35 * S, "asked": 4000}, id="hopeless"),
        pytest.param({"asked": 1}, id="one"),
        pytest.param({"behind": 31 * MS}, id="with-a-backlog"),
        pytest.param({"behind": 31 * S}, id="with-nothing-but-a-backlog"),
        pytest.param({"budget": 0}, id="no-time"),
        pytest.param({"budget": S}, id="the-budget-was-used-up"),
        pytest.param({"budget": S, "each": 35 * MS}, id="used-up-by-a-slow-one"),
        pytest.param({"each": 100}, id="very-fast"),
    ],
)
def test_an_honest_report_is_possible(late: str, more: dict[str, Any]) -> None:
    assert Report(late=late, **more).reason() == ""


def put(row: int, column: int, value: int) -> Callable[[Report], None]:
    def lie(report: Report) -> None:
        report.releases[row, column] = value

    return lie


def move(row: int, by: int, columns: tuple[int, ...] = (1, 2)) -> Callable[[Report], None]:
    def lie(report: Report) -> None:
        report.releases[row, columns] += by

    return lie


def releases(change: Callable[[Array], Any]) -> Callable[[Report], None]:
    def lie(report: Report) -> None:
        report.releases = np.asarray(change(report.releases))

    return lie


def header(**changes: Any) -> Callable[[Report], None]:
    def lie(report: Report) -> None:
        report.header = {**report.header, **changes}

    return lie


def drop(row: int) -> Callable[[Report], None]:
    return releases(lambda rows: np.r_[rows[:row], [[rows[row, 0], -1, -1]], rows[row + 1 :]])


def forget_the_dropped(report: Report) -> None:
    """As a board that wants its drops unseen."""
    ran = report.releases[report.releases[:, 2] > 0]
    report.releases = ran


def answer_the_dropped(report: Report) -> None:
    """As one that claims that they were answered in time."""
    rows = report.releases
    dropped = rows[:, 2] < 0
    rows[dropped, 1], rows[dropped, 2] = rows[dropped, 0] + 60_000, rows[dropped, 0] + 4 * MS


def halve(report: Report) -> None:
    """As one whose inferences take half of what they take."""
    ran = report.releases[:, 2] > 0
    report.releases[ran, 2] -= (report.releases[ran, 2] - report.releases[ran, 1]) // 2


SLOW = {"each": 25 * MS}
QUEUE = {"late": "queue"}


@pytest.mark.parametrize(
    ("lie", "said", "more"),
    [
        pytest.param(releases(lambda rows: rows[:, 2]), "found int64[200]", {}, id="one-axis"),
        pytest.param(releases(lambda rows: rows[:, :2]), "found int64[200, 2]", {}, id="two-columns"),
        pytest.param(releases(lambda rows: rows / 1.0), "found float64[200, 3]", {}, id="float"),
        pytest.param(releases(lambda rows: rows[:0]), "wanted 1 to 200 releases", {}, id="none"),
        pytest.param(
            releases(lambda rows: np.r_[rows, rows[-1:]]), "as many as were asked for; found 201", {}, id="more"
        ),
        pytest.param(releases(lambda rows: rows[:-1]), "wanted 200 releases, or the 3600 s used up", {}, id="fewer"),
        pytest.param(put(7, 0, 70 * MS + 1), "wanted releases every 10000000 ns, from 0 on", {}, id="off-the-grid"),
        pytest.param(releases(lambda rows: rows[1:]), "from 0 on", {}, id="the-first-is-missing"),
        pytest.param(releases(lambda rows: np.delete(rows, 9, 0)), "found release 9", {}, id="one-is-missing"),
        pytest.param(forget_the_dropped, "from 0 on; found release 1", SLOW, id="the-dropped-are-missing"),
        pytest.param(move(7, -MS), "wanted no start before the release; found release 7", {}, id="early"),
        pytest.param(put(7, 2, 70 * MS), "wanted an end after the start", {}, id="ends-before-it-starts"),
        pytest.param(releases(lambda rows: rows[:, [0, 1, 1]]), "wanted an end after the start", {}, id="no-time"),
        pytest.param(put(7, 1, -1), "or neither", {}, id="ends-without-a-start"),
        pytest.param(put(7, 2, -1), "or neither", {}, id="starts-without-an-end"),
        pytest.param(put(7, 2, -(1 << 63)), "or neither", {}, id="least-number"),
        pytest.param(
            put(7, 2, (1 << 63) - 1), "before the model is free, at 9223372036854775807 ns", {}, id="largest-number"
        ),
        pytest.param(put(7, 2, 95 * MS), "none starts before the model is free, at 95000000", QUEUE, id="overlap"),
        pytest.param(drop(7), "no release dropped that finds the model free, since 6", {}, id="dropped-for-nothing"),
        pytest.param(drop(7), "wanted no release dropped where they queue", QUEUE, id="dropped-from-a-queue"),
        pytest.param(answer_the_dropped, "none starts before the model is free", SLOW, id="drops-answered"),
        pytest.param(move(3, 15 * MS, (1,)), "end after the start", {}, id="starts-after-its-end"),
        pytest.param(put(0, 1, 5 * MS), "starts before the model is free", {"behind": 9 * MS} | QUEUE, id="backlog"),
        pytest.param(header(loop_ns=S), "wanted durations of at most 0.985 s", {}, id="more-than-the-loop"),
        pytest.param(header(making_ns=1900 * MS), "in 200 releases", {}, id="more-making-than-there-was-time"),
        pytest.param(header(loop_ns=None), "wanted loop_ns", {}, id="no-account"),
        pytest.param(header(loop_ns=10**12), "wanted a loop of at most", {}, id="longer-than-the-call"),
        pytest.param(header(untimed=-1), "wanted untimed", {}, id="untimed"),
        pytest.param(halve, "or little less", {"each": S, "asked": 1}, id="half-as-long"),
    ],
)
def test_a_report_that_cannot_be_is_named(lie: Callable[[Report], None], said: str, more: dict[str, Any]) -> None:
    report = Report(**more)
    lie(report)
    assert report.reason().startswith("the device's report is impossible: wanted ")
    assert said in report.reason()


def test_a_loop_that_waits_for_longer_than_it_says_is_named() -> None:
    """A board whose clock stands still while the host waits."""
    report = Report()
    report.call = Call(0.5, report.call.device_ns)
    assert "at most 0.5 s, what the call took by the host's clock" in report.reason()
    report.call = Call(INFINITE, report.call.device_ns)
    assert report.reason() == ""
