"""Cells that call an emulated service: planned, judged, and taken for nothing that they are not."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from harness.checks.check import Verdict, judge
from harness.checks.finding import Finding
from harness.checks.limits import Limit
from harness.decision import decide
from harness.endpoint import Endpoint
from harness.errors import DeviceError, InputError
from harness.evidence.cell_record import CellRecord
from harness.links.ssh import Link
from harness.measure.latency import P99, published
from harness.measure.memory import METRICS as MEMORY_METRICS
from harness.report.summary import remark_on_services
from harness.serving.service.starting import endpoint_name
from tests.support.evidences import make_cell, make_check, make_run, read
from tests.support.failing_calls import clean, remote
from tests.unit.test_remote_cells import ENDPOINT, cell_of, plan

EMULATED = replace(ENDPOINT, name="emulated", kind="emulated", url="", model="")
FILE = '[endpoint]\ndescription = "to look"\nemulated = true\n'
DEVICE = '[device]\nbackends = ["onnxruntime", "oip", "sagemaker"]\n[options.oip]\nendpoint = "laptop"\n'
DEVICE += '[options.sagemaker]\nendpoint = "laptop"\n'


def test_times_have_their_figure_and_no_verdict() -> None:
    limits = [Limit(P99.limit_key, 10.0, "net.py")]
    late = Finding(P99, 20.0, 21.0, at=lambda limit: Finding(P99, 30.0, 31.0))
    check = judge(late, limits, service_emulated=True)
    assert (check.verdict, check.finding.value, check.limit) == (Verdict.NOT_APPLICABLE, 30.0, limits[0])
    assert "the device's and the network's share" in check.reason
    assert judge(late, limits).verdict is Verdict.FAIL
    memory = MEMORY_METRICS[0]
    large = judge(Finding(memory, 9.0, 9.0), [Limit(memory.limit_key, 8.0, "net.py")], service_emulated=True)
    assert large.verdict is Verdict.FAIL


def test_what_pytest_benchmark_stores_says_so_and_has_no_verdict_either() -> None:
    limits = [Limit(P99.limit_key, 20.0, "net.py")]
    measured = remote(*[clean(2000)] * 3)
    durations, more = published(measured, limits, service_emulated=True)
    assert (len(durations), more["service_emulated"], set(more["verdicts"].values())) == (
        6000,
        True,
        {"NOT_APPLICABLE"},
    )
    _, own = published(measured, limits)
    assert (own["verdicts"]["latency_p99_ms"], "service_emulated" in own) == ("PASS", False)


def test_the_evidence_says_so_of_such_a_cell_only() -> None:
    assert CellRecord(cell_of(endpoint=EMULATED)).make_entry({}).as_json()["service_emulated"] is True
    assert "service_emulated" not in CellRecord(cell_of()).make_entry({}).as_json()


def test_no_decision_takes_it() -> None:
    checks = [make_check("parity", 3.0, 30.0), make_check("latency_p99_ms", 1.0, 10)]
    cells = [make_cell("oip", checks, service_emulated=True), make_cell("onnxruntime", checks)]
    decision = decide(read(make_run(cells)).cells)
    assert (decision.taken, [one.backend for one in decision.out]) == ("onnxruntime", ["oip"])
    assert "its service was emulated" in decision.out[0].reason
    alone = decide(read(make_run(cells[:1])).cells)
    assert (alone.taken, alone.out[0].verdict) == (None, "PASS")
    nothing = "only emulated services were called, and nothing of this speaks of a real one."
    assert alone.sentence == f"Deploy none: {nothing}"
    failed = [cells[0], make_cell("onnxruntime", [make_check("latency_p99_ms", 11.0, 10)])]
    assert decide(read(make_run(failed)).cells).sentence.startswith("Deploy none: every backend is out.")


def test_beside_the_verdict_stands_what_it_is_not_of() -> None:
    real, emulated = CellRecord(cell_of()), CellRecord(cell_of(endpoint=EMULATED))
    assert remark_on_services([real]) == ""
    said = "emulated services (oip): what is judged is answers"
    assert remark_on_services([real, emulated, emulated]).startswith(said)


def test_a_device_on_this_machine_is_planned_with_it(tmp_path: Path) -> None:
    own, *remote = plan(tmp_path, DEVICE, endpoint=FILE)
    assert not own.service_emulated
    assert [cell.service_emulated for cell in remote] == [True, True]


BOARD = f'[device]\nlink = "ssh"\nhost = "robot"\n{DEVICE.partition(chr(10))[2]}'


def test_a_board_is_planned_with_it(tmp_path: Path) -> None:
    assert [cell.service_emulated for cell in plan(tmp_path, BOARD, endpoint=FILE)] == [False, True, True]


def test_a_device_that_its_link_gives_no_way_back_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Link, "tunnels_back", False)
    with pytest.raises(DeviceError, match="no way back") as caught:
        plan(tmp_path, BOARD, endpoint=FILE)
    assert '"ssh"' in caught.value.wanted


CLOUD = '[endpoint]\ndescription = "in Ireland"\nregion = "eu-west-1"\nname = "digits"\n'


@pytest.mark.parametrize(
    ("package", "endpoint", "backends"),
    [("botocore", CLOUD, "sagemaker"), ("botocore", FILE, "sagemaker"), ("uvicorn", FILE, "oip")],
)
def test_what_is_not_installed_for_it_is_told_as_the_run_is_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, endpoint: str, backends: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # which importlib takes for "not installed"
    table = f'[options.{backends}]\nendpoint = "laptop"\n'
    with pytest.raises(InputError, match="needs packages that are not installed") as caught:
        plan(tmp_path, f'[device]\nbackends = ["onnxruntime", "{backends}"]\n{table}', endpoint=endpoint)
    assert (caught.value.found, caught.value.hint) == (f"no {package}", 'pip install "hilgate[cloud]"')
    assert caught.value.where.endswith(f"robot.toml: options.{backends}")
    own = '[device]\nbackends = ["onnxruntime"]\n'
    assert len(plan(tmp_path, own, endpoint=endpoint)) == 1  # others do not need it


@pytest.mark.parametrize(
    ("model", "expected"),
    [("digits", "digits"), ("my_net.v2", "my-net-v2"), ("__", "model"), ("a" * 62 + "-b", "a" * 62)],
)
def test_a_models_name_becomes_one_that_sagemaker_takes(model: str, expected: str) -> None:
    assert endpoint_name(model) == expected


def test_an_endpoint_is_told_in_words() -> None:
    assert isinstance(EMULATED, Endpoint)
    assert EMULATED.told == "the emulated service"
