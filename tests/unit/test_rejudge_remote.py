"""Evidence of a backend that calls another computer judged again: failed calls, and availability."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.checks.check import Verdict
from harness.checks.finding import Finding
from harness.checks.limits import Limit
from harness.endpoint import Endpoint, Prices
from harness.evidence.schema import CheckEntry
from harness.measure import latency
from harness.measure.artifact_size import ARTIFACT_SIZE
from harness.measure.availability import availability
from harness.measure.cost import Rate, Sizes, cost_per_hour, cost_per_million
from harness.measure.elsewhere import not_on_device
from harness.measure.first_part import P99 as FIRST_P99
from harness.measure.first_part import first_part
from harness.measure.measurement import Measurement
from harness.model.sensor_clock import SensorClock
from harness.parity import PARITY
from harness.release.rejudge import Rejudged, rejudge
from tests.support.failing_calls import clean, failing, remote
from tests.support.rejudging import CALM, PARITY_LIMIT, limits_of, read_run, write_cell
from tests.unit.test_first_part import streamed

LIMITS = {"availability_min": 0.9, "latency_p50_ms": 20.0, "latency_p99_ms": 20.0}
LIMITS |= {"deadline_ms": 50.0, "deadline_miss_rate": 0.01}


def write(folder: Path, measured: Measurement) -> dict[str, Any]:
    measured.states = [(CALM, CALM)] * 3

    def findings(raw: str) -> list[Finding]:
        return [
            availability(measured, LIMITS["availability_min"], raw),
            latency.latency(measured, latency.P50, raw, 20.0),
            latency.latency(measured, latency.P99, raw, 20.0),
            latency.deadline_miss_rate(measured, 50.0, 0.01, raw),
        ]

    tolerance = Limit(PARITY.limit_key, PARITY_LIMIT, "net.py: tolerance")
    return write_cell(folder, findings, (*limits_of(LIMITS), tolerance), measured=measured, backend="oip")


def judged(folder: Path, cell: dict[str, Any]) -> list[Rejudged]:
    run, cells = read_run(cell)
    return rejudge(folder, run, cells[0], limits_of(LIMITS), PARITY_LIMIT)


def test_what_an_emulated_service_takes_is_not_judged_again_either(tmp_path: Path) -> None:
    cell = write(tmp_path, remote(*[clean(2000)] * 3)) | {"service_emulated": True}
    for check in cell["checks"]:
        if check["metric"] != "parity":
            check["verdict"] = "PASS" if check["metric"] == "availability" else "NOT_APPLICABLE"
    problems = {result.metric: result for result in judged(tmp_path, cell)}
    assert {str(result.check.verdict) for name, result in problems.items() if name != "parity"} == {"NOT_APPLICABLE"}
    assert "the evidence says PASS, and NOT_APPLICABLE" in problems["availability"].problem
    assert problems["latency_p99_ms"].check.finding.value is not None


FEW = failing(2000, *range(0, 2000, 100))
MANY = failing(2000, *range(0, 2000, 20))


@pytest.mark.parametrize("codes", [clean(2000), FEW, MANY])
@pytest.mark.parametrize("clock", [None, SensorClock(100.0, "drop")])
def test_every_check_is_made_again_as_it_was(tmp_path: Path, codes: Any, clock: SensorClock | None) -> None:
    cell = write(tmp_path, remote(codes.copy(), codes.copy(), codes.copy(), clock=clock))
    for result, check in zip(judged(tmp_path, cell), cell["checks"], strict=True):
        assert result.problem == ""
        assert result.check.verdict == check["verdict"]


def test_failed_calls_break_a_p99_again(tmp_path: Path) -> None:
    cell = write(tmp_path, remote(MANY, MANY, MANY))
    assert [result.check.verdict for result in judged(tmp_path, cell)] == [
        Verdict.PASS,
        Verdict.PASS,
        Verdict.FAIL,
        Verdict.FAIL,
    ]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda cell: cell["checks"][0].pop("raw_failures"), "raw: an inference took -1 ns"),
        (lambda cell: cell["checks"][0].pop("raw_failures_sha256"), "raw_failures_sha256"),
        (lambda cell: cell["checks"][0].update(raw_failures="samples/other.npy"), "raw_failures: "),
        (lambda cell: cell["checks"][0].update(failed={"late": 1}), "failed"),
        (lambda cell: cell["checks"][0].update(longest_failures=0), "longest_failures"),
        (lambda cell: cell["checks"][0].update(span_s=99.0), "span_s"),
        (lambda cell: cell["timed"].update(timeout_ms=None), "calls failed of a backend that makes none"),
        (lambda cell: cell["timed"]["contents"][0].update(requests=[]), "there are requests of 0"),
        (lambda cell: cell["timed"]["contents"][0]["requests"][0][0].__setitem__(1, 0), "calls failed in a request"),
        (lambda cell: cell["timed"]["contents"][0]["requests"][0].pop(), "its requests add up"),
    ],
)
def test_what_was_changed_is_told(tmp_path: Path, change: Any, problem: str) -> None:
    cell = write(tmp_path, remote(FEW, FEW, FEW))
    change(cell)
    result = judged(tmp_path, cell)[0]
    assert problem in result.problem


def test_codes_are_a_file_of_their_own_and_only_where_calls_failed(tmp_path: Path) -> None:
    check = CheckEntry.model_validate(write(tmp_path / "few", remote(FEW, FEW, FEW))["checks"][0])
    assert check.raw_failures == "samples/net-pi4-oip.failures.npy"
    codes = np.load(tmp_path / "few" / check.raw_failures)
    assert codes.dtype == np.int64
    assert np.count_nonzero(codes) == 60
    none = write(tmp_path / "none", remote(clean(500), clean(500), clean(500)))
    assert "raw_failures" not in none["checks"][0]


PRICES = Prices(per_instance_hour_usd=Decimal("0.1"), instances=3, per_gb_in_usd=Decimal("0.016"), source="a list")
PRICED = Endpoint(name="cloud", path=Path("cloud.toml"), description="d", kind="sagemaker", prices=PRICES)
COSTS = {"cost_per_hour_usd": 0.3, "cost_per_million_usd": 1.0, "deadline_ms": 50.0, "first_part_p99_ms": 3.0}


def costly(folder: Path, endpoint: Endpoint, rate: Rate | None, **keys: Any) -> dict[str, Any]:
    measured = streamed(clean(2000))
    measured.states = [(CALM, CALM)] * 3

    def findings(raw: str) -> list[Finding]:
        return [
            cost_per_hour(endpoint, 0.3),
            cost_per_million(endpoint, rate, Sizes(1000, 10), 1.0),
            first_part(measured, FIRST_P99, raw, 3.0, is_streamed=True),
        ]

    return write_cell(folder, findings, limits_of(COSTS), measured=measured, backend="sagemaker", **keys)


def test_a_first_part_of_an_emulated_service_is_made_again_with_its_figure(tmp_path: Path) -> None:
    cell = costly(tmp_path, PRICED, Rate.of_model(30.0, None), service_emulated=True)
    assert (cell["checks"][2]["verdict"], cell["checks"][2]["value"] > 0) == ("NOT_APPLICABLE", True)
    run, cells = read_run(cell)
    *_, first = rejudge(tmp_path, run, cells[0], limits_of(COSTS), PARITY_LIMIT)
    assert (first.problem, first.check.verdict) == ("", Verdict.NOT_APPLICABLE)


def test_a_first_part_that_was_timed_is_not_left_out(tmp_path: Path) -> None:
    cell = costly(tmp_path, PRICED, Rate.of_model(30.0, None))
    left_out = {"metric": "first_part_p50_ms", "verdict": "NOT_APPLICABLE", "value": None, "bound": None}
    left_out |= {"bound_low": None, "raw": None, "raw_sha256": None, "raw_first_parts": None}
    cell["checks"].append({**cell["checks"][2], **left_out, "raw_first_parts_sha256": None})
    run, cells = read_run(cell)
    *_, first = rejudge(tmp_path, run, cells[0], limits_of(COSTS), PARITY_LIMIT)
    assert "raw_first_parts" in first.problem


@pytest.mark.parametrize("rate", [Rate.of_model(None, 50.0), Rate.of_model(30.0, None), None])
@pytest.mark.parametrize("endpoint", [PRICED, replace(PRICED, prices=None)])
def test_costs_and_first_parts_are_judged_again(tmp_path: Path, endpoint: Endpoint, rate: Rate | None) -> None:
    cell = costly(tmp_path, endpoint, rate)
    run, cells = read_run(cell)
    for result, check in zip(
        rejudge(tmp_path, run, cells[0], limits_of(COSTS), PARITY_LIMIT), cell["checks"], strict=True
    ):
        assert (result.problem, result.check.verdict) == ("", check["verdict"])


def test_a_cost_that_does_not_follow_from_its_prices_is_told(tmp_path: Path) -> None:
    cell = costly(tmp_path, PRICED, Rate.of_model(30.0, None))
    cell["checks"][0]["prices"]["instances"] = 4
    cell["checks"][1]["request_bytes"] = 2000
    cell["checks"][2].update(value=0.1)
    run, cells = read_run(cell)
    hour, million, first = rejudge(tmp_path, run, cells[0], limits_of(COSTS), PARITY_LIMIT)
    assert hour.problem
    assert million.problem
    assert first.problem.startswith("value: ")
    assert not first.remark
    for key, value in (("raw_first_parts", None), ("raw_first_parts_sha256", None), ("raw_first_parts", "samples/x")):
        changed = {**cell, "checks": [{**cell["checks"][2], key: value}]}
        run, cells = read_run(changed)
        (result,) = rejudge(tmp_path, run, cells[0], limits_of(COSTS), PARITY_LIMIT)
        assert "raw_first_parts" in result.problem


def test_what_only_the_server_knows_is_left_out_again(tmp_path: Path) -> None:
    endpoint = {"name": "cloud", "url": "https://h", "model": ""}
    findings = [not_on_device(ARTIFACT_SIZE)]
    cell = write_cell(tmp_path, lambda raw: findings, (), measured=remote(clean(500)), backend="oip", endpoint=endpoint)
    run, cells = read_run(cell)
    (result,) = rejudge(tmp_path, run, cells[0], (), PARITY_LIMIT)
    assert (result.problem, result.check.verdict) == ("", Verdict.NOT_APPLICABLE)
