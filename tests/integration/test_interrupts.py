"""A run that is told to end does so at any time with a word, with its evidence, and with nothing left over."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from pathlib import Path

import pytest

from harness.agent.facts import read_text

from .boards import wait_for
from .conftest import MODEL, Project

SLEEP = "import pathlib, time; pathlib.Path('here').touch(); time.sleep(600)"
READING = MODEL.replace("import torch", SLEEP, 1)
BUILDING = MODEL.replace("build=lambda: Net().eval()", f"build=lambda: exec({SLEEP!r})")
ONNX = ("--backend", "onnxruntime", "-k", "parity", "-p", "no:cacheprovider")


@pytest.fixture
def waiting(project: Project) -> Project:
    """A project whose temporary files are its own, and whose model says when it has come to a certain place."""
    (project.folder / "tmp").mkdir()
    project.environment["TMPDIR"] = str(project.folder / "tmp")
    return project


def is_there(project: Project) -> bool | None:
    return True if (project.folder / "here").exists() else None


def left(project: Project) -> list[str]:
    """Processes and temporary files of a project's."""
    word = f"TMPDIR={project.folder / 'tmp'}"
    environments = {path: read_text(str(path)).split("\0") for path in Path("/proc").glob("[0-9]*/environ")}
    files = [path.name for path in (project.folder / "tmp").iterdir() if path.name != ".ses"]
    return [*files, *(str(path) for path, lines in environments.items() if word in lines)]


def test_ctrl_c_while_the_plugin_is_loaded(waiting: Project) -> None:
    process = waiting.start(*ONNX)
    # A library of cryptography's, which our own modules come to after the first.
    wait_for(lambda: True if "_rust" in read_text(f"/proc/{process.pid}/maps") else None)
    process.send_signal(signal.SIGINT)
    done = waiting.finish(process)
    assert done.status == 2, done.output
    assert "Interrupted: SIGINT, before anything was measured" in done.output
    assert "Traceback" not in done.output
    assert left(waiting) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_while_the_model_file_is_read(waiting: Project, number: signal.Signals) -> None:
    waiting.write("tiny.py", READING)
    process = waiting.start(*ONNX)
    wait_for(lambda: is_there(waiting))
    process.send_signal(number)
    done = waiting.finish(process, 30)
    assert done.status == 2, done.output
    assert f"Interrupted: {number.name}, before anything was measured" in done.output
    assert left(waiting) == []


def test_a_terminal_that_is_closed_while_it_runs(waiting: Project) -> None:
    """All that is written from then on is refused; the evidence is written all the same."""
    waiting.write("tiny.py", BUILDING)
    ours, theirs = pty.openpty()
    command = ["setsid", "--ctty", *waiting.command(*ONNX)]
    environment = waiting.whole_environment
    process = subprocess.Popen(command, cwd=waiting.folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    wait_for(lambda: is_there(waiting))
    os.close(ours)
    assert process.wait(30) == 2
    evidence = json.loads((waiting.folder / "build/hil/evidence.json").read_text())
    assert evidence["finished"] is not None
    assert evidence["verdict"] == "INCONCLUSIVE"
    assert left(waiting) == []
