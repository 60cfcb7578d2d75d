"""A measurement's account: it is cut and made again as it was, or is said not to fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.checks import sequential
from harness.deploy.content import SAMPLES, Timed
from harness.evidence.timed_entry import TimedEntry
from harness.measure.account import describe_timed, rebuild, why_account_doubtful
from harness.measure.measurement import DURATIONS, Measurement
from harness.model.sensor_clock import SensorClock
from tests.support.rejudging import measure


def again(measured: Measurement, **keys: Any) -> Measurement:
    given = {"raw": measured.raw, "inputs": measured.raw_inputs, "clock": measured.clock, **keys}
    return rebuild(describe_timed(measured), given.pop("raw"), given.pop("inputs"), warm_ups=measured.warm_ups, **given)


@pytest.mark.parametrize("clock", [None, SensorClock(100.0, "drop")])
@pytest.mark.parametrize("given", [0, 7])
def test_a_measurement_is_cut_as_it_was_taken(given: int, clock: SensorClock | None) -> None:
    measured = measure(count=40, given=given, clock=clock)
    made = again(measured)
    for one, other in zip(measured.contents, made.contents, strict=True):
        assert (one.name, one.given, one.step, one.block_sizes) == (
            other.name,
            other.given,
            other.step,
            other.block_sizes,
        )
        for name in ("processes", "numbers", "releases"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert (made.raw.tolist(), made.states) == (measured.raw.tolist(), measured.states)


def test_nothing_is_nothing_again() -> None:
    emulated = Measurement(memory_peak_kib=[9], memory_steps_kib=[{}])
    assert again(emulated).count == 0
    assert why_account_doubtful(describe_timed(emulated), None, []) == ""


def test_a_process_whose_connection_dropped_is_no_contradiction() -> None:
    measured = measure(count=40, given=7)
    for timed in measured.contents:
        timed.processes.append(np.empty(0, np.int64))
        timed.numbers.append(np.empty(0, np.int64))
        timed.block_sizes.append(1)
    account = describe_timed(measured)
    assert why_account_doubtful(account, None, measured.warm_ups) == ""
    assert again(measured).count == measured.count


@pytest.mark.parametrize(
    ("clock", "edit", "said"),
    [
        pytest.param(None, {"raw": np.zeros(120, np.int64)}, "took 0 ns", id="no-time"),
        pytest.param(None, {"raw": np.ones((120, 3), np.int64)}, "against its clock", id="releases"),
        pytest.param(SensorClock(100.0, "drop"), {"raw": np.zeros((120, 3), np.int64)}, "release 0 was due", id="end"),
        pytest.param(None, {"inputs": np.zeros(119, np.int64)}, "119 have an input", id="inputs"),
    ],
)
def test_what_no_device_can_have_reported_is_refused(
    clock: SensorClock | None, edit: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        again(measure(count=40, clock=clock), **edit)


def test_an_input_that_the_file_does_not_have_is_refused() -> None:
    measured = measure(count=40, given=7)
    with pytest.raises(ValueError, match="none of the 7"):
        again(measured, inputs=measured.raw_inputs + 7)


def test_processes_of_one_content_alone_are_a_contradiction() -> None:
    content = describe_timed(measure(count=40, given=7)).as_json()
    content["contents"][1]["processes"].pop()
    account = TimedEntry.model_validate(content)
    assert "different numbers of processes" in why_account_doubtful(account, None, [])


def test_a_clock_that_stands_still_is_not_believed_again() -> None:
    measured = measure(count=400)
    measured.uniform.processes = [np.full(400, 5)] * 3
    assert "the clock stands still" in again(measured).impossible[DURATIONS]


@pytest.mark.parametrize("given", [1, 3, 50])
def test_the_median_of_each_input_is_numpys(given: int) -> None:
    random = np.random.default_rng(given)
    values, numbers = random.lognormal(0, 1, 60), random.integers(0, given, 60)
    values[random.random(60) < 0.1] = np.inf
    timed = Timed(name=SAMPLES, given=given, processes=[values], numbers=[numbers], unit=1)
    expected = [float(np.median(values[numbers == number])) for number in np.unique(numbers)]
    assert timed.medians().tolist() == expected


@pytest.mark.parametrize("allowed", [0.001, 0.01, 0.1, 0.5])
def test_a_limit_is_decided_where_the_whole_wealth_says_so(allowed: float) -> None:
    random, target = np.random.default_rng(1), -np.log(sequential.RISK)
    for times in np.repeat([0.0, 0.2, 1.0, 2.0, 5.0], 20):
        shares = random.binomial(20, min(allowed * times, 1.0), random.integers(1, 900)) / 20
        kept = sequential.keeping_wealth(shares, allowed).max() >= target
        broken = sequential.breaking_wealth(shares, allowed)[sequential.BROKEN_BLOCKS - 1 :].max(initial=-1) >= target
        assert (sequential.is_kept(shares, allowed), sequential.is_broken(shares, allowed)) == (kept, broken)
