"""Availability: the share of calls that were answered, its bounds, and what stands beside them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.checks import quantiles
from harness.checks.check import Check, Verdict, judge
from harness.checks.limits import Limit
from harness.deploy.content import SAMPLES, Request
from harness.measure.availability import availability, calls_needed, longest_failures, longest_without_answer_s, span_s
from harness.measure.latency import P50, P99, deadline_miss_rate, latency, latency_max, published
from harness.measure.measurement import Measurement
from harness.model.model import Array
from harness.model.sensor_clock import SensorClock
from tests.support.failing_calls import LATE, REFUSED, clean, failing, remote


def judged(measured: Measurement, limit: float | None = None) -> Check:
    limits = [] if limit is None else [Limit("availability_min", limit, "net.py: limits")]
    return judge(availability(measured, limit, "samples/net.npy"), limits)


def spread(count: int, share: float) -> Array:
    """Codes of calls of which a share failed, evenly spread."""
    return failing(count, *np.flatnonzero(np.diff(np.floor(np.arange(count + 1) * share + 0.5))).tolist())


def test_a_model_on_the_device_is_not_asked() -> None:
    check = judged(Measurement(), 0.99)
    assert check.verdict is Verdict.NOT_APPLICABLE
    assert check.finding.unasked


def test_the_share_is_that_of_all_calls() -> None:
    finding = availability(remote(clean(), failing(4000, 1, 2, 3), clean()), None, "")
    assert finding.value == 1 - 3 / 12_000
    assert finding.samples == 12_000


@pytest.mark.parametrize(
    ("share", "limit", "verdict"),
    [
        (0.0, 0.999, Verdict.PASS),
        (0.0, 0.9999, Verdict.INCONCLUSIVE),  # 12 000 calls are too few
        (0.001, 0.99, Verdict.PASS),
        (0.001, 0.999, Verdict.INCONCLUSIVE),
        (0.05, 0.99, Verdict.FAIL),
        (0.05, 0.9, Verdict.PASS),
    ],
)
def test_a_limit_is_kept_broken_or_open(share: float, limit: float, verdict: Verdict) -> None:
    codes = spread(4000, share)
    assert judged(remote(codes, codes, codes), limit).verdict is verdict


def test_the_lower_bound_is_clopper_and_pearsons() -> None:
    """Of n calls none of which failed it is 0.01 ** (1 / n)."""
    bound = availability(remote(clean(153), clean(153), clean(153)), None, "").bound
    assert bound == pytest.approx(0.01 ** (1 / 459))


def test_a_broken_limit_says_how_many_failed_and_how() -> None:
    codes = failing(4000, *range(0, 4000, 10))
    codes[5] = REFUSED
    reason = judged(remote(codes, clean(), clean()), 0.99).reason
    assert "401 of 12000 calls failed (late 400, refused 1)" in reason
    assert "wanted ≥ 0.99" in reason


def test_an_open_limit_says_how_many_calls_it_takes() -> None:
    check = judged(remote(clean(), clean(), clean()), 0.9999)
    assert "none of 12000 calls failed" in check.reason
    assert "--time-limit" in check.reason
    assert calls_needed(0.0, 0.9999) == 46_050
    assert calls_needed(0.02, 0.99) is None


def test_two_processes_are_too_few_for_a_bound() -> None:
    measured = remote(clean(), clean())
    measured.unreached = ["the call to the computer that serves the model failed during 'load': refused"] * 3
    check = judged(measured, 0.9)
    assert check.verdict is Verdict.INCONCLUSIVE
    assert "2 processes" in check.reason
    assert "failed during 'load': refused" in check.reason


def test_two_processes_break_a_limit_all_the_same() -> None:
    assert judged(remote(failing(4000, *range(2000))), 0.99).verdict is Verdict.FAIL


def test_calls_after_the_planned_time_count_against_it_alone() -> None:
    """Each of three processes makes calls of 5 ms for 20 s by plan, 4000; what came behind was for other limits."""
    better = availability(remote(*[np.concatenate([spread(4000, 0.01), clean(40_000)])] * 3), None, "")
    planned = availability(remote(*[spread(4000, 0.01)] * 3), None, "")
    assert better.value is not None
    assert planned.value is not None
    assert better.value > planned.value
    assert better.bound == pytest.approx(planned.bound, abs=5e-4)
    worse = availability(remote(*[np.concatenate([spread(4000, 0.01), spread(40_000, 0.05)])] * 3), None, "")
    assert worse.bound is not None
    assert planned.bound is not None
    assert worse.bound < planned.bound


def test_the_longest_run_is_within_a_process() -> None:
    first, second = failing(100, 97, 98, 99), failing(100, 0, 1, 50, 51, 52, 53)
    assert longest_failures(remote(first, second)) == 4
    assert longest_failures(remote(clean(100))) == 0


def test_the_longest_time_without_an_answer_ends_with_one() -> None:
    """Ten late calls of 0.1 s each, then an answer of some 5 ms."""
    assert longest_without_answer_s(remote(failing(100, *range(10, 20)))) == pytest.approx(1.005, abs=0.003)
    assert longest_without_answer_s(remote(failing(100, *range(95, 100)))) == pytest.approx(0.5)


def test_on_a_sensors_clock_inputs_that_were_dropped_are_waited_for() -> None:
    """At 100 Hz a late call of 100 ms drops nine releases: 100 ms, then the next answer, due at 110 ms."""
    measured = remote(failing(100, 20), clock=SensorClock(100.0, "drop"))
    assert measured.uniform.calls < 100
    assert longest_without_answer_s(measured) == pytest.approx(0.115, abs=0.003)
    finding = availability(measured, None, "")
    assert finding.samples == measured.uniform.calls
    assert finding.details["failed"] == {"late": 1}


def test_contents_count_together() -> None:
    measured, other = remote(clean(), clean(), clean()), remote(failing(40, 3), clean(40), clean(40))
    measured.samples = replace(other.uniform, name=SAMPLES, given=4)
    assert availability(measured, None, "").samples == 12_120


def test_the_span_is_what_the_requests_took() -> None:
    measured = remote(clean(10), clean(10), clean(10))
    measured.uniform.requests = [[Request(10, 0, 20_000_000_000, 0)]] * 3
    assert span_s(measured) == 60.0


def test_bursts_are_told() -> None:
    (note,) = availability(remote(failing(4000, *range(100, 140)), clean(), clean()), None, "").notes
    assert "up to 40 in a row" in note
    assert "bursts" in note
    (note,) = availability(remote(spread(4000, 0.01), clean(), clean()), None, "").notes
    assert "bursts" not in note


# Other metrics


def at_limit(measured: Measurement, limit: float) -> Check:
    return judge(latency(measured, P99, "", limit), [Limit("latency_p99_ms", limit, "net.py")])


def test_a_p99_whose_failed_calls_exceed_one_percent_is_infinite_and_breaks_any_limit() -> None:
    codes = spread(4000, 0.04)
    check = at_limit(remote(codes, codes, codes), 1e9)
    assert check.finding.value == float("inf")
    assert check.verdict is Verdict.FAIL
    assert "480 of 12000 calls failed (late 480)" in check.reason


def test_a_p99_with_fewer_failed_calls_is_finite_and_keeps_its_limit() -> None:
    codes = spread(4000, 0.001)
    check = at_limit(remote(codes, codes, codes), 20.0)
    assert check.finding.value is not None
    assert check.finding.value < 10
    assert check.verdict is Verdict.PASS


def test_an_open_p99_says_how_many_calls_failed() -> None:
    codes = spread(300, 0.01)
    check = at_limit(remote(codes, codes, codes), 20.0)
    assert check.verdict is Verdict.INCONCLUSIVE
    assert "9 of 900 calls failed (late 9)" in check.reason


def test_a_failed_call_misses_the_deadline() -> None:
    codes = spread(4000, 0.04)
    finding = deadline_miss_rate(remote(codes, codes, codes), 1e6, 0.01, "")
    assert finding.value == 0.04
    assert finding.details["missed"] == 480


def test_the_slowest_may_have_no_answer() -> None:
    check = judge(latency_max(remote(failing(100, 3)), 50.0, ""), [Limit("latency_max_ms", 50.0, "net.py")])
    assert check.verdict is Verdict.FAIL
    assert "1 of 100 calls failed (late 1)" in check.reason


def test_published_durations_are_finite_and_say_how_many_failed() -> None:
    durations, more = published(remote(failing(4000, 1, 2), clean(), clean()), [])
    assert np.isfinite(durations).all()
    assert len(durations) == 11_998
    assert more["failed"] == 2


def test_a_median_beside_the_sensors_clock_may_be_infinite() -> None:
    measured = remote(clean(100), clean(100), clean(100), clock=SensorClock(100.0, "drop"))
    measured.closed_p50_ms = float("inf")
    assert latency(measured, P50, "").details["closed_loop_p50_ms"] == "inf"


def test_late_is_a_kind() -> None:
    assert availability(remote(failing(9, 1, code=LATE)), None, "").details["failed"] == {"late": 1}


MANY = [(0, 1), (0, 459), (3, 459), (230, 459), (458, 459), (459, 459), (40, 12_000)]


@pytest.mark.parametrize(("hits", "count"), MANY)
def test_the_bound_for_many_calls_is_the_one_for_few(hits: int, count: int) -> None:
    wanted = quantiles.proportion_upper_bound(hits, count)
    assert quantiles.share_upper_bound(hits, count) == pytest.approx(wanted, rel=1e-9)
