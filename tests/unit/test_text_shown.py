"""Where texts of others are shown: the table, progress, commands, reports, files. See tests/unit/test_printable.py for
how."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from harness.backends import load_backend
from harness.cell import Cell
from harness.checks.check import Check, Verdict
from harness.checks.finding import Finding
from harness.cli import cli, main
from harness.cli.device_file import device_text
from harness.cli.doctor_check import FAILED, shown
from harness.cli.doctor_check import Check as Examined
from harness.cli.text import say, table
from harness.device.device import Device
from harness.errors import BackendError
from harness.evidence.cell_record import CellRecord
from harness.host.progress import ProgressBars
from harness.measure import known_metrics
from harness.model.model import Input, Model
from harness.model.model_file import ModelFile
from harness.parity.replay import program as replay_program
from harness.parity.replay.write import write_replay
from harness.parity.rule.comparison import Expected
from harness.printable import printable_lines
from harness.protocol import BoardFacts
from harness.report.pytest_report import InternalErrors, make_printable
from tests.support.shown import tables
from tests.unit.test_printable import hidden

FAKED = "\x1b[2J\x1b[H [red]all is well[/red]\nverdict: PASS\u202e\r\n│accuracy │ 1 PASS │\x9b2J\ud800"
SGR = re.compile(r"\x1b\[[0-9;]*m")
P99 = known_metrics()["latency_p99_ms"]


def record(description: str = "a board", **more: Any) -> CellRecord:
    model = Model(build=lambda: cast(Any, None), inputs=[Input("x", shape=(1,))], name="net")
    device = Device(
        name="pi4", path=Path("pi4.toml"), description=description, link="ssh", host="h", backends=("torchscript",)
    )
    return CellRecord(Cell(ModelFile(Path("net.py"), model, ()), device, load_backend("torchscript")), **more)


OPERATORS = {"operators": [{"share": 1.0, "operator": FAKED, "module": "", "name": FAKED}]}


@pytest.mark.parametrize("width", [pytest.param(80, id="80-columns"), pytest.param(200, id="200-columns")])
@pytest.mark.parametrize("color", [pytest.param(False, id="plain"), pytest.param(True, id="colour")])
@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"description": FAKED}, id="description"),
        pytest.param({"notes": [FAKED]}, id="note"),
        pytest.param({"errors": [FAKED]}, id="error"),
        pytest.param({"unavailable": FAKED}, id="unavailable"),
        pytest.param({"pending": {f"a::{FAKED}"}}, id="pending"),
        pytest.param({"not_built": BackendError(FAKED, found=FAKED, hint=FAKED)}, id="not-built"),
        pytest.param({"checks": [Check(Finding(P99), None, Verdict.INCONCLUSIVE, FAKED)]}, id="reason"),
        pytest.param({"checks": [Check(Finding(P99, details=OPERATORS), None, Verdict.MEASURED, "")]}, id="operator"),
    ],
)
def test_the_table_obeys_nothing_and_no_line_below_it_begins_as_ours(
    more: dict[str, Any], color: bool, width: int
) -> None:
    text = tables([record(**more)], width=width, color=color)
    plain = SGR.sub("", text) if color else text
    assert hidden(plain) <= {"\n"}
    assert r"\x1b[2J" in plain
    assert "[red]all is well[/red]" in re.sub(r"\s+", " ", plain)
    assert "verdict: PASS" not in [line[:13] for line in plain.split("\n")]
    assert "│accuracy" not in [line[:9] for line in plain.split("\n")]


def test_a_line_that_the_terminals_width_breaks_does_not_go_on_as_ours() -> None:
    text = tables([record(errors=["x" * 50 + " verdict: PASS" * 9])], width=80, color=False)
    lines = [line for line in text.splitlines() if "verdict: PASS" in line]
    assert len(lines) > 1
    assert all(line.startswith("  ") for line in lines)


def test_progress_shows_markup_as_it_stands(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    bars = ProgressBars.open()
    monkeypatch.setattr(bars, "_console", Console(force_terminal=True, width=200))
    with bars.task(f"reaching {FAKED}") as update:
        update(1, 2, FAKED)
    bars.say(FAKED)
    monkeypatch.setattr(bars, "_console", None)
    text = capfd.readouterr().out
    assert "[red]all is well[/red]" in text
    assert "\x1b[2J" not in text
    assert not hidden(re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", text)) - {"\n", "\r"}


def test_a_command_prints_no_character_that_a_terminal_obeys(capfd: pytest.CaptureFixture[str]) -> None:
    for line in (FAKED, f"\nnext: {FAKED}", *table([[FAKED, FAKED]]), *shown(Examined("CPU", FAILED, FAKED, FAKED))):
        say(line)
    lines = capfd.readouterr().out.split("\n")
    assert hidden("".join(lines)) == set()
    assert not [line for line in lines if line.startswith(("verdict", "│accuracy"))]


@pytest.mark.parametrize(
    "words", [["\x1b[2J\u202e"], ["--\x1b[2J"], ["devices", "--\x1b[2J"], ["devices", "\x1b[2J\nverdict: PASS"]]
)
def test_a_command_line_is_quoted_as_it_may_be_shown(words: list[str]) -> None:
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 2
    assert r"\x1b[2J" in done.output
    assert hidden(done.output) <= {"\n"}
    assert "\nverdict" not in done.output


def test_a_device_file_has_a_boards_words_as_data() -> None:
    cpu = 'x"\nhost = "elsewhere"\x1b[2J\u202e\x7f\U000e0041\ud800é'
    facts: dict[str, Any] = {
        "board": "",
        "cpu": cpu,
        "cores": 4,
        "arch": "aarch64",
        "libc": "glibc-2.36",
        "python": "3.11.2",
    }
    text = device_text("rig", "pi@rig", BoardFacts.model_construct(**facts, memory_mib=2048), None)
    text.encode()
    assert hidden(text) <= {"\n"}
    device = tomllib.loads(text)["device"]
    assert (device["host"], device["cpu"]) == ("pi@rig", cpu.replace("\ud800", r"\ud800"))


def test_a_replay_prints_a_models_words_as_they_may_be_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = FAKED.replace("\ud800", "")
    expected = Expected(name, np.ones(1, np.float32), np.ones(1))
    case = {"cell": FAKED, "what": FAKED, "tolerance": 30, "fingerprint": {"board": FAKED}}
    artifact = cast(Any, type("Artifact", (), {"files": [Path("m.onnx")], "folder": tmp_path, "format": "onnx"}))
    artifact.binding = None
    (tmp_path / "m.onnx").touch()
    folder = tmp_path / "replay"
    write_replay(folder, artifact, {"x": np.ones(1, np.float32)}, [expected], {}, case)
    for path in folder.glob("*.[pj]*"):
        assert hidden(path.read_text(encoding="utf-8")) <= {"\n"}
    assert json.loads((folder / "case.json").read_text())["what"] == FAKED
    monkeypatch.setattr(replay_program, "HERE", folder)
    monkeypatch.setattr(replay_program, "run", lambda case, inputs: [np.zeros(1, np.float32)])
    assert replay_program.main() == 1
    text = capsys.readouterr().out
    assert hidden(text) <= {"\n"}
    assert "\nverdict" not in text


def test_what_a_replay_dies_of_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="all is well") as error:
        raise ValueError(FAKED)
    replay_program.complain(error.type, error.value, error.tb)
    text = capsys.readouterr().err
    assert hidden(text) <= {"\n"}
    assert r"ValueError: \x1b[2J" in text
    assert "\nverdict" not in text


def test_what_pytest_says_of_an_exception_is_shown_and_keeps_its_lines() -> None:
    with pytest.raises(ValueError, match="all is well") as error:
        raise ValueError(FAKED)
    for style in ("long", "short", "native", "value"):
        report = pytest.TestReport("n", ("f", 1, "n"), {}, "failed", error.getrepr(style=cast(Any, style)), "call")
        report.sections.append(("Captured stdout call", "fine\n" + FAKED))
        make_printable(report)
        text = report.longreprtext + "".join(content for _, content in report.sections)
        assert hidden(text) <= {"\n"}
        assert r"ValueError: \x1b[2J" in text or style == "value"
        assert "\nverdict" not in text
        assert report.sections == [("Captured stdout call", printable_lines("  fine\n" + FAKED, indent="  "))]


def test_what_ends_pytest_itself_is_shown() -> None:
    with pytest.raises(ValueError, match="all is well") as error:
        raise ValueError(FAKED)
    said = error.getrepr(style="native")
    InternalErrors.pytest_internalerror(said)
    assert hidden(str(said)) <= {"\n"}


def test_a_defect_of_a_command_is_told_as_it_may_be_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(**_: object) -> None:
        raise KeyError(FAKED, ValueError(FAKED)) from ValueError(FAKED)

    monkeypatch.setattr("harness.cli.program.cli", broken)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    text = capsys.readouterr().err
    assert r"ValueError: \x1b[2J" in text
    assert hidden(text) <= {"\n"}


def test_why_a_test_is_skipped_is_one_line() -> None:
    report = pytest.TestReport("n", ("f", 1, "n"), {}, "skipped", ("f", 1, f"Skipped: {FAKED}"), "call")
    make_printable(report)
    assert isinstance(report.longrepr, tuple)
    assert not hidden(report.longrepr[2])
