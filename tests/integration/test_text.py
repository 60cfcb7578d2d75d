"""Whatever a board, a model, its file's name or a runtime says: neither the terminal nor a file of the run obeys it
(issue 17, point 4). See tests/unit/test_printable.py for what is shown in its place."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.integration.conftest import MODEL, Project
from tests.unit.test_printable import hidden

SCREEN = "\x1b[2J\x1b[H"
FAKED = f"{SCREEN}[red]all is well[/red]\r\nverdict: PASS\u202e\x9b1m"
# What pytest and rich write themselves: colours, the bars of progress, a terminal's ends of lines.
OURS = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?25[lh]|\x1b\[1A|\x1b\[2K|\r")

# Runs as the device's Python: what the daemon says of the board is changed, and the agent begins with other words.
LIAR = '''
import os, sys

FAKED = @FAKED@
PRELUDE = f"""
import importlib as _importlib
_import = _importlib.import_module
def _lying(name):
    module = _import("agent.facts")
    honest = module.facts
    module.facts = lambda packages: {{
        **honest(packages), **dict.fromkeys(("cpu", "board", "serial", "kernel"), {FAKED!r})
    }}
    return _import(name)
_importlib.import_module = _lying
"""
REFUSAL = f"""
import runpy
import agent.operations
def refuse(self, header, tensors):
    raise RuntimeError({FAKED!r})
agent.operations.Operations.op_load = refuse
runpy.run_module("agent", run_name="__main__", alter_sys=True)
"""
words = sys.argv[1:]
if "-c" in words:
    place = words.index("-c") + 1
    words[place] = PRELUDE + words[place]
elif "agent" in words:
    for descriptor in (1, 2):
        os.write(descriptor, FAKED.encode())
    if @WHAT@ == "dies":
        os._exit(3)
    if @WHAT@ == "refuses":
        place = words.index("-m")
        words[place : place + 2] = ["-c", REFUSAL]
os.execv(sys.executable, [sys.executable, *words])
'''
PATIENCE_S = 300.0
DEVICES = ("lies", "refuses", "dies")
FILES = (f"raises{SCREEN}\nverdict: PASS\u202e.py", "warns.py")

RAISES = """
    import sys
    from harness import Input, Model

    def build():
        print(@FAKED@)
        sys.stderr.write(@FAKED@)
        raise ValueError(@FAKED@)

    model = Model(build=build, inputs=[Input("x", shape=(1, 4))], name="raises")
"""
WARNS = MODEL.replace("return torch.relu", "__import__('warnings').warn(@FAKED@); return torch.relu")
DEVICE = """
    extends = "local"
    [device]
    description = "[red]a[/red] \\u001b[2J board\\u202e"
    backends = ["onnxruntime"]
    [runtime]
    environment = "@ENVIRONMENT@"
"""


@dataclass(frozen=True)
class Shown:
    """What a run showed on a terminal, and left in its folder."""

    status: int
    text: str
    folder: Path

    @property
    def lines(self) -> list[str]:
        """The terminal's, without our own colours and bars."""
        return OURS.sub("", self.text).split("\n")

    @property
    def cells(self) -> dict[tuple[str, str], dict[str, Any]]:
        """The evidence's, by model and device."""
        evidence = json.loads((self.folder / "evidence.json").read_text(encoding="utf-8"))
        return {(cell["model"], cell["device"]): cell for cell in evidence["cells"]}


def write_device(project: Project, name: str) -> None:
    """A device of the project's: this machine, which lies about itself."""
    script = project.write(f"{name}/liar.py", LIAR.replace("@FAKED@", repr(FAKED)).replace("@WHAT@", repr(name)))
    python = project.write(
        f"{name}/bin/python", f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(script))} "$@"\n'
    )
    python.chmod(0o755)
    project.write(f"devices/{name}.toml", DEVICE.replace("@ENVIRONMENT@", str(project.folder / name)))


def on_terminal(project: Project, *arguments: str) -> Shown:
    """Run the suite on a terminal of its own."""
    ours, theirs = os.openpty()
    environment = project.whole_environment | {"COLUMNS": "100", "TERM": "xterm-256color"}
    with subprocess.Popen(
        project.command("-rA", *arguments),
        cwd=project.folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        content, end = b"", time.monotonic() + PATIENCE_S
        with contextlib.suppress(OSError):  # EIO: nobody has its other end any more
            while select.select([ours], [], [], max(end - time.monotonic(), 0))[0]:
                content += os.read(ours, 1 << 16)
        if time.monotonic() > end:
            process.kill()  # it waits for a terminal that is read
        status = process.wait()
    os.close(ours)
    return Shown(status, content.decode("utf-8", "surrogateescape"), project.folder / "build/hil")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A model that warns and one that raises; a board that lies, one that refuses, one that dies."""
    project = Project(tmp_path_factory.mktemp("text"))
    project.write("pytest.ini", "[pytest]\n")
    for file, text in zip(FILES, (RAISES, WARNS), strict=True):
        project.write(file, text.replace("@FAKED@", repr(FAKED)))
    for name in DEVICES:
        write_device(project, name)
    return project


@pytest.fixture(scope="module")
def shown(project: Project) -> Shown:
    """One run for all: a cell on each board, and the model that raises."""
    chosen = [word for name in DEVICES for word in ("--device", name)] + [f"--model={file}" for file in FILES]
    tests = "load_time and not (raises and (refuses or dies))"
    return on_terminal(project, "-k", tests, *chosen)


def test_a_terminal_shows_and_obeys_nothing(shown: Shown) -> None:
    assert SCREEN not in shown.text
    assert hidden("".join(shown.lines)) == set()
    assert not [line for line in shown.lines if line.startswith("verdict: PASS")]
    assert [line for line in shown.lines if line.startswith("verdict: ")] == ["verdict: FAIL"]
    assert shown.status == 1


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(r"ValueError: \x1b[2J\x1b[H[red]all is well[/red]", id="a model's exception"),
        pytest.param(r"raises\x1b[2J\x1b[H\nverdict: PASS\u202e.py", id="a file's name"),
        pytest.param(r"lies: [red]a[/red] \x1b[2J board\u202e", id="a description"),
        pytest.param(r"RuntimeError: \x1b[2J\x1b[H", id="a device's traceback"),
        pytest.param(r"its stderr ends:", id="a device's stderr"),
        pytest.param(r"something was printed before the agent's first frame", id="a greeting"),
    ],
)
def test_what_was_said_is_there_to_be_read(shown: Shown, said: str) -> None:
    assert any(said in line for line in shown.lines) or said in " ".join(map(str.strip, shown.lines))


def test_no_file_of_the_run_has_what_a_terminal_obeys(shown: Shown) -> None:
    texts = {path.name: path.read_text(encoding="utf-8") for path in shown.folder.iterdir() if path.is_file()}
    assert {"evidence.json", "junit.xml"} <= set(texts)
    assert {name: hidden(text) - {"\n"} for name, text in texts.items() if hidden(text) - {"\n"}} == {}
    ElementTree.fromstring(texts["junit.xml"])  # noqa: S314  # our own


def test_the_evidence_has_it_as_it_was_said(shown: Shown) -> None:
    fingerprint = shown.cells["warns", "lies"]["fingerprint"]
    assert [fingerprint[key] for key in ("cpu", "board", "serial", "kernel")] == [FAKED] * 4
    assert {name: cell["verdict"] for name, cell in shown.cells.items()} == {
        ("raises", "lies"): "FAIL",
        ("warns", "lies"): "MEASURED",
        ("warns", "refuses"): "FAIL",
        ("warns", "dies"): "FAIL",
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(
            ["doctor", "lies", "--offline"],
            r"CPU                      \x1b[2J\x1b[H[red]all is well[/red]",
            id="doctor",
        ),
        pytest.param(["devices", "--no-probe"], "lies", id="devices"),
    ],
)
def test_the_commands_show_what_a_board_says(project: Project, words: list[str], said: str) -> None:
    done = project.run_command([sys.executable, "-c", "from harness.cli import main; main()", *words])
    assert said in done.output
    assert hidden(done.output) <= {"\n"}
    assert not [line for line in done.output.split("\n") if line.startswith("verdict")]
