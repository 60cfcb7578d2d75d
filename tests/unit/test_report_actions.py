"""What GitHub Actions shows of a run: the summary, and an annotation for each failing cell."""

import os
import re
from pathlib import Path
from typing import Any

import pytest

from harness.checks.check import Verdict
from harness.report.actions import MOST_ANNOTATIONS, append_summary, error_commands, is_github
from harness.report.formats.github import MOST_BYTES
from harness.report.making import make_report
from harness.report.report import Report, Source
from tests.support.evidences import make_cell, make_check, make_run, read

P99 = "latency_p99_ms"
STRICT = {Verdict.FAIL, Verdict.INCONCLUSIVE}
MODEL = '''"""A model: not this model = Model(."""

from harness import Model
# model = Model(
model: Model = Model(
    build=build,
    limits={
        "latency_p99_ms": 10,
        'accuracy_min': 0.9,
    },
)
'''


def report(*cells: dict[str, Any]) -> Report:
    return make_report([Source(folder=Path("runs"), run=read(make_run(cells)))])


def failing(backend: str = "libtorch", **keys: Any) -> dict[str, Any]:
    return make_cell(backend, [make_check(P99, 20.0, 10.0, **keys)])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    path = tmp_path / "models" / "net.py"
    path.write_text(MODEL)
    return path


def commands(made: Report, model: Path, refused: set[Verdict] | None = None) -> list[str]:
    environ = {"GITHUB_WORKSPACE": str(model.parents[1])}
    return list(error_commands(made, {"net": model}, environ, STRICT if refused is None else refused))


@pytest.mark.parametrize(
    ("check", "line"),
    [
        pytest.param(make_check(P99, 20.0, 10.0), 8, id="the limit's key"),
        pytest.param(make_check("accuracy", 0.5, 0.9), 9, id="a lower limit's key"),
        pytest.param(make_check("memory_peak_mib", 20.0, 10.0), 5, id="a device's limit: the model"),
    ],
)
def test_a_failing_cell_is_annotated_at_the_models_line(model: Path, check: dict[str, Any], line: int) -> None:
    (command,) = commands(report(make_cell("libtorch", [check]), make_cell("a", [make_check(P99, 1.0, 10.0)])), model)
    assert command.startswith(f"::error file=models/net.py,line={line},title=net on pi4%2C libtorch%3A FAIL::")
    assert f"{check['metric']}: wanted" in command


@pytest.mark.parametrize("text", ["x = 1\n", ""])
def test_a_file_that_has_no_such_line_is_annotated_at_its_beginning(model: Path, text: str) -> None:
    model.write_text(text)
    assert "line=1," in commands(report(failing()), model)[0]
    model.unlink()
    assert "line=1," in commands(report(failing()), model)[0]


def test_a_file_outside_the_workspace_is_not_named(model: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    for environ in ({"GITHUB_WORKSPACE": str(tmp_path / "other")}, {}):
        (command,) = error_commands(report(failing()), {"net": model}, environ, STRICT)
        assert command.startswith("::error title=")


UNUSABLE = "nothing was measured: pi4 is in use\n  found: x"


@pytest.mark.parametrize(
    ("cell", "strict", "lenient"),
    [
        pytest.param(failing(), 1, 1, id="FAIL"),
        pytest.param(make_cell("a", [make_check(P99, None, 10.0)]), 1, 0, id="INCONCLUSIVE"),
        pytest.param(make_cell("a", [], error=UNUSABLE), 1, 1, id="a device that cannot be used"),
        pytest.param(make_cell("a", [make_check(P99, 1.0, 10.0)]), 0, 0, id="PASS"),
        pytest.param(make_cell("a", [make_check(P99, 1.0)]), 0, 0, id="MEASURED"),
        pytest.param(make_cell("a", [], verdict="NOT_APPLICABLE", not_built="no compiler"), 0, 0, id="not built"),
    ],
)
def test_what_is_annotated_is_what_fails_the_run(model: Path, cell: dict[str, Any], strict: int, lenient: int) -> None:
    made = report(cell)
    assert len(commands(made, model)) == strict
    assert len(commands(made, model, {Verdict.FAIL})) == lenient


@pytest.mark.parametrize("more", [0, 1, 30])
def test_ten_cells_are_annotated_and_the_rest_counted(model: Path, more: int) -> None:
    found = commands(report(*(failing(f"b{number}") for number in range(MOST_ANNOTATIONS + more))), model)
    assert [line.startswith("::error ") for line in found] == [True] * MOST_ANNOTATIONS + [False] * bool(more)
    if more:
        assert found[-1].startswith(f"and {more} more failing cells")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a\n::error file=x::pwned\r\n::stop-commands::t", id="commands"),
        pytest.param("100% ,title=x::y%0A::warning::z", id="escapes of its own"),
        pytest.param("##[error]x\n##vso[task.x]y\x1b[2J\u202e", id="others"),
    ],
)
def test_an_annotation_is_one_line_whatever_is_in_it(model: Path, text: str) -> None:
    cell = make_cell(f"b{text}", [make_check(P99, 20.0, 10.0, reason=text)], error=text, device=text)
    (command,) = commands(report(cell), model)
    assert command.isprintable()
    found = re.fullmatch(r"::error ([^:]*)::(.*)", command)
    assert found is not None
    assert [part.split("=")[0] for part in found[1].split(",")] == ["file", "line", "title"]
    assert not re.search(r"%(?!0A|25|0D|2C|3A)", command)
    assert "##[" not in command


def test_the_summary_is_appended_to_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "summary"
    path.write_text("# before\n")
    assert append_summary(report(failing()), {"GITHUB_STEP_SUMMARY": str(path)}) == ""
    text = path.read_text()
    assert text.startswith("# before\n\n## net on pi4")
    assert "| libtorch |" in text


@pytest.mark.parametrize("there", [0, 1_000, MOST_BYTES - 5_000, MOST_BYTES - 500, MOST_BYTES - 10, MOST_BYTES + 10])
def test_the_summary_stays_below_a_mebibyte_with_what_is_there(tmp_path: Path, there: int) -> None:
    path = tmp_path / "summary"
    path.write_bytes(b"x" * there)
    cells = [failing(f"b{number}", reason=f"{number} " + "y" * 1_990) for number in range(700)]
    said = append_summary(report(*cells), {"GITHUB_STEP_SUMMARY": str(path)})
    assert path.stat().st_size < 1 << 20 or path.stat().st_size == there
    assert bool(said) == (MOST_BYTES - there < 450)
    assert bool(said) or b"Cut here" in path.read_bytes()


@pytest.mark.parametrize("kind", ["unset", "empty", "missing", "folder", "pipe", "not writable"])
def test_a_summary_that_cannot_be_written_is_a_line(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "summary"
    environ = {} if kind == "unset" else {"GITHUB_STEP_SUMMARY": "" if kind == "empty" else str(path)}
    if kind == "folder":
        path.mkdir()
    if kind == "pipe":
        os.mkfifo(path)
    if kind == "not writable":
        environ = {"GITHUB_STEP_SUMMARY": "/proc/version"}
    said = append_summary(report(failing()), environ)
    assert said.startswith("no job summary: ")
    assert "\n" not in said
    assert path.exists() == (kind in ("folder", "pipe"))


@pytest.mark.parametrize(
    ("environ", "expected"), [({"GITHUB_ACTIONS": "true"}, True), ({"GITHUB_ACTIONS": "false"}, False), ({}, False)]
)
def test_only_github_is_github(environ: dict[str, str], expected: bool) -> None:
    assert is_github(environ) is expected
