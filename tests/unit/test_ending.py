"""The end of a run: whatever goes wrong with the report is a line, and the evidence has the decision."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness import Input, Model
from harness.backends import load_backend
from harness.cell import Cell
from harness.checks.check import Check, Verdict
from harness.checks.finding import Finding
from harness.checks.limits import Limit
from harness.device.device import Device
from harness.evidence.writer import Evidence
from harness.host.cache import write_atomically
from harness.measure import known_metrics
from harness.model.model_file import ModelFile
from harness.report.formats import load_format
from harness.report.making import make_report
from harness.report.report import Report
from harness.run import ending
from harness.run.ending import conclude, look_at
from harness.run.run import Run

P99 = known_metrics()["latency_p99_ms"]


def build() -> Any:
    """What a model file has; never called here."""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run that is over but for its end, with a cell that fails; not under GitHub Actions."""
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    file = ModelFile(tmp_path / "net.py", Model(build=build, inputs=[Input("x", shape=(1,))], name="net"), ())
    keys: dict[str, Any] = {"description": "a board", "link": "ssh", "host": "h", "backends": ("onnxruntime",)}
    cell = Cell(file, Device(name="pi4", path=tmp_path / "pi4.toml", **keys), load_backend("onnxruntime"))
    evidence = Evidence(tmp_path / "hil", [cell])
    evidence.begin()
    limit = Limit(P99.limit_key, 10.0, "net.py: limits")
    evidence.add_check(cell, Check(Finding(P99, value=20.0, bound=20.0), limit, Verdict.FAIL, "wanted ≤ 10"))
    evidence.finish(keep=[cell])
    evidence.release()
    refused = frozenset({Verdict.FAIL, Verdict.INCONCLUSIVE})
    options = SimpleNamespace(prefer=("latency_p99_ms",), within_percent=5.0, refused=refused)
    return cast(Run, SimpleNamespace(options=options, evidence=evidence, cells=[cell]))


def written(run: Run) -> dict[str, Any]:
    """What evidence.json has."""
    found: dict[str, Any] = json.loads((run.evidence.folder / "evidence.json").read_text())
    return found


def stored(run: Run) -> list[dict[str, Any]]:
    """The decision in evidence.json."""
    found: list[dict[str, Any]] = written(run)["decision"]
    return found


def test_the_decision_is_stored_and_the_page_written(run: Run) -> None:
    done = conclude(run, is_interrupted=False)
    assert done.report is not None
    assert [each["taken"] for each in stored(run)] == [None]
    assert done.report.sections[0].description == "a board"
    assert done.remarks == (f"report: {run.evidence.folder / 'report.html'}",)
    assert done.commands == ()
    assert "net on pi4" in (run.evidence.folder / "report.html").read_text()


def test_the_evidence_has_its_verdict_once_the_page_is_made_and_before_that_is_written(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, order = run.evidence.folder, []
    make, save = load_format("html"), write_atomically

    def look(moment: str) -> None:
        order.append((moment, written(run)["verdict"], (folder / "report.html").exists()))

    def making(report: Report) -> str:
        look("making")
        return make(report)

    def saving(path: Path, text: str) -> None:
        look("writing")
        save(path, text)

    monkeypatch.setattr(ending, "load_format", lambda _: making)
    monkeypatch.setattr(ending, "write_atomically", saving)
    conclude(run, is_interrupted=False)
    look("over")
    assert order == [("making", "INCONCLUSIVE", False), ("writing", "FAIL", False), ("over", "FAIL", True)]


def test_a_run_of_no_cells_has_no_page(run: Run) -> None:
    run.evidence.finish(keep=[])
    assert conclude(run, is_interrupted=False).remarks == ()
    assert written(run)["finished"] is not None
    assert not (run.evidence.folder / "report.html").exists()


def test_an_interrupted_run_leaves_the_page_out_and_says_how_to_make_it(run: Run) -> None:
    done = conclude(run, is_interrupted=True)
    assert len(stored(run)) == 1
    assert "interrupted; hilgate report" in done.remarks[0]
    assert not (run.evidence.folder / "report.html").exists()


class Panic(BaseException):
    """As vl-convert's Rust raises it: no Exception."""


@pytest.mark.parametrize("error", [ValueError("first\nsecond"), Panic("\x1b[2J"), MemoryError(), RecursionError()])
def test_a_page_that_cannot_be_made_is_a_line(run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(_: object) -> str:
        raise error

    monkeypatch.setattr("harness.report.formats.html.render_page", fail)
    done = conclude(run, is_interrupted=False)
    (line,) = done.remarks
    assert line.startswith(f"report: could not be made: {type(error).__name__}")
    assert line.isprintable()
    assert "second" not in line
    assert len(stored(run)) == 1


def test_a_page_that_cannot_be_written_is_a_line(run: Run) -> None:
    (run.evidence.folder / "report.html").mkdir()
    (line,) = conclude(run, is_interrupted=False).remarks
    assert line.startswith("report: could not be made: ")


def test_a_decision_that_cannot_be_made_is_a_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "make_report", lambda *_, **__: 1 / 0)
    for done in (conclude(run, is_interrupted=False), look_at(run)):
        assert done.report is None
        assert done.remarks == ("the tables cannot be shown: ZeroDivisionError: division by zero",)
    assert written(run)["verdict"] == "FAIL"


def test_a_decision_that_json_cannot_hold_is_a_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(*arguments: Any, **keys: Any) -> Report:
        (section,) = make_report(*arguments, **keys).sections
        endless = section.decision.model_copy(update={"within_percent": float("inf")})
        return Report(sections=(replace(section, decision=endless),), sources=())

    monkeypatch.setattr(ending, "make_report", make)
    done = conclude(run, is_interrupted=False)
    assert done.remarks[0].startswith("the decision could not be stored: ValueError")
    assert (stored(run), written(run)["verdict"]) == ([], "FAIL")


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_who_interrupts_it_is_obeyed(run: Run, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]) -> None:
    def interrupt(_: object) -> str:
        raise error

    monkeypatch.setattr("harness.report.formats.html.render_page", interrupt)
    with pytest.raises(error):
        conclude(run, is_interrupted=False)
    assert written(run)["verdict"] == "INCONCLUSIVE"


def test_github_is_told(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("\nmodel = Model()\n")
    (tmp_path / "summary").touch()
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    done = conclude(run, is_interrupted=False)
    assert [command[:29] for command in done.commands] == ["::error file=net.py,line=2,ti"]
    assert len(done.remarks) == 1
    assert "onnxruntime" in (tmp_path / "summary").read_text()
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    assert conclude(run, is_interrupted=False).remarks[-1].startswith("no job summary: ")


def test_a_run_that_begins_removes_the_page_of_the_one_before(run: Run) -> None:
    conclude(run, is_interrupted=False)
    run.evidence.begin()
    run.evidence.release()
    assert not (run.evidence.folder / "report.html").exists()
