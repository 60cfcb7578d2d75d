"""A fallback's figures: the longest switch, how many answers came from each side, availability of the far end alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.agent.failure import NEVER
from harness.agent.sides import DROPPED, FAR, NEAR, SIDES, UNASKED, Sides
from harness.checks.check import Verdict, judge
from harness.checks.finding import Finding
from harness.checks.limits import Limit
from harness.checks.sides import worse_of
from harness.deploy.loading import LoadReport
from harness.deploy.sides import far_spans, read_sides
from harness.measure import latency
from harness.measure.availability import AVAILABILITY, availability
from harness.measure.load_time import load_time
from harness.measure.measurement import Measurement
from harness.measure.memory import memory_peak
from harness.measure.switching import switch
from harness.model.sensor_clock import SensorClock
from harness.parity import PARITY
from harness.release.rejudge import rejudge
from tests.support.failing_calls import MS, TIMEOUT_MS, clean, remote
from tests.support.fallbacks import LATE, LOCAL_NS, REFUSED, sides_of, with_fallback
from tests.support.rejudging import CALM, PARITY_LIMIT, limits_of, read_run, write_cell

LONGEST_MS = TIMEOUT_MS + LOCAL_NS / MS
CLOCKS = [None, SensorClock(100.0, "drop")]
ALL_FAR = [sides_of(2000)] * 3
OUTAGE = [sides_of(2000, (500, 900)), sides_of(2000), sides_of(2000, (100, 101), kind=REFUSED)]


def limited(metric: str, value: float) -> list[Limit]:
    return [Limit(metric, value, "net.py")]


@pytest.mark.parametrize("clock", CLOCKS)
def test_the_longest_switch_is_the_value_and_the_bound(clock: SensorClock | None) -> None:
    finding = switch(with_fallback(OUTAGE, clock), "", has_fallback=True)
    assert (finding.value, finding.bound, finding.samples) == (LONGEST_MS, LONGEST_MS, 2)
    assert finding.details["missed"] == {"late": 1, "refused": 1}
    verdicts = [judge(finding, limited("switch_ms", limit)).verdict for limit in (LONGEST_MS, LONGEST_MS - 0.01)]
    assert verdicts == [Verdict.PASS, Verdict.FAIL]


@pytest.mark.parametrize(
    ("sides", "words"),
    [(ALL_FAR, "the far end answered each call"), ([np.full(2000, UNASKED)] * 3, "answered from the start")],
)
def test_where_no_switch_was_seen_no_limit_on_it_passes(sides: Any, words: str) -> None:
    finding = switch(with_fallback(sides), "", has_fallback=True)
    for limits, verdict in ((limited("switch_ms", 1e9), Verdict.INCONCLUSIVE), ([], Verdict.NOT_APPLICABLE)):
        check = judge(finding, limits)
        assert (check.verdict, check.finding.value) == (verdict, None)
        assert words in check.reason


@pytest.mark.parametrize("clock", CLOCKS)
def test_switches_that_were_refused_at_once_say_nothing_of_a_silent_far_end(clock: SensorClock | None) -> None:
    measured = with_fallback([sides_of(2000, (500, 900), kind=REFUSED)] * 3, clock, missed_ms=0.5)
    finding = switch(measured, "", has_fallback=True)
    assert finding.value == 0.5 + LOCAL_NS / MS
    for limit, verdict in ((1e9, Verdict.INCONCLUSIVE), (50.0, Verdict.INCONCLUSIVE), (0.9, Verdict.FAIL)):
        check = judge(finding, limited("switch_ms", limit))
        assert check.verdict is verdict
        assert verdict is Verdict.FAIL or "had to wait for timeout_ms" in check.reason
    assert judge(finding, []).verdict is Verdict.MEASURED


def test_without_a_fallback_there_is_nothing_to_switch_to() -> None:
    check = judge(switch(remote(*[clean()] * 3), "", has_fallback=False), limited("switch_ms", 1e9))
    assert check.verdict is Verdict.NOT_APPLICABLE


@pytest.mark.parametrize("clock", CLOCKS)
def test_local_answers_are_no_failures_of_latency_and_none_of_the_far_ends(clock: SensorClock | None) -> None:
    measured = with_fallback(OUTAGE, clock)
    found = latency.latency(measured, latency.P50, "", 1000.0)
    assert judge(found, limited("latency_p50_ms", 1000.0)).verdict is Verdict.PASS
    slowest = measured.uniform.values[np.isfinite(measured.uniform.values)].max()  # a release that was dropped is none
    assert LONGEST_MS <= slowest < LONGEST_MS + 1
    finding = availability(measured, None, "")
    answered = finding.details["answered"]
    total = sum(answered.values())
    assert finding.value == answered["far"] / total
    assert (answered["near_after_a_miss"], finding.details["failed"]) == (2, {"late": 1, "refused": 1})
    if clock is None:
        assert (answered["near"], total, finding.details["calls"]) == (399, 6000, 5601)
        assert finding.details["longest_failures"] == 400
        assert finding.details["longest_without_answer_s"] == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize(
    ("limit", "verdict"), [(0.5, Verdict.PASS), (0.99, Verdict.INCONCLUSIVE), (0.99999, Verdict.FAIL)]
)
def test_a_long_outage_that_few_calls_saw_passes_no_limit_on_availability(limit: float, verdict: Verdict) -> None:
    """A third of all inferences were local, and ten calls in four thousand were missed."""
    outages = [(place, place + 200) for place in range(0, 2000, 600)]
    check = judge(
        availability(with_fallback([sides_of(2000, *outages)] * 3), limit, ""), limited(AVAILABILITY.limit_key, limit)
    )
    assert check.verdict is verdict, check


@pytest.mark.parametrize("clock", [None, SensorClock(100.0, "drop"), SensorClock(100.0, "queue")])
def test_a_device_that_is_slow_makes_no_outage_shorter(clock: SensorClock | None) -> None:
    """In a closed loop and in a queue 150 local answers of 0.1 s are half of the time; else 1 200 releases are."""
    kept = clock is None or clock.late == "queue"
    first, end = (1850, 2000) if kept else (800, 2000)
    slow = with_fallback([sides_of(2000, (first, end))] * 3, clock if not kept else None, local_ns=100 * MS)
    if clock is not None and kept:
        slow = queued(slow, clock)
    finding = availability(slow, None, "")
    answered = finding.details["answered"]
    assert 1 - sum(answered[side] for side in ("near", "near_after_a_miss")) / sum(answered.values()) > 0.8
    for limit, verdict in ((0.7, Verdict.INCONCLUSIVE), (0.3, Verdict.PASS)):
        assert judge(finding, limited(AVAILABILITY.limit_key, limit)).verdict is verdict


def queued(measured: Measurement, clock: SensorClock) -> Measurement:
    """Have the inferences of a closed loop wait for their turn on a sensor's clock."""
    measured.clock, timed = clock, measured.uniform
    for number, spent in enumerate(timed.processes):
        due, free, releases = np.arange(len(spent)) * clock.period_ns, 0, []
        for released, each in zip(due.tolist(), spent.tolist(), strict=True):
            start = max(released, free)
            free = start + int(each)
            releases.append((released, start, free))
        timed.releases.append(np.array(releases, np.int64))
        timed.processes[number] = timed.releases[-1][:, 2] - due
    return measured


def test_what_the_fallback_alone_did_is_none_of_the_far_ends() -> None:
    measured = with_fallback([np.full(2000, UNASKED)] * 3)
    measured.memory_peak_kib, measured.memory_steps_kib = [4096] * 3, [{}] * 3
    measured.loads = [LoadReport(load_ns=MS, memory_kib={}, outputs=(), runtime={}, settings={}, first=())] * 3
    findings = {
        "latency_p50_ms": latency.latency(measured, latency.P50, "", 1000.0),
        "deadline_miss_rate": latency.deadline_miss_rate(measured, 1000.0, 0.5, ""),
        "memory_peak_mib": memory_peak(measured),
        "load_time_s": load_time(measured),
    }
    for name, finding in findings.items():
        check = judge(finding, limited(name, 1000.0 if name != "deadline_miss_rate" else 0.5))
        assert check.verdict is Verdict.INCONCLUSIVE, name
        assert "the far end answered none of 6000 inferences" in check.reason
    assert with_fallback(OUTAGE).far_doubt == remote(*[clean()] * 3).far_doubt == ""


def test_a_far_end_that_never_answered_is_not_available_at_all() -> None:
    finding = availability(with_fallback([np.full(2000, UNASKED)] * 3), 0.5, "")
    assert (finding.value, finding.details["calls"]) == (0.0, 0)
    assert judge(finding, limited(AVAILABILITY.limit_key, 0.5)).verdict is not Verdict.PASS


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("sides", [ALL_FAR, OUTAGE, [np.full(2000, UNASKED)] * 3])
def test_every_check_is_made_again_of_the_sides(tmp_path: Path, sides: Any, clock: SensorClock | None) -> None:
    cell = write(tmp_path, with_fallback([each.copy() for each in sides], clock))
    run, cells = read_run(cell)
    for result, check in zip(rejudge(tmp_path, run, cells[0], LIMITS, PARITY_LIMIT), cell["checks"], strict=True):
        assert result.problem == ""
        assert result.check.verdict == check["verdict"]


def test_evidence_that_does_not_say_who_answered_is_not_believed(tmp_path: Path) -> None:
    cell = write(tmp_path, with_fallback(OUTAGE))
    for changed in ({**cell, "fallback": None}, without_sides(cell)):
        run, cells = read_run(changed)
        results = {each.metric: each.problem for each in rejudge(tmp_path, run, cells[0], LIMITS, PARITY_LIMIT)}
        assert all("raw_sides" in results[name] for name in ("switch_ms", "availability", "latency_p50_ms"))


def test_other_sides_than_those_of_the_evidence_are_found_out(tmp_path: Path) -> None:
    cell = write(tmp_path, with_fallback(OUTAGE))
    path = tmp_path / cell["checks"][0]["raw_sides"]
    np.save(path, np.zeros_like(np.load(path)))
    run, cells = read_run(cell)
    assert all("raw_sides" in one.problem for one in rejudge(tmp_path, run, cells[0], LIMITS, PARITY_LIMIT)[:2])


LIMITS = limits_of({"availability_min": 0.9, "latency_p50_ms": 20.0, "switch_ms": 150.0})
FALLBACK = {"backend": "onnxruntime", "artifact": {"sha256": "0" * 64}}


def write(folder: Path, measured: Measurement) -> dict[str, Any]:
    measured.states = [(CALM, CALM)] * 3

    def findings(raw: str) -> list[Finding]:
        return [
            switch(measured, raw, has_fallback=True),
            availability(measured, 0.9, raw),
            latency.latency(measured, latency.P50, raw, 20.0),
        ]

    tolerance = Limit(PARITY.limit_key, PARITY_LIMIT, "net.py: tolerance")
    return write_cell(folder, findings, (*LIMITS, tolerance), measured=measured, backend="oip", fallback=FALLBACK)


def without_sides(cell: dict[str, Any]) -> dict[str, Any]:
    checks = [{key: value for key, value in check.items() if "sides" not in key} for check in cell["checks"]]
    return {**cell, "checks": checks}


# What the device reports


class Flapping:
    """An engine whose side changes with each inference."""

    side = UNASKED

    def run(self, prepared: int) -> int:
        """Note the side that is asked for."""
        self.side = prepared
        return prepared

    def run_on(self, side: str, prepared: int) -> int:
        """Never called: it marks an engine that has sides."""
        raise AssertionError((side, prepared))


def test_sides_are_noted_for_inferences_and_for_releases() -> None:
    noted = Sides.of(Flapping(), 4)
    assert noted is not None
    for side in (FAR, LATE, UNASKED):
        noted.run(side)
    assert noted.tensor(np.ones(3, np.int64)).tolist() == [FAR, LATE, UNASKED]
    releases = np.array([[0, 1, 2], [3, NEVER, NEVER], [6, 7, 8], [9, 10, 11]])
    assert noted.tensor(releases).tolist() == [FAR, DROPPED, LATE, UNASKED]
    assert Sides.of(object(), 4) is None
    assert SIDES == ("far", NEAR)


@pytest.mark.parametrize(
    ("sides", "words"),
    [
        (np.array([0, 0], np.uint8), "another type, or number"),
        (np.array([0, 0, 0], np.int64), "another type, or number"),
        (np.array([0, 0, 7], np.uint8), "some are 0 or 7"),
        (np.array([0, 0, DROPPED], np.uint8), "some are -1 or 0"),
        (np.array([0, UNASKED, UNASKED], np.uint8), "was not asked, where it had answered just before"),
    ],
)
def test_sides_that_cannot_be_are_refused(sides: Any, words: str) -> None:
    assert words in read_sides(sides, np.ones(3, np.int64))[1]


def test_a_dropped_release_is_answered_by_nobody() -> None:
    releases = np.array([[0, 1, 2], [3, NEVER, NEVER]])
    assert read_sides(np.array([0, DROPPED], np.uint8), releases)[1] == ""
    assert "was dropped" in read_sides(np.array([0, 0], np.uint8), releases)[1]


def test_only_the_far_end_has_to_answer_within_the_timeout() -> None:
    spans = np.array([5, 900, 3])
    assert far_spans(spans, {"sides": [FAR, LATE, UNASKED]}).tolist() == [5]
    assert far_spans(spans, {}).tolist() == [5, 900, 3]


# Both sides judged


def parity(value: float | None = 0.2, **more: Any) -> Finding:
    return Finding(PARITY, value, value, samples=9, **more)


@pytest.mark.parametrize(
    ("far", "near", "verdict", "reason"),
    [
        (parity(0.5), parity(0.3), Verdict.PASS, ""),
        (parity(None, no_bound_reason="refused"), parity(), Verdict.INCONCLUSIVE, "far: refused"),
        (parity(), parity(None, no_bound_reason="no reference"), Verdict.INCONCLUSIVE, "near: no reference"),
        (parity(), parity(9.0, failure="y is off"), Verdict.FAIL, "near: y is off"),
        (parity(None, no_bound_reason="refused"), parity(9.0, failure="off"), Verdict.FAIL, "near: off"),
        (parity(9.0, failure="off"), parity(8.0, failure="off, too"), Verdict.FAIL, "far: off"),
        (parity(), parity(0.3, invalid_reason="vague"), Verdict.INCONCLUSIVE, "near: vague"),
    ],
)
def test_the_worse_side_counts_and_is_named(far: Finding, near: Finding, verdict: Verdict, reason: str) -> None:
    limits = [Limit(PARITY.limit_key, 1.0, "net.py: tolerance")]
    check = judge(worse_of({"far": far, "near": near}, limits), limits)
    assert (check.verdict, check.reason) == (verdict, reason)
    assert set(check.finding.details["by_side"]) == {"far", "near"}
    if verdict is Verdict.PASS:
        assert check.finding.value == 0.5
