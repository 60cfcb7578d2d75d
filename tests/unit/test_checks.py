"""Verdicts: what a finding comes to under its limits, and cells and runs under their checks."""

import json
from typing import Any

import pytest

from harness.checks.check import EMULATED, Check, Verdict, judge, overall, refuse_no_finding
from harness.checks.finding import Finding
from harness.checks.limits import Limit, Metric
from harness.errors import InputError
from harness.evidence.parts import describe_check

P99 = Metric("latency_p99_ms", "ms", "99th percentile", wall_clock=True)
ACCURACY = Metric("accuracy", "", "top-1", bound="min")
PARITY = Metric("parity", "", "worst error ratio")

PASS, MEASURED, FAIL, INCONCLUSIVE, INELIGIBLE, NOT_APPLICABLE = Verdict


def limits(key: str, *values: float) -> list[Limit]:
    return [Limit(key, value, f"file {number}") for number, value in enumerate(values, 1)]


def found(value: float | None = None, bound: float | None = None, **more: Any) -> Finding:
    return Finding(P99, value, bound, **more)


@pytest.mark.parametrize(
    ("finding", "values", "verdict", "reason"),
    [
        pytest.param(found(20, 30), [33], PASS, "", id="bound-keeps-the-limit"),
        pytest.param(found(20, 33), [33], PASS, "", id="bound-at-the-limit"),
        pytest.param(found(0, 0), [0], PASS, "", id="zero-keeps-zero"),
        pytest.param(found(20, 30), [], MEASURED, "", id="no-limit"),
        pytest.param(found(20, no_bound_reason="7 samples"), [], MEASURED, "", id="no-limit-no-bound"),
        pytest.param(found(20, 30, invalid_reason="throttled"), [], MEASURED, "throttled", id="no-limit-in-doubt"),
        pytest.param(found(no_bound_reason="no sample"), [], INCONCLUSIVE, "no sample", id="no-limit-no-value"),
        pytest.param(found(), [], INCONCLUSIVE, "nothing was measured", id="no-limit-nothing"),
        pytest.param(
            found(30, 40), [33], FAIL, "wanted ≤ 33 ms (file 1); found 40 ms", id="bound-breaks-though-estimate-keeps"
        ),
        pytest.param(
            found(30, 40.123456, confidence=0.99, samples=1000),
            [33],
            FAIL,
            "wanted ≤ 33 ms (file 1); found 40.12 ms at 99% confidence (estimate 30, 1000 samples)",
            id="broken-with-confidence",
        ),
        pytest.param(found(30, float("inf")), [33], FAIL, "wanted ≤ 33 ms (file 1); found inf ms", id="infinite"),
        pytest.param(found(30, float("nan")), [33], FAIL, "wanted ≤ 33 ms (file 1); found nan ms", id="nan"),
        pytest.param(found(1, 1, failure="killed"), [33], FAIL, "killed", id="failure-within-the-limit"),
        pytest.param(found(failure="killed"), [], FAIL, "killed", id="failure-without-limit"),
        pytest.param(found(failure="killed", invalid_reason="throttled"), [33], FAIL, "killed", id="failure-in-doubt"),
        pytest.param(found(20, no_bound_reason="7 samples"), [33], INCONCLUSIVE, "7 samples", id="too-few-samples"),
        pytest.param(found(40, no_bound_reason="7 samples"), [33], INCONCLUSIVE, "7 samples", id="too-few-and-slow"),
        pytest.param(
            found(20, 30, invalid_reason="throttled"), [33], INCONCLUSIVE, "throttled", id="in-doubt-and-kept"
        ),
        pytest.param(
            found(20, 40, invalid_reason="throttled"), [33], INCONCLUSIVE, "throttled", id="in-doubt-and-broken"
        ),
        pytest.param(found(), [33], INCONCLUSIVE, "nothing was measured", id="nothing"),
        pytest.param(found(20, 30, bound_low=10), [33], PASS, "", id="two-bounds-kept"),
        pytest.param(
            found(50, 60, bound_low=40), [33], FAIL, "wanted ≤ 33 ms (file 1); found at least 40 ms", id="two-broken"
        ),
        pytest.param(
            found(50, bound_low=40), [33], FAIL, "wanted ≤ 33 ms (file 1); found at least 40 ms", id="lower-bound-alone"
        ),
        pytest.param(
            found(30, 40, bound_low=33, undecided_reason="it would take 900 blocks"),
            [33],
            INCONCLUSIVE,
            "it would take 900 blocks",
            id="between-two-bounds",
        ),
        pytest.param(
            found(30, 40, undecided_reason="900 blocks"), [33], INCONCLUSIVE, "900 blocks", id="no-lower-bound"
        ),
        pytest.param(
            found(30, 40, bound_low=20), [33], INCONCLUSIVE, "nothing was measured", id="between-without-reason"
        ),
        pytest.param(
            found(50, 60, bound_low=40, invalid_reason="throttled"), [33], INCONCLUSIVE, "throttled", id="two-in-doubt"
        ),
        pytest.param(found(not_applicable="emulated"), [33], NOT_APPLICABLE, "emulated", id="not-applicable"),
        pytest.param(found(not_applicable="emulated"), [], NOT_APPLICABLE, "emulated", id="not-applicable-no-limit"),
    ],
)
def test_a_finding_is_judged(finding: Finding, values: list[float], verdict: Verdict, reason: str) -> None:
    check = judge(finding, limits("latency_p99_ms", *values))
    assert (check.verdict, check.reason) == (verdict, reason)


@pytest.mark.parametrize(
    ("bound", "values", "verdict", "reason"),
    [
        pytest.param(0.97, [0.95], PASS, "", id="above"),
        pytest.param(0.95, [0.95], PASS, "", id="at"),
        pytest.param(0.94, [0.95], FAIL, "wanted ≥ 0.95 (file 1); found 0.94", id="below"),
        pytest.param(0.94, [], MEASURED, "", id="no-limit"),
    ],
)
def test_a_lower_bound_is_kept_from_above(bound: float, values: list[float], verdict: Verdict, reason: str) -> None:
    check = judge(Finding(ACCURACY, bound, bound), limits("accuracy_min", *values))
    assert (check.verdict, check.reason) == (verdict, reason)


@pytest.mark.parametrize(
    "finding",
    [
        pytest.param(found(20, 30, samples=1000, raw="samples/x.npy", details={"processes": [1]}), id="measured"),
        pytest.param(found(failure="killed"), id="failed"),
        pytest.param(found(no_bound_reason="no sample"), id="not-measured"),
    ],
)
def test_of_a_clock_that_is_emulated_no_figure_is_left(finding: Finding) -> None:
    check = judge(finding, limits("latency_p99_ms", 10), emulated=True)
    assert check.verdict is NOT_APPLICABLE
    assert check.finding == found(not_applicable=EMULATED)


def test_what_needs_no_clock_is_judged_on_an_emulated_cpu_too() -> None:
    finding = Finding(ACCURACY, 0.9, 0.9, samples=60)
    assert judge(finding, limits("accuracy_min", 0.95), emulated=True) == judge(finding, limits("accuracy_min", 0.95))


@pytest.mark.parametrize(
    ("metric", "values", "source"),
    [
        pytest.param(P99, [40, 20, 33], "file 2", id="smallest-upper"),
        pytest.param(ACCURACY, [0.5, 0.9, 0.7], "file 2", id="largest-lower"),
        pytest.param(P99, [33, 33], "file 1", id="alike"),
    ],
)
def test_the_strictest_of_several_limits_decides(metric: Metric, values: list[float], source: str) -> None:
    check = judge(Finding(metric, 25, 25), limits(metric.limit_key, *values))
    assert check.limit is not None
    assert check.limit.source == source


@pytest.mark.parametrize(
    ("metric", "key"),
    [
        pytest.param(P99, "latency_p90_ms", id="another-metric"),
        pytest.param(P99, "deadline_ms", id="a-parameter"),
        pytest.param(ACCURACY, "accuracy", id="the-other-side"),
    ],
)
def test_a_limit_on_something_else_does_not_count(metric: Metric, key: str) -> None:
    assert judge(Finding(metric, 1e9, 1e9), limits(key, 1)).limit is None


@pytest.mark.parametrize(
    ("verdicts", "verdict"),
    [
        pytest.param([], INCONCLUSIVE, id="nothing"),
        pytest.param([NOT_APPLICABLE], INCONCLUSIVE, id="nothing-applies"),
        pytest.param([MEASURED], MEASURED, id="measured"),
        pytest.param([MEASURED, NOT_APPLICABLE], MEASURED, id="measured-and-not-applicable"),
        pytest.param([MEASURED, PASS, NOT_APPLICABLE], PASS, id="something-judged"),
        pytest.param([PASS, INELIGIBLE], INELIGIBLE, id="ineligible"),
        pytest.param([PASS, INELIGIBLE, INCONCLUSIVE], INCONCLUSIVE, id="inconclusive"),
        pytest.param([INELIGIBLE, INCONCLUSIVE, FAIL, PASS], FAIL, id="fail"),
    ],
)
def test_the_worst_verdict_is_the_cells(verdicts: list[Verdict], verdict: Verdict) -> None:
    assert overall(verdicts) is verdict
    assert overall(verdicts[::-1]) is verdict


def test_a_checks_evidence_has_the_keys_of_the_design() -> None:
    finding = found(1.93, 2.1, confidence=0.99, samples=1000, raw="samples/x.npy", details={"processes": [500, 500]})
    assert describe_check(judge(finding, limits("latency_p99_ms", 33))).as_json() == {
        "metric": "latency_p99_ms",
        "value": 1.93,
        "unit": "ms",
        "limit": 33.0,
        "limit_source": "file 1",
        "confidence": 0.99,
        "bound": 2.1,
        "bound_low": None,
        "samples": 1000,
        "raw": "samples/x.npy",
        "raw_sha256": None,
        "better": "lower",
        "verdict": "PASS",
        "reason": "",
        "processes": [500, 500],
    }


@pytest.mark.parametrize(
    ("value", "written"),
    [
        pytest.param(float("inf"), '"inf"', id="infinity"),
        pytest.param(float("-inf"), '"-inf"', id="minus-infinity"),
        pytest.param(float("nan"), '"nan"', id="nan"),
        pytest.param(None, "null", id="none"),
        pytest.param(0.1, "0.1", id="number"),
    ],
)
def test_evidence_is_json_that_every_reader_takes(value: float | None, written: str) -> None:
    entry = describe_check(Check(Finding(PARITY, value, value), None, FAIL, "")).as_json()
    assert f'"value": {written}, "unit": ""' in json.dumps(entry, allow_nan=False)
    assert f'"bound": {written}, ' in json.dumps(entry, allow_nan=False)


GROWTH = Metric("growth_mib", "MiB", "")
TEXT: Any = "3"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        pytest.param(None, "a test recorded no finding", id="nothing"),
        pytest.param(Finding(GROWTH, value=TEXT), "a finding's value is no number", id="a-text"),
        pytest.param(Finding(GROWTH, bound=True), "a finding's bound is no number", id="true"),
    ],
)
def test_what_is_no_finding_is_refused_before_it_is_judged(found: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        refuse_no_finding(found)


def test_a_finding_is_a_finding() -> None:
    refuse_no_finding(Finding(GROWTH, value=1, bound=1.5))
    refuse_no_finding(Finding(GROWTH, no_bound_reason="no sample"))
