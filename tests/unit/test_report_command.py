"""`hilgate report`: what it reads, what it writes where, and how it refuses what cannot be."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from harness.cli import cli
from tests.support.evidences import make_cell, make_check, make_run, write

P99 = "latency_p99_ms"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["report", *map(str, arguments)])


def one_run(backend: str = "libtorch", **keys: Any) -> dict[str, Any]:
    return make_run([make_cell(backend, [make_check(P99, 2.0, 10.0)], **keys)])


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    write(tmp_path / "build" / "hil", one_run())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_arguments_it_shows_the_projects_own_evidence(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below = project / "models"
    below.mkdir()
    monkeypatch.chdir(below)
    result = run()
    assert result.exit_code == 0, result.stderr
    assert "net on pi4" in result.stdout
    assert "libtorch" in result.stdout


def test_several_files_are_one_report_whatever_their_verdicts(project: Path) -> None:
    write(project / "qemu", make_run([make_cell("onnxruntime", [make_check(P99, 20.0, 10.0)], device="qemu-pi4")]))
    result = run("build/hil", project / "qemu" / "evidence.json", "--format", "json")
    assert result.exit_code == 0, result.stderr
    assert [each["device"] for each in json.loads(result.stdout)["sections"]] == ["pi4", "qemu-pi4"]


@pytest.mark.parametrize("style", ["terminal", "markdown", "github", "html", "json"])
def test_a_file_has_what_would_be_printed(project: Path, style: str) -> None:
    assert run("--format", style, "--output", "out").exit_code == 0
    assert Path("out").read_text(encoding="utf-8").strip() == run("--format", style).stdout.strip()


@pytest.mark.parametrize(
    ("ini", "options", "prefer", "within"),
    [
        pytest.param("", [], None, 5.0, id="neither"),
        pytest.param("hil_prefer = artifact_mib", [], ["artifact_mib"], 5.0, id="pytest.ini"),
        pytest.param(
            "hil_prefer = artifact_mib",
            ["--prefer", "parity", "--prefer", P99, "--prefer", "parity", "--within", "0"],
            ["parity", P99],
            0.0,
            id="the command line counts more",
        ),
        pytest.param("", ["--prefer", "battery_days"], ["battery_days"], 5.0, id="a metric of the evidence's own"),
    ],
)
def test_what_is_preferred(
    project: Path, ini: str, options: list[str], prefer: list[str] | None, within: float
) -> None:
    (project / "pytest.ini").write_text(f"[pytest]\n{ini}\n")
    checks = [make_check(P99, 2.0, 10.0), make_check("battery_days", 3.0)]
    write(project / "build" / "hil", make_run([make_cell("libtorch", checks)]))
    result = run("--format", "json", *options)
    assert result.exit_code == 0, result.stderr
    decision = json.loads(result.stdout)["sections"][0]["decision"]
    assert decision["within_percent"] == within
    assert prefer is None or decision["prefer"] == prefer


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["--prefer", "latency_p9_ms"], ["latency_p9_ms", "did you mean 'latency_p99_ms'?"], id="metric"),
        pytest.param(["--within", "-1"], ["--within", "0 to 100"], id="below 0"),
        pytest.param(["--within", "100.5"], ["--within", "0 to 100"], id="above 100"),
        pytest.param(["--within", "nan"], ["--within", "0 to 100"], id="no number"),
        pytest.param(["--format", "htm"], ["htm", "did you mean 'html'?"], id="format"),
        pytest.param(["--output", "nowhere/r.html"], ["its folder is not there", "nowhere"], id="no folder"),
        pytest.param(["--output", "build"], ["a folder"], id="a folder"),
        pytest.param(["--output", "build/hil/evidence.json"], ["a part of the evidence"], id="the evidence"),
        pytest.param(["--output", "/dev/stdout"], ["a link"], id="a link"),
        pytest.param(["--output", "/dev/null"], ["no regular file"], id="a device"),
        pytest.param(["nothing"], ["the evidence cannot be read", "nothing"], id="not there"),
        pytest.param(["empty"], ["the evidence has no cells", "there is nothing to report"], id="no cells"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    project: Path, arguments: list[str], words: list[str]
) -> None:
    write(project / "empty", make_run([]))
    before = sorted(project.rglob("*"))
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert any(word in result.stderr for word in words[:2])
    assert words[-1] in result.stderr
    assert "Traceback" not in result.stderr
    assert sorted(project.rglob("*")) == before


def whole_program(*arguments: str, limit: str = "", stdout: Any = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    """Run it as a program of its own, in a shell with a limit on a file's size."""
    program = f'{limit} exec "$0" -c \'from harness.cli.program import main; main()\' report "$@"'
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("PYTHONUNBUFFERED", None)  # with it nothing is left to write at exit
    return subprocess.run(
        ["sh", "-c", program, sys.executable, *arguments],
        check=False,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def test_a_full_disk_is_said_and_leaves_the_file_that_was_there(project: Path) -> None:
    (project / "out").write_text("old")
    done = whole_program("--format", "json", "--output", "out", limit="ulimit -f 1;")
    assert done.returncode == 1
    assert "the report cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert (project / "out").read_text() == "old"
    assert sorted(path.name for path in project.iterdir()) == ["build", "out", "pytest.ini"]


def test_a_full_disk_behind_stdout_is_said(project: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = whole_program("--format", "json", stdout=full)
    assert done.returncode == 1
    assert "the report cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("place", "status"), [("/dev/full", 1), ("&-", 0)])
def test_no_command_ends_with_a_status_of_pythons_own(place: str, status: int) -> None:
    program = f"\"$0\" -c 'from harness.cli.program import main; main()' --help >{place}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("PYTHONUNBUFFERED", None)
    assert subprocess.run(["sh", "-c", program, sys.executable], check=False, env=environment).returncode == status


def test_a_terminal_that_lacks_our_signs_is_no_error(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    done = whole_program()
    assert done.returncode == 0, done.stderr
    assert "libtorch" in done.stdout
