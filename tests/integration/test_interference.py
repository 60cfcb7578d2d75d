"""Runs that are interfered with: an agent killed or stopped, the run itself killed, noise on the agent's output."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.agent.orphans import identity

from .boards import wait_for
from .conftest import MODEL, Outcome, Project

ONNX = ("--backend", "onnxruntime")
# Some 10 ms an inference: long enough to be interrupted.
SLOW = MODEL.replace(
    "return torch.relu(x @ self.weight)",
    "y = x @ self.weight @ self.weight.T @ torch.ones(4, 2048)\n"
    "            for _ in range(8): y = torch.tanh(y @ torch.ones(2048, 2048))\n            return y",
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a test leaves its export for the next one."""
    return tmp_path_factory.mktemp("exported") / "exports"


@pytest.fixture
def slow(project: Project, exported: Path) -> Iterator[Project]:
    """A project whose model takes a while, with a cache of its own, so that its agents are the only ones."""
    project.write("tiny.py", SLOW)
    cache = project.folder / "cache"
    project.environment["HILGATE_CACHE"] = str(cache)
    if exported.exists():
        cache.mkdir(mode=0o700)
        shutil.copytree(exported, cache / "exports")
    yield project
    if not exported.exists() and (cache / "exports").exists():
        shutil.copytree(cache / "exports", exported)


def agents(project: Project) -> list[int]:
    """The pids of the agents that have a record."""
    folder = project.folder / "cache/store/agents"
    return [json.loads(path.read_text())["pid"] for path in folder.glob("*.json")] if folder.exists() else []


def measuring(project: Project, *, checks: int = 0) -> int:
    """Waits until the run measures, so many checks behind it; returns the measuring agent's pid.

    Measuring takes fresh processes: so it is one that was not there when the last of those checks was.
    """
    evidence = project.folder / "build/hil/evidence.json"

    def checked() -> list[int] | None:
        cells = json.loads(evidence.read_text())["cells"] if evidence.exists() else []
        done = cells and len(cells[0]["checks"]) >= checks
        return (agents(project) if checks else []) if done else None

    before = wait_for(checked)
    pid = wait_for(lambda: next((pid for pid in agents(project) if pid not in before), None))
    time.sleep(1)  # let it load
    return pid


def finish(project: Project, process: subprocess.Popen[str]) -> Outcome:
    output, _ = process.communicate(timeout=120)
    return Outcome(process.returncode, output, project.folder)


def test_an_agent_that_is_killed_fails_the_cell(slow: Project) -> None:
    process = slow.start(*ONNX, "-k", "latency")
    os.kill(measuring(slow), signal.SIGKILL)
    done = finish(slow, process)
    assert done.status == 1, done.output
    assert "killed by SIGKILL" in done.evidence["cells"][0]["error"]
    assert done.evidence["verdict"] == "FAIL"
    assert [pid for pid in agents(slow) if identity(pid) is not None] == []


@pytest.mark.slow
def test_an_agent_that_hangs_is_killed_in_bounded_time(slow: Project) -> None:
    process = slow.start(*ONNX, "-k", "latency", "--time-limit", "4")
    pid = measuring(slow)
    os.kill(pid, signal.SIGSTOP)
    start = time.monotonic()
    done = finish(slow, process)
    assert time.monotonic() - start < 45
    assert done.status == 1, done.output
    assert "did not answer" in done.evidence["cells"][0]["error"]
    assert identity(pid) is None


@pytest.mark.slow
def test_a_run_that_is_killed_keeps_what_it_measured_and_its_agent_ends(slow: Project) -> None:
    process = slow.start(*ONNX, "-k", "parity or latency")
    pid = measuring(slow, checks=1)
    process.kill()
    done = finish(slow, process)
    assert done.check("parity")["verdict"] == "PASS"
    assert done.evidence["verdict"] == "INCONCLUSIVE"
    assert done.evidence["finished"] is None
    wait_for(lambda: True if identity(pid) is None else None)


@pytest.mark.slow
def test_orphans_of_an_earlier_run_are_ended_by_the_next(slow: Project) -> None:
    process = slow.start(*ONNX, "-k", "latency")
    pid = measuring(slow)
    os.kill(pid, signal.SIGSTOP)  # it cannot notice that its run has gone
    process.kill()
    finish(slow, process)
    assert identity(pid) is not None
    done = slow.run(*ONNX, "-k", "parity")
    assert done.status == 0, done.output
    assert identity(pid) is None
    assert f"were ended: [{pid}]" in " ".join(" ".join(done.evidence["cells"][0]["notes"]).split())


def wrapped_python(project: Project, before: str) -> str:
    """An environment whose Python is ours with a few lines of shell before it, as a board's profile may have."""
    script = project.write("chatty/bin/python", f'#!/bin/sh\n{before}\nexec "{sys.executable}" "$@"\n')
    script.chmod(0o755)
    return f"""
        [device]
        description = "chatty"
        link = "local"
        backends = ["onnxruntime"]
        [runtime]
        environment = "{project.folder / "chatty"}"
    """


def test_a_greeting_before_the_first_frame_is_passed_over_and_noted(project: Project) -> None:
    project.write("devices/chatty.toml", wrapped_python(project, 'echo "Welcome to HILGATE, have fun!"'))
    done = project.run("--device", "chatty", "-k", "parity")
    assert done.status == 0, done.output
    assert "Welcome to HILGATE" in " ".join(done.evidence["cells"][0]["notes"])


def test_noise_between_frames_is_a_clear_error(project: Project) -> None:
    # The agent's alone, and until it ends: what comes before its first frame is passed over, as a greeting is.
    noise = '[ "$3" != agent ] || (while sleep 0.5 && echo noise; do :; done) &'
    project.write("devices/chatty.toml", wrapped_python(project, noise))
    project.write("tiny.py", SLOW)
    done = project.run("--device", "chatty", "-k", "latency")
    assert done.status == 1, done.output
    assert "no frame" in done.output
    assert "noise" in done.output


def test_a_library_that_prints_disturbs_nothing(project: Project) -> None:
    printing = """
    @torch.jit.script
    def loud(x):
        print("a chatty library")
        return torch.relu(x)

    class Net(torch.nn.Module):
        def forward(self, x):
            return loud(x)
    """
    head, _, tail = MODEL.partition("    class Net")
    project.write("tiny.py", head + printing + "\n    model" + tail.partition("\n    model")[2])
    done = project.run("--backend", "torchscript", "-k", "memory_peak")
    assert done.status == 0, done.output
