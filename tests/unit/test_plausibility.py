"""What a device may report of a measurement, and what cannot be true: each lie is named, no honest extreme is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.checks.check import Verdict, judge
from harness.checks.finding import Finding
from harness.checks.limits import Limit
from harness.deploy import plausibility
from harness.deploy.call import Call
from harness.deploy.deployment import LoadReport
from harness.measure.instructions import refused
from harness.measure.latency import P50, P90, P99, deadline_miss_rate, latency, published
from harness.measure.load_time import load_time
from harness.measure.measurement import DURATIONS, LOAD, MEMORY, Measurement
from harness.measure.memory import memory_peak
from harness.model.model import Array

US, MS, S = 1_000, 1_000_000, 1_000_000_000
INFINITE = float("inf")


class Report:
    """An honest call that timed inferences, to be changed: they wander by some per cent."""

    def __init__(self, count: int = 1000, each: int = MS, making: int = 20 * MS, beside: int = 50 * MS) -> None:
        self.asked, self.budget_s = count, 60.0
        self.durations: Array = each + np.random.default_rng(5).integers(0, max(each // 20, 2), count)
        loop = int(self.durations.sum()) + making + each + count * 400
        self.header = {"making_ns": making, "untimed": 1, "untimed_ns": each, "loop_ns": loop}
        self.call = Call((loop + beside) / 1e9 + 0.01, loop + beside)

    def reason(self) -> str:
        return plausibility.why_durations_impossible(
            self.durations, self.header, self.call, asked=self.asked, budget_s=self.budget_s
        )


def with_durations(change: Callable[[Array], Any]) -> Callable[[Report], None]:
    def lie(report: Report) -> None:
        report.durations = np.asarray(change(report.durations))

    return lie


def with_header(key: str, value: Any) -> Callable[[Report], None]:
    def lie(report: Report) -> None:
        report.header = {name: kept for name, kept in report.header.items() if name != key}
        report.header |= {} if value is None else {key: value}

    return lie


def with_call(**changes: Any) -> Callable[[Report], None]:
    def lie(report: Report) -> None:
        report.call = replace(report.call, **changes)

    return lie


def with_one(value: int) -> Callable[[Report], None]:
    return with_durations(lambda durations: np.r_[durations[:7], value, durations[8:]])


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        pytest.param(with_one(-5), "wanted durations above 0 ns; found -5 ns (inference 7 of the call)", id="negative"),
        pytest.param(with_one(0), "found 0 ns 1 times in 1000", id="one-zero"),
        pytest.param(with_durations(lambda durations: durations * 0), "found 0 ns 1000 times in 1000", id="all-zero"),
        pytest.param(
            with_durations(lambda durations: np.where(durations > MS, np.nan, durations)), "not finite", id="nan"
        ),
        pytest.param(with_durations(lambda durations: durations * np.inf), "1000 of them not finite", id="infinite"),
        pytest.param(with_durations(lambda durations: durations / 1.0), "int64[n]; found float64[1000]", id="float"),
        pytest.param(with_durations(lambda durations: durations.reshape(2, -1)), "int64[2, 500]", id="two-axes"),
        pytest.param(with_durations(lambda durations: np.array(5)), "found int64[]", id="no-axis"),
        pytest.param(with_durations(lambda durations: durations > 0), "found bool[1000]", id="true-and-false"),
        pytest.param(with_durations(lambda durations: durations[:0]), "at least 1; found none", id="none"),
        pytest.param(with_durations(lambda durations: np.r_[durations, MS]), "at most 1000 durations", id="one-more"),
        pytest.param(with_durations(lambda durations: durations[:-1]), "found 999 in", id="one-fewer"),
        pytest.param(with_durations(lambda durations: durations // 2), "or little less; found 0.5", id="half"),
        pytest.param(with_durations(lambda durations: durations // durations), "found 1e-06 s in 1000", id="1-ns-each"),
        pytest.param(with_durations(lambda durations: durations * 2), "found 2.0", id="double"),
        pytest.param(with_one(1 << 62), "found 4.612e+09 s in 1000 durations", id="a-century"),
        pytest.param(
            with_durations(lambda durations: np.full_like(durations, 1 << 62)), "found 4.612e+12 s", id="no-overflow"
        ),
        pytest.param(with_header("loop_ns", None), "wanted loop_ns", id="no-account"),
        pytest.param(with_header("loop_ns", 10**12), "wanted a loop of at most", id="longer-than-the-call"),
        pytest.param(with_header("making_ns", -1), "wanted making_ns, a whole number of at least 0; found -1", id="<0"),
        pytest.param(with_header("making_ns", 10**12), "wanted durations of at most 0 s", id="more-making"),
        pytest.param(with_header("untimed_ns", 1.5), "wanted untimed_ns", id="half-a-nanosecond"),
        pytest.param(with_header("untimed", True), "wanted untimed, a whole number", id="untimed"),
        pytest.param(with_call(device_ns="long"), "wanted elapsed_ns, a whole number of at least 0", id="text"),
        pytest.param(with_call(device_ns=None), "wanted elapsed_ns", id="no-time-of-the-call"),
        pytest.param(with_call(host_s=0.5), "at most 0.5 s, what the call took by the host's clock", id="host's-clock"),
    ],
)
def test_durations_that_cannot_be_are_named(lie: Callable[[Report], None], said: str) -> None:
    report = Report()
    lie(report)
    assert report.reason().startswith("the device's report is impossible: wanted ")
    assert said in report.reason()


def ended_early(count: int) -> Report:
    report = Report()
    report.asked, report.durations = 1000, report.durations[:count]
    taken = int(report.durations.sum()) + 20 * MS + MS + 400 * count
    report.header = {**report.header, "loop_ns": taken}
    report.call, report.budget_s = Call(taken / 1e9 + 0.06, taken + 50 * MS), (taken - MS) / 1e9
    return report


def changed(lie: Callable[[Report], None], report: Report | None = None) -> Report:
    report = report or Report()
    lie(report)
    return report


@pytest.mark.parametrize(
    "report",
    [
        pytest.param(Report(), id="usual"),
        pytest.param(Report(20_000, 2 * US, making=3 * S), id="2-µs"),
        pytest.param(Report(1, 2 * S), id="2-s"),
        pytest.param(Report(1, 250 * S, making=30 * S), id="minutes"),
        pytest.param(Report(10, 50 * US, making=5 * S), id="inputs-that-take-longer"),
        pytest.param(ended_early(400), id="the-budget-was-used-up"),
        pytest.param(ended_early(1), id="a-budget-of-one"),
        pytest.param(changed(with_call(host_s=Report().call.host_s / 1.05)), id="a-clock-5-percent-too-fast"),
        pytest.param(changed(with_call(host_s=40.0)), id="a-link-that-stalled"),
        pytest.param(changed(with_call(host_s=INFINITE)), id="counted-instructions"),
        pytest.param(Report(beside=3 * S), id="a-device-that-is-slow-to-say-its-state"),
        pytest.param(
            changed(with_header("loop_ns", Report().header["loop_ns"] + 90 * MS), Report(beside=S)), id="busy-in-a-gap"
        ),
    ],
)
def test_an_honest_call_is_believed(report: Report) -> None:
    assert report.reason() == ""


@pytest.mark.parametrize(
    ("durations", "said"),
    [
        pytest.param(np.full(20, MS), "1000000 ns 20 times: the clock stands still, or is too coarse", id="frozen"),
        pytest.param(np.repeat([MS, 2 * MS], 200), "multiples of 1000000 ns: the clock is too coarse", id="coarse"),
        pytest.param(np.repeat([2 * MS, 4 * MS, 4 * MS], 9), "multiples of 2000000 ns", id="one-or-two-ticks"),
        pytest.param(np.full(19, MS), "", id="few-that-are-alike"),
        pytest.param(np.arange(900, 1100) * MS, "", id="a-clock-of-milliseconds-and-a-second"),
        pytest.param(Report(1000, 2 * US).durations // 18 * 18, "", id="2-µs-by-a-clock-of-54-MHz"),
    ],
)
def test_a_clock_that_stands_still_or_is_too_coarse_times_nothing(durations: Array, said: str) -> None:
    reason = plausibility.why_clock_impossible(durations)
    assert (said in reason) if said else (reason == "")


@pytest.mark.parametrize(
    ("calls", "idle_s", "said"),
    [
        pytest.param([Call(2.1, S)] * 3, 0.002, "wanted about 6.3 s in 3 calls", id="a-clock-of-half-the-rate"),
        pytest.param(
            [Call(0.2, 100 * MS), Call(1.9, 900 * MS)] * 3,
            0.01,
            "wanted about 6.3 s in 6 calls",
            id="half-of-them-short",
        ),
        pytest.param([Call(2.1, S)] * 2, 0.002, "", id="too-few-to-know-the-link"),
        pytest.param([Call(1.05, S), Call(31, S), Call(1.1, S)], 0.002, "", id="one-stalled"),
        pytest.param([Call(3.1, S)] * 3, 0.6, "", id="over-a-satellite"),
        pytest.param([Call(2.7, S, 160_000)] * 3, 0.05, "", id="a-narrow-link"),
        pytest.param([Call(0.2, MS)] * 9, 0.002, "", id="a-busy-host-and-short-calls"),
        pytest.param([Call(1.1, S)] * 9, 0.002, "", id="a-clock-10-percent-too-slow"),
    ],
)
def test_what_the_host_waited_for_is_what_the_device_accounts_for(calls: list[Call], idle_s: float, said: str) -> None:
    reason = plausibility.why_rate_impossible(calls, idle_s)
    assert (said in reason) if said else (reason == "")


WARM = {"iterations": 300, "median_ns": MS, "making_ns": 9, "settled": True}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        pytest.param({"iterations": 0}, "wanted iterations", id="none"),
        pytest.param({"iterations": 7}, "wanted a warm-up of at least 8 inferences", id="settled-too-early"),
        pytest.param({"median_ns": 0}, "wanted median_ns, a whole number of at least 1; found 0", id="no-time"),
        pytest.param({"median_ns": -MS}, "wanted median_ns", id="negative"),
        pytest.param({"median_ns": float("nan")}, "found nan", id="nan"),
        pytest.param({"median_ns": 2 * S}, "at most 0.4 s, what all of them took", id="longer-than-all"),
        pytest.param({"settled": "yes"}, "wanted settled, true or false; found 'yes'", id="a-word"),
        pytest.param({"settled": False}, "or used up the 3 s", id="gave-up-too-early"),
        pytest.param({"making_ns": -1}, "wanted making_ns", id="making"),
        pytest.param({}, "", id="honest"),
    ],
)
def test_a_warm_up_that_cannot_be_is_named(more: dict[str, Any], said: str) -> None:
    reason = plausibility.why_warm_up_impossible({**WARM, **more}, Call(0.41, 400 * MS), 3.0)
    assert (said in reason) if said else (reason == "")
    assert (
        "by the host's clock" in plausibility.why_warm_up_impossible({**WARM, **more}, Call(0.1, 400 * MS), 3.0) or said
    )


LOADED = Call(1.0, 990 * MS)


@pytest.mark.parametrize(
    ("load_ns", "first_ns", "host_s", "said"),
    [
        pytest.param(-S, MS, 1.5, "wanted load_ns, a whole number of at least 1; found -1000000000", id="negative"),
        pytest.param(0, MS, 1.5, "wanted load_ns", id="zero"),
        pytest.param(1.2e9, MS, 1.5, "found 1200000000.0", id="float"),
        pytest.param(float("nan"), MS, 1.5, "found nan", id="nan"),
        pytest.param("soon", MS, 1.5, "found 'soon'", id="text"),
        pytest.param(3 * S, MS, 1.5, "wanted a load time of at most 1.5 s, what the host saw", id="longer-than-seen"),
        pytest.param(S // 2, MS, 1.5, "wanted a load time of at least 0.99 s", id="shorter-than-the-call"),
        pytest.param(S, 0, 1.5, "wanted first_ns", id="first-inference-in-no-time"),
        pytest.param(S, 2 * S, 1.5, "wanted a first inference within the load time", id="first-longer-than-all"),
        pytest.param(1200 * MS, MS, 1.5, "", id="honest"),
        pytest.param(1510 * MS, MS, 1.5, "", id="a-tick-more-than-the-host-saw"),
        pytest.param(1200 * MS, MS, 400, "", id="a-link-that-stalled"),
    ],
)
def test_a_load_time_that_cannot_be_is_named(load_ns: Any, first_ns: Any, host_s: float, said: str) -> None:
    reason = plausibility.why_load_impossible(load_ns, first_ns, LOADED, host_s)
    assert (said in reason) if said else (reason == "")


PEAKS = {"before_runtime": 32_000, "runtime": 52_000, "model": 62_000, "first": 63_000}


@pytest.mark.parametrize(
    ("more", "peak", "said"),
    [
        pytest.param({}, 0, "wanted a peak of memory of at least 2048 KiB at the end; found 0 KiB", id="none"),
        pytest.param({}, -64_000, "found -64000 KiB", id="negative"),
        pytest.param({}, 1, "found 1 KiB", id="1-KiB"),
        pytest.param({}, 64_000.5, "found 64000.5 KiB", id="float"),
        pytest.param({}, float("nan"), "found nan KiB", id="nan"),
        pytest.param({}, 60_000, "never falls, 63000 KiB at first; found 60000 KiB at the end", id="falls-at-the-end"),
        pytest.param({"model": 40_000}, 64_000, "52000 KiB at runtime; found 40000 KiB at model", id="falls-before"),
        pytest.param({"runtime": None}, 64_000, "at runtime; found None KiB", id="a-step-is-missing"),
        pytest.param({"before_runtime": 0}, 64_000, "at before_runtime; found 0 KiB", id="nothing-at-first"),
        pytest.param({}, 2_000_000, "within the board's 1000 MiB at the end; found 2000000 KiB", id="more-than-it-has"),
        pytest.param({}, 64_000, "", id="honest"),
        pytest.param({}, 62_800, "", id="pages-not-yet-counted"),
        pytest.param(dict.fromkeys(PEAKS, 3_100), 3_100, "", id="a-small-program"),
    ],
)
def test_a_peak_of_memory_that_cannot_be_is_named(more: dict[str, Any], peak: Any, said: str) -> None:
    reason = plausibility.why_memory_impossible({**PEAKS, **more}, peak, 1000)
    assert (said in reason) if said else (reason == "")


FINDINGS: dict[str, tuple[str, Callable[[Measurement], Finding]]] = {
    "p50": (DURATIONS, lambda measured: latency(measured, P50, "raw.npy", 33.0)),
    "p90": (DURATIONS, lambda measured: latency(measured, P90, "raw.npy", 33.0)),
    "p99": (DURATIONS, lambda measured: latency(measured, P99, "raw.npy")),
    "deadline": (DURATIONS, lambda measured: deadline_miss_rate(measured, 33.0, 0.5, "raw.npy")),
    "load": (LOAD, load_time),
    "memory": (MEMORY, memory_peak),
}


@pytest.mark.parametrize("name", FINDINGS)
@pytest.mark.parametrize("limit", [1e9, 0.1, None])
def test_what_cannot_be_is_neither_a_pass_nor_a_failure_nor_a_figure(name: str, limit: float | None) -> None:
    quantity, make = FINDINGS[name]
    measured = honest()
    measured.refuse(quantity, plausibility.impossible("this", "that"))
    finding = make(measured)
    limits = [] if limit is None else [Limit(finding.metric.limit_key, limit, "here")]
    check = judge(finding, limits)
    assert (check.verdict, check.finding.value) == (Verdict.INCONCLUSIVE, None)
    assert check.reason == "the device's report is impossible: wanted this; found that"
    before = judge(make(honest()), limits)
    assert before.verdict is not Verdict.INCONCLUSIVE


@pytest.mark.parametrize("name", ["p50", "p90", "p99", "deadline", "memory"])
@pytest.mark.parametrize("limit", [1e9, None])
def test_where_the_link_was_lost_before_anything_was_timed_the_reason_is_the_links(
    name: str, limit: float | None
) -> None:
    measured = replace(Measurement(loads=honest().loads[:1]), lost=["the connection dropped: no route to host"])
    measured.uniform.processes, measured.uniform.numbers = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    finding = FINDINGS[name][1](measured)
    check = judge(finding, [] if limit is None else [Limit(finding.metric.limit_key, limit, "here")])
    assert check.verdict is Verdict.INCONCLUSIVE
    assert "no route to host" in check.reason
    assert len(published(measured, ())[0]) == 0


@pytest.mark.parametrize("durations", [np.zeros(9, np.int64), np.full(9, -5), np.full(9, 1 << 62), np.empty(0)])
def test_counted_instructions_that_cannot_be_are_no_count(durations: Array) -> None:
    report = changed(with_call(host_s=INFINITE), Report(9))
    report.durations = durations
    check = judge(refused(report.reason()), [Limit("instructions_per_inference", 1e30, "here")])
    assert check.verdict is Verdict.INCONCLUSIVE
    assert check.reason.startswith("the device's report is impossible: wanted ")


def test_what_cannot_be_is_no_benchmark() -> None:
    measured = honest()
    measured.refuse(DURATIONS, plausibility.impossible("this", "that"))
    assert len(published(measured, ())[0]) == 0
    assert len(published(honest(), ())[0]) == 3000


def honest() -> Measurement:
    load = LoadReport(
        load_ns=1200 * MS,
        memory_kib=PEAKS,
        outputs=("y",),
        runtime={},
        settings={},
        first=(),
        first_ns=MS,
        call=LOADED,
        host_s=1.5,
    )
    measured = Measurement(loads=[load] * 3, memory_peak_kib=[64_000] * 3, memory_steps_kib=[PEAKS] * 3)
    measured.uniform.processes, measured.uniform.numbers = [Report().durations] * 3, [np.arange(1000)] * 3
    return measured


SWAPPED = {"swapped_kib": 5}
READ = {"inferences": [10, 20], "anonymous_kib": [90_000, 91_000], "untimed": 5, "before": {"swapped_kib": 0}}
READ["after"] = READ["before"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({}, "", id="honest"),
        pytest.param({"inferences": [], "anonymous_kib": []}, "", id="a-kernel-that-does-not-say"),
        pytest.param({"inferences": [10, 25]}, "", id="after-the-last"),
        pytest.param({"inferences": [10]}, "2 readings, 1 numbers of inferences", id="fewer"),
        pytest.param({"inferences": [*range(1, 62)], "anonymous_kib": [1] * 61}, "at most 60 readings", id="more"),
        pytest.param({"inferences": [20, 10]}, "later than the one before; found [20, 10]", id="backwards"),
        pytest.param({"inferences": [10, 10]}, "found [10, 10]", id="twice"),
        pytest.param({"inferences": [0, 10]}, "found [0, 10]", id="before-the-first"),
        pytest.param({"inferences": [10, 26]}, "after 1 … 25 inferences", id="after-the-end"),
        pytest.param({"anonymous_kib": [0, 1]}, "above 0 KiB; found 0 KiB", id="nothing"),
        pytest.param({"anonymous_kib": [1, -1]}, "found -1 KiB", id="less-than-nothing"),
        pytest.param({"anonymous_kib": [1, 1 << 40]}, "within the board's 512 MiB", id="more-than-there-is"),
        pytest.param({"anonymous_kib": [1, 1 << 40], "after": SWAPPED}, "", id="what-was-swapped-lies-elsewhere"),
    ],
)
def test_readings_of_memory_that_cannot_be_are_named(change: dict[str, Any], said: str) -> None:
    reason = plausibility.why_growth_impossible(READ | change, 20, 512.0)
    assert said in reason
    assert bool(said) == bool(reason)
