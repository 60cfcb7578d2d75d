"""The table at the end of a run: every metric, value, verdict and reason is in it, however wide the terminal."""

import platform
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from harness import Input, Model
from harness.backends import load_backend
from harness.cell import Cell
from harness.checks.check import Check, Verdict, judge
from harness.checks.finding import Finding
from harness.checks.limits import Limit, Metric
from harness.device.device import Device
from harness.errors import BackendError
from harness.evidence.cell_record import CellRecord
from harness.evidence.parts import describe_check
from harness.host.shipped import DEVICES
from harness.measure import known_metrics
from harness.measure.latency import deadline_miss_rate
from harness.measure.sampling import Measurement
from harness.model.model_file import ModelFile
from harness.parity import PARITY
from harness.report.summary import remark_on_local
from harness.report.terminal import STYLES
from tests.support.shown import tables

METRICS = {**known_metrics(), "parity": PARITY}
P99 = METRICS["latency_p99_ms"]
ACCURACY = METRICS["accuracy"]

WIDTHS = [pytest.param(80, id="80-columns"), pytest.param(200, id="200-columns")]


def build() -> Any:
    """What a model file has; never called here."""


def record(
    backend: str, *checks: Check, model: str = "net", link: str = "ssh", description: str = "a board", **more: Any
) -> CellRecord:
    file = ModelFile(Path("net.py"), Model(build=build, inputs=[Input("x", shape=(1,))], name=model), ())
    device = Device(
        name="pi4",
        path=Path("pi4.toml"),
        description=description,
        link=link,
        host="h",
        backends=("torchscript", "onnxruntime"),
    )
    return CellRecord(Cell(file, device, load_backend(backend)), checks=list(checks), **more)


def check(metric: Metric = P99, verdict: Verdict = Verdict.PASS, reason: str = "", **more: Any) -> Check:
    limit = more.pop("limit", None)
    found = Limit(metric.limit_key, limit, "here") if limit is not None else None
    return Check(Finding(metric, **({"value": 1.5} | more)), found, verdict, reason)


def shown(*records: CellRecord, width: int = 200, color: bool = False) -> str:
    return tables(records, width=width, color=color)


def row(text: str, first: str) -> list[str]:
    """The cells of a table's row."""
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines()]
    (found,) = [cells for cells in rows if cells[:1] == [first]]
    return found


@pytest.mark.parametrize("width", WIDTHS)
def test_every_metric_and_verdict_is_there(width: int) -> None:
    checks = [check(metric, verdict) for metric, verdict in zip(METRICS.values(), cycle(Verdict), strict=False)]
    text = shown(record("torchscript", *checks), record("onnxruntime", *checks), width=width)
    assert all(len(row(text, name)) == 4 for name in METRICS)
    assert all(verdict in text for verdict in Verdict if verdict is not Verdict.MEASURED)


@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    long = check(ACCURACY, Verdict.FAIL, reason="x " * 150, confidence=0.99, bound=123.456, limit=0.123456)
    text = shown(record("torchscript", long), record("onnxruntime", long, errors=["y" * 300]), width=width)
    assert max(map(len, text.splitlines())) <= width


def test_with_many_backends_on_a_narrow_terminal_nothing_is_cut_off() -> None:
    cells = [record("torchscript", check(metric, Verdict.INCONCLUSIVE)) for metric in (P99, ACCURACY) for _ in "12"]
    assert "…" not in shown(*cells, width=60)


FOUR = ["torchscript", "libtorch", "onnxruntime", "onnxruntime-cpp"]


def words(text: str) -> set[str]:
    """Every word that stands whole in a table's cell."""
    cells = [cell for line in text.splitlines() for cell in line.replace("┃", "│").split("│")]
    return {word for cell in cells for word in cell.split()}


def test_with_four_backends_no_word_is_broken_at_80_columns() -> None:
    checks = [
        check(value=0.0843, bound=0.0868, confidence=0.99, limit=10, verdict=Verdict.INCONCLUSIVE),
        check(METRICS["deadline_miss_rate"], Verdict.MEASURED, value=0.0, bound=0.0102, confidence=0.99),
        check(ACCURACY, limit=0.95),
    ]
    text = shown(*(record(name, *checks) for name in FOUR), width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert {"latency_p99_ms", "deadline_miss_rate", "INCONCLUSIVE", "0.0868)", "0.95", "torchscript"} <= words(text)
    assert {"onnxruntime-", "cpp"} <= words(text)


def test_a_long_name_is_broken_behind_an_underscore_where_many_backends_share_a_line() -> None:
    grown = check(METRICS["memory_growth_kib_per_1000"], value=0.944, bound=1.55, confidence=0.99)
    text = shown(*(record(name, grown) for name in FOUR), width=80)
    lines = [line.split("│")[1].strip() for line in text.splitlines() if line.startswith("│")]
    assert lines[:2] == ["memory_growth_kib_", "per_1000"]


def test_a_metric_that_nobody_asked_of_a_backend_is_a_dash_there() -> None:
    unasked = replace(check(verdict=Verdict.NOT_APPLICABLE), finding=Finding(P99, not_applicable="no", unasked=True))
    text = shown(record("torchscript", check()), record("onnxruntime", unasked))
    assert row(text, "latency_p99_ms") == ["latency_p99_ms", "1.5 PASS", "–", ""]


def test_where_the_backends_do_not_fit_side_by_side_each_has_a_line() -> None:
    counted = check(METRICS["instructions_per_inference"], value=1649908000.0, limit=2e6)
    text = shown(*(record(name, counted) for name in FOUR), width=80)
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if line.startswith("│")]
    assert rows[0] == ["instructions_per_", "torchscript", "1,649,908,000 PASS", "≤ 2,000,000"]
    assert rows[1] == ["inference", "", "", ""]
    assert [row[1:3] for row in rows[-2:]] == [["onnxruntime", "PASS"], ["onnxruntime-cpp", "PASS"]]


def test_a_metric_that_applies_to_no_cell_has_no_row_and_its_reason_below() -> None:
    absent = check(ACCURACY, Verdict.NOT_APPLICABLE, "the model file has no samples", value=None)
    text = shown(record("torchscript", check(), absent), record("onnxruntime", check(), absent))
    assert "accuracy" not in words(text.partition("└")[0])
    assert text.splitlines().count("accuracy (torchscript, onnxruntime): the model file has no samples") == 1


@pytest.mark.parametrize("width", WIDTHS)
def test_a_row_has_value_bound_and_verdict_by_backend_and_the_limit(width: int) -> None:
    torch = check(value=1.93456, bound=2.1, confidence=0.99, limit=33)
    onnx = check(value=40.1, bound=45.0, confidence=0.99, limit=33, verdict=Verdict.FAIL)
    text = shown(record("torchscript", torch), record("onnxruntime", onnx), width=width)
    assert row(text, "latency_p99_ms") == ["latency_p99_ms", "1.93 (≤ 2.1) PASS", "40.1 (≤ 45) FAIL", "≤ 33"]


@pytest.mark.parametrize(
    ("one", "cells"),
    [
        pytest.param(check(verdict=Verdict.MEASURED), ["1.5", ""], id="no-limit"),
        pytest.param(check(verdict=Verdict.NOT_APPLICABLE), ["1.5 NOT_APPLICABLE", ""], id="unjudged-value"),
        pytest.param(check(bound=2.0, limit=33), ["1.5 PASS", "≤ 33"], id="bound-without-confidence"),
        pytest.param(check(ACCURACY, bound=1.5, limit=0.95), ["1.5 PASS", "≥ 0.95"], id="lower-limit"),
        pytest.param(
            check(ACCURACY, bound=0.9, confidence=0.99, limit=0.95), ["1.5 (≥ 0.9) PASS", "≥ 0.95"], id="lower-bound"
        ),
        pytest.param(check(value=float("inf"), verdict=Verdict.FAIL), ["inf FAIL", ""], id="infinite"),
    ],
)
def test_what_a_check_looks_like(one: Check, cells: list[str]) -> None:
    assert row(shown(record("torchscript", one)), one.finding.metric.name)[1:] == cells


def test_a_metric_that_one_backend_lacks_is_a_dash_there() -> None:
    text = shown(record("torchscript", check()), record("onnxruntime", check(ACCURACY)))
    assert row(text, "latency_p99_ms") == ["latency_p99_ms", "1.5 PASS", "–", ""]
    assert row(text, "accuracy") == ["accuracy", "–", "1.5 PASS", ""]


def test_limits_that_differ_by_backend_are_both_there() -> None:
    text = shown(record("torchscript", check(limit=33)), record("onnxruntime", check(limit=20)))
    assert row(text, "latency_p99_ms")[-1] == "≤ 33 / ≤ 20"


def test_the_last_row_has_the_cells_verdicts() -> None:
    text = shown(record("torchscript", check()), record("onnxruntime", check(), errors=["killed"]))
    assert row(text, "verdict") == ["verdict", "PASS", "FAIL", ""]


@pytest.mark.parametrize("width", WIDTHS)
def test_a_reason_is_there_once_with_the_backends_that_it_holds_for(width: int) -> None:
    doubt = check(verdict=Verdict.INCONCLUSIVE, reason="the board was throttled")
    slow = check(ACCURACY, Verdict.FAIL, reason="wanted ≥ 0.95")
    lines = shown(record("torchscript", doubt, slow), record("onnxruntime", doubt), width=width).splitlines()
    assert lines.count("latency_p99_ms (torchscript, onnxruntime): the board was throttled") == 1
    assert lines.count("accuracy (torchscript): wanted ≥ 0.95") == 1


@pytest.mark.parametrize(("rate", "lines"), [pytest.param(None, 0, id="no-limit"), pytest.param(0.1, 1, id="a-limit")])
def test_that_no_deadline_is_set_is_said_to_whoever_asked_how_often_it_is_missed(
    rate: float | None, lines: int
) -> None:
    one = judge(deadline_miss_rate(Measurement(), None, rate, ""), [])
    text = shown(record("torchscript", one))
    assert text.count("sets no deadline") == lines
    assert "sets no deadline" in describe_check(one).as_json()["reason"]


def test_reasons_that_differ_are_all_there() -> None:
    text = shown(
        record("torchscript", check(verdict=Verdict.FAIL, reason="found 40 ms")),
        record("onnxruntime", check(verdict=Verdict.FAIL, reason="found 50 ms")),
    )
    assert "latency_p99_ms (torchscript): found 40 ms" in text
    assert "latency_p99_ms (onnxruntime): found 50 ms" in text


@pytest.mark.parametrize(
    ("more", "line"),
    [
        pytest.param({"errors": ["killed [9]"]}, "error (torchscript): killed [9]", id="error"),
        pytest.param({"notes": ["[a] note"]}, "note (torchscript): [a] note", id="note"),
        pytest.param({"interruptions": ["lost"]}, "open (torchscript): lost", id="open"),
        pytest.param(
            {"errors": ["a\n  found: x"], "interruptions": ["lost"]}, "error (torchscript): a", id="error-and-open"
        ),
        pytest.param({"errors": ["a"], "interruptions": ["lost"]}, "open (torchscript): lost", id="open-and-error"),
        pytest.param({"errors": ["a\n  found: x", "b"]}, "error (torchscript): b", id="two-errors"),
        pytest.param(
            {"unavailable": "nothing was measured: in use\n  found: x"},
            "device (torchscript): nothing was measured: in use",
            id="device",
        ),
    ],
)
def test_errors_and_notes_are_there_as_they_are(more: dict[str, Any], line: str) -> None:
    assert line in shown(record("torchscript", **more)).splitlines()


def test_of_a_device_that_cannot_be_used_there_is_a_line_and_no_table() -> None:
    text = shown(*(record(name, unavailable="nothing was measured: in use\n  found: x") for name in FOUR), width=200)
    reason = f"device ({', '.join(FOUR)}): nothing was measured: in use"
    assert text.splitlines() == ["net on pi4: a board", reason, ""]


def test_what_was_measured_before_a_device_was_gone_stays_in_the_table() -> None:
    text = shown(record("torchscript", check(), unavailable="the rest was not measured: gone"))
    assert row(text, "latency_p99_ms")[1] == "1.5 PASS"


def test_backends_that_were_not_built_are_one_line_below_the_table_and_no_column() -> None:
    missing = BackendError("no compiler", found="not on the PATH\nof yours", hint="install g++")
    other = BackendError("no headers")
    cells = [
        record("torchscript", check()),
        *(record(name, not_built=missing) for name in ("libtorch", "onnxruntime-cpp")),
    ]
    text = shown(*cells, record("onnxruntime", not_built=other))
    assert row(text, "verdict") == ["verdict", "PASS", ""]
    lines = text.splitlines()
    assert "libtorch, onnxruntime-cpp: not built here: no compiler (not on the PATH); install g++" in lines
    assert "onnxruntime: not built here: no headers" in lines


def test_where_nothing_was_built_the_table_says_not_applicable() -> None:
    text = shown(record("libtorch", not_built=BackendError("no compiler")))
    assert row(text, "verdict") == ["verdict", "NOT_APPLICABLE", ""]


@pytest.mark.parametrize(
    ("machine", "remark"),
    [
        pytest.param(
            "x86_64",
            "times of this x86-64 machine; --device qemu-pi4 for arm64's answers and memory, "
            "hilgate add for your board",
            id="x86-64",
        ),
        pytest.param("aarch64", "times of this arm64 machine; hilgate add for your board", id="arm64"),
    ],
)
def test_a_run_on_local_alone_says_what_its_figures_are_not(
    monkeypatch: pytest.MonkeyPatch, machine: str, remark: str
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    own = record("torchscript", check())
    cell = replace(own.cell, device=replace(own.cell.device, path=DEVICES / "local.toml"))
    local, untimed = CellRecord(cell, checks=own.checks), CellRecord(cell, checks=[check(PARITY)])
    assert remark_on_local([local, untimed], DEVICES) == remark
    assert remark_on_local([local, own], DEVICES) == ""
    assert remark_on_local([untimed], DEVICES) == ""


@pytest.mark.parametrize(
    ("more", "title"),
    [
        pytest.param({}, "net on pi4: a board", id="device"),
        pytest.param({"link": "qemu"}, "net on pi4: a board, emulated", id="emulated"),
        pytest.param({"description": "[lab] :pi: [/]"}, "net on pi4: [lab] :pi: [/]", id="brackets-are-no-markup"),
    ],
)
def test_a_title_names_model_and_device(more: dict[str, str], title: str) -> None:
    assert shown(record("torchscript", check(), **more)).splitlines()[0] == title


def test_the_sizes_that_were_timed_stand_below_the_title() -> None:
    one = record("torchscript", check())
    dims = {"batch": (1, 2), "height": (16, 1080)}
    sized = Model(build=build, inputs=[Input("x", shape=("batch", "height"))], dims=dims, name="net")
    cell = replace(one.cell, file=replace(one.cell.file, model=sized))
    lines = shown(CellRecord(cell, checks=one.checks)).splitlines()
    assert lines[1] == "timed, and memory taken, at batch = 2, height = 1080"
    both = {
        name: {"sizes": {"batch": 2, "height": height}} for name, height in {"uniform": 1080, "samples": 16}.items()
    }
    lines = shown(CellRecord(cell, checks=[check(details={"by_content": both})])).splitlines()
    assert lines[1].endswith("height = 1080; the model file's samples at batch = 2, height = 16")
    assert "timed" not in shown(one)  # of one that has no sizes to choose from
    assert "timed" not in shown(CellRecord(cell, checks=[check(PARITY)]))


def test_parity_says_how_many_inputs_were_tried() -> None:
    one = check(PARITY, value=4.1, bound=4.1, limit=30, samples=163)
    assert row(shown(record("torchscript", one)), "parity")[1] == "4.1 PASS (163 tried)"


def test_every_model_has_a_table_of_its_own() -> None:
    text = shown(record("torchscript", check(), model="a"), record("torchscript", check(), model="b"))
    assert [line for line in text.splitlines() if " on pi4" in line] == ["a on pi4: a board", "b on pi4: a board"]


@pytest.mark.parametrize(
    ("color", "escapes"), [pytest.param(True, True, id="on"), pytest.param(False, False, id="off")]
)
def test_colour_is_used_only_where_it_is_wanted(color: bool, escapes: bool) -> None:
    assert ("\x1b[" in shown(record("torchscript", check()), color=color)) is escapes


def test_every_verdict_has_a_colour() -> None:
    assert set(STYLES) == set(Verdict)


def test_without_cells_there_is_no_table() -> None:
    assert shown() == ""
