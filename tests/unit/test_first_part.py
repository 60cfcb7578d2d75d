"""First parts of streamed answers: judged as latencies are, and infinite where a call failed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.agent.pacing import NEVER
from harness.checks.check import Verdict, judge
from harness.checks.limits import Limit
from harness.measure import latency
from harness.measure.first_part import P50, P99, first_part
from harness.measure.measurement import Measurement
from harness.model.model import Array
from harness.model.sensor_clock import SensorClock
from tests.support.failing_calls import clean, failing, remote


def streamed(codes: Array, share: float = 0.25, clock: SensorClock | None = None) -> Measurement:
    """A measurement of three processes, whose first parts come after a share of the whole."""
    measured = remote(codes.copy(), codes.copy(), codes.copy(), clock=clock)
    timed = measured.uniform
    whole = [each @ [0, -1, 1] for each in timed.releases] if clock is not None else timed.processes
    for number, process in enumerate(whole):
        ran = timed.codes[number] == 0
        if clock is not None:
            ran &= timed.releases[number][:, 2] != NEVER
        times = np.where(ran, np.where(np.isinf(process), 0, process) * share, NEVER)
        timed.first_parts.append(times.astype(np.int64))
    return measured


@pytest.mark.parametrize("clock", [None, SensorClock(100.0, "drop")])
def test_a_first_part_comes_before_the_whole(clock: SensorClock | None) -> None:
    measured = streamed(clean(2000), clock=clock)
    finding, whole = first_part(measured, P50, "", None, is_streamed=True), latency.latency(measured, latency.P50, "")
    assert finding.value == pytest.approx(whole.value / 4 if whole.value else 0, rel=0.01)
    assert finding.bound is not None
    assert finding.value is not None
    assert finding.bound >= finding.value
    check = judge(first_part(measured, P99, "", 3.0, is_streamed=True), [Limit("first_part_p99_ms", 3.0, "net.py")])
    assert check.verdict is Verdict.PASS
    broken = judge(first_part(measured, P99, "", 1.0, is_streamed=True), [Limit("first_part_p99_ms", 1.0, "net.py")])
    assert broken.verdict is Verdict.FAIL


def test_a_call_that_failed_has_no_first_part_and_breaks_the_limit() -> None:
    measured = streamed(failing(2000, *range(0, 2000, 20)))
    finding = first_part(measured, P99, "", 3.0, is_streamed=True)
    assert finding.value == math.inf
    assert finding.details["failed"] == {"late": 300}
    check = judge(finding, [Limit("first_part_p99_ms", 3.0, "net.py")])
    assert check.verdict is Verdict.FAIL
    assert "300 of 6000 calls failed" in check.reason


def test_an_answer_that_comes_whole_has_none() -> None:
    for limit in (None, 3.0):
        finding = first_part(remote(clean(500)), P50, "", limit, is_streamed=False)
        assert "stream = true" in finding.not_applicable
        assert finding.unasked is (limit is None)


def test_without_calls_nothing_is_said() -> None:
    measured = Measurement(timeout_ms=100.0)
    assert first_part(measured, P50, "", None, is_streamed=True).no_bound_reason == "no sample was taken"
