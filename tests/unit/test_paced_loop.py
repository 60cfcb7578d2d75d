"""A measurement on a sensor's clock, from the device's loop to the verdict, on a clock that only inferences move."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest

from harness.checks.check import Check, Verdict, judge
from harness.checks.limits import Limit
from harness.deploy.call import Call
from harness.deploy.content import Content, Timed
from harness.deploy.deployment import Deployment
from harness.deploy.feed import Feed
from harness.errors import ImpossibleReport, LinkLost
from harness.evidence.parts import describe_check
from harness.measure import closed_loop
from harness.measure.closed_loop import Source
from harness.measure.latency import (
    DEADLINE_MISS_RATE,
    MAX,
    P50,
    P90,
    P99,
    deadline_miss_rate,
    latency,
    latency_max,
    published,
)
from harness.measure.measurement import Measurement
from harness.measure.paced_loop import PacedLoop
from harness.measure.start_jitter import START_JITTER, start_jitter
from harness.measure.tails import Tail
from harness.model.sensor_clock import SensorClock
from tests.support.fake_sensor import FakeSensor

MS = 1_000_000
FILL = {"dtype": "float32", "shape": [3], "first": 0, "last": 9, "scale": 0, "order": "random", "key": 7, "set": []}
IDLE: dict[str, Any] = {"before": {"swapped_kib": 0}, "after": {"swapped_kib": 0}}
INFINITE = float("inf")


class Device:
    """A deployment whose paced loop is the agent's own, on a clock of its own."""

    where = "test"

    def __init__(self, durations: Sequence[int]) -> None:
        self.sensor = FakeSensor(durations, ring=16, making=3 * MS, lateness=60_000)
        self.samples: list[int] = []
        self.order: list[int] = []

    def keep(self, sets: Any) -> None:
        self.samples = [int(each["x"][0]) for each in sets]

    def warm_up(self, feed: Feed, budget_s: float) -> dict[str, Any]:
        self.last_call = Call(1.0, 900 * MS)
        median = int(np.median(self.sensor.durations))
        return {"iterations": 20, "settled": True, "median_ns": median, "making_ns": 1000, "elapsed_ns": 900 * MS}

    def measure(self, feed: Feed, count: int, budget_s: float, name: str, *, pace: Any) -> Any:
        sensor, first = self.sensor, self.sensor.runs
        began, made = sensor.clock.time, sensor.made
        found = sensor.measure(pace, count, 10**15)
        making = 3 * MS * max(-(-(sensor.made - made) // 16), 1)
        loop = sensor.clock.time - began
        if "kept" in feed.header:
            self.order += [self.samples[number] for number in feed.header["kept"][: sensor.runs - first]]
        self.last_call = Call(loop / 1e9 + 0.01, loop)
        account = {"making_ns": making, "untimed": 0, "untimed_ns": 0, "loop_ns": loop, "elapsed_ns": loop}
        return found, {**IDLE, **account, "inferences": [], "anonymous_kib": []}


class NoSource:
    """Names for replies that nobody keeps."""

    def result_name(self) -> str:
        return "x"


def measured(
    durations: Sequence[int], late: str = "drop", quota: int = 500, samples: int = 0, processes: int = 3
) -> tuple[Measurement, list[Device]]:
    """At 100 Hz, in blocks of two releases."""
    clock = SensorClock(100.0, late)
    content = Content(fills=[FILL], samples=[{"x": np.full(3, number)} for number in range(samples)])
    found = Measurement(
        uniform=content.spread_timed(), samples=content.samples_timed(), block_ms=20, clock=clock, closed_p50_ms=1.5
    )
    devices = [Device(durations) for _ in range(processes)]
    for device in devices:
        loop = PacedLoop(
            deployment=cast(Deployment, device),
            source=cast(Source, NoSource()),
            content=content,
            report=lambda: None,
            clock=clock,
        )
        loop.begin(found.contents)
        for timed in found.contents:
            loop.warm_up(timed, 1.0)
            timed.block_sizes[-1] = 2
            loop.take(timed, quota, 60.0)
    return found, devices


def judged(found: Measurement, metric: Any, limit: float | None, deadline_ms: float = 10.0) -> Check:
    if metric is DEADLINE_MISS_RATE:
        finding = deadline_miss_rate(found, deadline_ms, limit, "raw")
    elif metric is MAX:
        finding = latency_max(found, limit, "raw")
    elif metric is START_JITTER:
        finding = start_jitter(found, limit, "raw")
    else:
        finding = latency(found, metric, "raw", limit)
    return judge(finding, [] if limit is None else [Limit(metric.limit_key, limit, "net.py: limits")])


FAST, HARDLY, LATE, SLOW = [4 * MS], [10_020_000], [12 * MS], [35 * MS]
ONE_IN_50 = [4 * MS] * 49 + [25 * MS]


@pytest.mark.parametrize(
    ("durations", "late", "metric", "limit", "verdict"),
    [
        pytest.param(FAST, "drop", P99, 5.0, Verdict.PASS, id="fast"),
        pytest.param(FAST, "queue", P99, 5.0, Verdict.PASS, id="fast-queue"),
        pytest.param(FAST, "drop", P99, 3.9, Verdict.FAIL, id="over-its-limit"),
        pytest.param(FAST, "drop", DEADLINE_MISS_RATE, 0.01, Verdict.PASS, id="in-time"),
        # A closed loop would pass: each takes 12 ms, and 20 are allowed.
        pytest.param(LATE, "drop", P99, 20.0, Verdict.FAIL, id="slower-than-its-rate"),
        pytest.param(LATE, "drop", P90, 1e9, Verdict.FAIL, id="dropped-is-later-than-any-limit"),
        pytest.param(LATE, "drop", MAX, 1e9, Verdict.FAIL, id="dropped-is-the-slowest"),
        pytest.param(LATE, "drop", DEADLINE_MISS_RATE, 0.4, Verdict.FAIL, id="dropped-is-missed"),
        pytest.param(LATE, "queue", P99, 20.0, Verdict.FAIL, id="slower-than-its-rate-queue"),
        pytest.param(LATE, "queue", P50, 1e9, Verdict.FAIL, id="no-limit-is-kept-by-a-queue-that-grows"),
        pytest.param(HARDLY, "queue", P50, 1e9, Verdict.INCONCLUSIVE, id="nor-by-one-that-seems-to-grow"),
        pytest.param(LATE, "queue", DEADLINE_MISS_RATE, 0.1, Verdict.FAIL, id="a-queue-that-grows-is-late"),
        pytest.param(SLOW, "drop", P50, 1e9, Verdict.FAIL, id="most-are-dropped"),
        pytest.param(ONE_IN_50, "drop", P50, 5.0, Verdict.PASS, id="few-are-dropped"),
        pytest.param(ONE_IN_50, "drop", P99, 1e9, Verdict.FAIL, id="two-of-fifty-are-dropped"),
        pytest.param(ONE_IN_50, "queue", P99, 26.0, Verdict.PASS, id="a-queue-that-empties"),
        pytest.param(ONE_IN_50, "queue", P99, 18.0, Verdict.FAIL, id="who-waits-is-late-too"),
        pytest.param(FAST, "drop", START_JITTER, 0.1, Verdict.PASS, id="starts-in-time"),
        pytest.param(FAST, "drop", START_JITTER, 0.05, Verdict.FAIL, id="starts-late"),
        pytest.param(LATE, "queue", START_JITTER, 1e9, Verdict.FAIL, id="starts-later-and-later"),
        pytest.param(HARDLY, "queue", START_JITTER, 1e9, Verdict.INCONCLUSIVE, id="seems-to-start-later-and-later"),
    ],
)
def test_what_is_judged_is_from_release_to_end(
    durations: list[int], late: str, metric: Any, limit: float, verdict: Verdict
) -> None:
    found, _ = measured(durations, late)
    check = judged(found, metric, limit)
    assert (check.verdict, check.reason) == (verdict, check.reason)
    assert ("the queue grows without end: an inference took" in check.reason) == (
        late == "queue" and durations in (LATE, HARDLY)
    )
    json.dumps(describe_check(check).as_json(), allow_nan=False)
    json.dumps(describe_check(judged(found, metric, None)).as_json(), allow_nan=False)


def test_a_model_slower_than_its_rate_fails_after_ten_blocks() -> None:
    for late in ("drop", "queue"):
        found, _ = measured(SLOW, late, quota=10, processes=2)
        found.tails = (Tail.of_misses(10.0, 0.01),)
        assert judged(found, DEADLINE_MISS_RATE, 0.01).verdict is Verdict.FAIL
        assert sum(timed.count for timed in found.contents) == 20


def test_the_evidence_says_what_was_dropped_and_how_busy_the_model_was() -> None:
    found, _ = measured(ONE_IN_50, "drop")
    entry = describe_check(judged(found, P99, 20.0)).as_json()
    assert (entry["value"], entry["bound_low"], entry["verdict"]) == ("inf", "inf", "FAIL")
    assert (entry["rate_hz"], entry["late"]) == (100.0, "drop")
    assert entry["dropped"] == pytest.approx(1500 * 2 / 52, abs=6)
    assert entry["utilisation"] == pytest.approx((49 * 4 + 25) / 520, rel=0.03)
    assert "closed_loop_p50_ms" not in entry
    assert describe_check(judged(found, P50, None)).as_json()["closed_loop_p50_ms"] == 1.5
    durations_ms, more = published(found, [Limit(P99.name, 20.0, "here")])
    assert (len(durations_ms) + more["dropped"], more["p99_ms"]) == (1500, "inf")
    assert np.isfinite(durations_ms).all()


def test_what_is_kept_is_when_each_was_released_started_and_ended() -> None:
    found, _ = measured(ONE_IN_50, "drop", quota=700, samples=30)
    assert (found.raw.dtype.name, found.raw.shape) == ("int64", (found.count, 3))
    for timed in found.contents:
        for releases, responses in zip(timed.releases, timed.processes, strict=True):
            assert releases[:, 0].tolist() == [10 * MS * number for number in range(len(releases))]
            ended = releases[:, 2] >= 0
            assert np.isinf(responses[~ended]).all()
            assert (releases[ended] @ [-1, 0, 1]).tolist() == responses[ended].tolist()
            assert (np.diff(releases[ended].ravel().reshape(-1, 3)[:, 1:].ravel()) > 0).all()


@pytest.mark.parametrize("late", ["drop", "queue"])
def test_calls_to_the_device_are_no_rest_for_a_slow_model(late: str) -> None:
    """The loop asks in portions of two seconds; what it takes together is what one call would have shown."""
    durations = (np.random.default_rng(3).lognormal(0, 0.8, 333) * 9 * MS).astype(int).tolist()
    found, _ = measured(durations, late, quota=900, processes=1)
    whole = FakeSensor(durations, lateness=60_000).measure(found_pace(late), 900, 10**15)
    assert found.uniform.releases[0].tolist() == whole.tolist()


def found_pace(late: str) -> Any:
    from harness.agent.pacing import Pace

    return Pace(10 * MS, late, -10 * MS)


def test_each_sample_of_the_file_is_run_although_some_releases_are_dropped() -> None:
    found, devices = measured(LATE, "drop", quota=120, samples=40)
    samples = found.samples
    assert samples.is_whole
    for device in devices:
        assert np.bincount(device.order, minlength=40).tolist() == [3] * 40
    # A release that was dropped is the fault of the sample that was being run.
    for releases, numbers, device in zip(samples.releases, samples.numbers, devices, strict=True):
        ran = releases[:, 2] >= 0
        assert numbers[ran].tolist() == device.order
        assert (numbers[1:][~ran[1:]] == numbers[:-1][~ran[1:]]).all()


def test_without_a_clock_there_is_no_jitter_to_speak_of() -> None:
    finding = start_jitter(Measurement(), None, "raw")
    assert finding.unasked
    assert judge(finding, []).verdict is Verdict.NOT_APPLICABLE


class LosesTheLink(Device):
    """A device whose answer does not arrive, and is kept there."""

    def measure(self, *asked: Any, pace: Any, **more: Any) -> Any:
        self.answer = super().measure(*asked, pace=pace, **more)
        raise LinkLost("the connection dropped")

    def measured(self, frame: Any) -> Any:
        return self.answer


class Lies(Device):
    """A device that answers what it has dropped."""

    def measure(self, *asked: Any, pace: Any, **more: Any) -> Any:
        found, reply = super().measure(*asked, pace=pace, **more)
        dropped = found[:, 2] < 0
        found[dropped, 1], found[dropped, 2] = found[dropped, 0] + 1, found[dropped, 0] + 4 * MS
        return found, reply


class Keeps:
    """A source that has kept every reply."""

    def result_name(self) -> str:
        return "x"

    def collect(self, name: str) -> Any:
        return "a frame"


def begun(device: Device) -> tuple[PacedLoop, Timed]:
    clock, content = SensorClock(100.0, "drop"), Content(fills=[FILL])
    loop = PacedLoop(
        deployment=cast(Deployment, device),
        source=cast(Source, Keeps()),
        content=content,
        report=lambda: None,
        clock=clock,
    )
    timed = content.spread_timed()
    loop.begin([timed])
    loop.warm_up(timed, 1.0)
    return loop, timed


def test_what_a_dropped_connection_had_timed_is_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closed_loop, "host_clock", itertools.count(0.0, 60.0).__next__)
    loop, timed = begun(LosesTheLink(SLOW))
    with pytest.raises(LinkLost):
        loop.take(timed, 100, 60.0)
    assert (timed.count, len(timed.ran[0])) == (100, 25)


def test_a_report_that_cannot_be_ends_the_measurement() -> None:
    loop, timed = begun(Lies(SLOW))
    with pytest.raises(ImpossibleReport, match="wanted inferences one after the other"):
        loop.take(timed, 100, 60.0)
    assert timed.count == 0
