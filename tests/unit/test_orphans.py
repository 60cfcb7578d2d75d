"""Processes that outlived their run: real ones, found by what they left behind, and ended; nobody else is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.agent import orphans
from harness.agent.facts import read_text

AGENT = Path(orphans.__file__).parents[1]
# An agent as far as this is concerned: leads a group, leaves a record, starts a child.
PROGRAM = f"""
import os, subprocess, sys, time
sys.path.insert(0, {str(AGENT)!r})
from agent import orphans
os.setpgid(0, 0)
orphans.write_record(sys.argv[1], sys.argv[2])
child = subprocess.Popen(["sleep", "600"], start_new_session=sys.argv[3] == "away")
print(child.pid, flush=True)
time.sleep(600)
"""


class Agent:
    """The process, and its child's pid."""

    def __init__(self, folder: Path, run: str, child: str = "beside") -> None:
        command = [sys.executable, "-c", PROGRAM, str(folder), run, child]
        environment = {**os.environ, orphans.MARK: run}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert self.process.stdout is not None
        self.child = int(self.process.stdout.readline())
        # Popen returns once exec has closed its pipe: a moment before the kernel shows the new program's environment.
        until = time.monotonic() + 10
        while not read_text(f"/proc/{self.child}/environ") and time.monotonic() < until:
            time.sleep(0.001)

    def end(self) -> None:
        """Whatever a test left of it."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        if is_alive(self.child):
            os.kill(self.child, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    process = orphans.identity(pid)
    return process is not None and process[2] not in "ZX"


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path, "run-1")
    yield made
    made.end()


def test_an_agent_is_ended_with_its_group(agent: Agent, tmp_path: Path) -> None:
    assert [record["pid"] for record in orphans.living(tmp_path.as_posix())] == [agent.process.pid]
    assert orphans.reap(str(tmp_path))[0] == agent.process.pid
    assert agent.process.wait(5) == -signal.SIGKILL
    assert not is_alive(agent.child)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", [pytest.param("beside", id="in-its-group"), pytest.param("away", id="in-its-own")])
def test_what_a_dead_agent_has_started_is_ended(tmp_path: Path, where: str) -> None:
    agent = Agent(tmp_path, "run-2", where)
    try:
        agent.process.kill()
        agent.process.wait()
        assert is_alive(agent.child)
        assert orphans.reap(str(tmp_path)) == [agent.child]
        assert not is_alive(agent.child)
        assert list(tmp_path.iterdir()) == []
    finally:
        agent.end()


# As an agent that was given credentials; by a user who is not root, for root looks into every process.
SECRETIVE = """
import os, subprocess, sys, time
from agent import orphans
from agent.remote.credentials import forbid_dumps
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
answered, answer = os.pipe()
child = os.fork()
if child == 0:
    os.setpgid(0, 0)
    record = orphans.own_identity()
    forbid_dumps()
    os.write(answer, record["exe"].encode())
    time.sleep(600)
exe, start = os.read(answered, 4096).decode(), orphans.identity(child)[1]
try:
    print(orphans.executable(child) == orphans.HIDDEN, orphans.end(child, start, 9, exe))
finally:
    os.kill(child, 9)
"""


def test_an_agent_that_lets_nobody_look_into_it_is_ended_all_the_same() -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(AGENT)!r})\n{SECRETIVE}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split() == ["True", "True"], done.stderr


def test_a_runs_own_processes_are_spared(agent: Agent, tmp_path: Path) -> None:
    assert orphans.reap(str(tmp_path), spare="run-1") == []
    assert is_alive(agent.process.pid)
    assert orphans.reap(str(tmp_path), spare="run-3")[0] == agent.process.pid


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"start": 1}, id="started-at-another-time"),
        pytest.param({"boot": "another"}, id="before-a-reboot"),
    ],
)
def test_a_pid_that_was_used_again_is_left_alone(tmp_path: Path, wrong: dict[str, object]) -> None:
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as innocent:
        process = orphans.identity(innocent.pid)
        assert process is not None
        record = {"boot": orphans.boot_id(), "pid": innocent.pid, "start": process[1], "run": "run-4", **wrong}
        (tmp_path / "x.json").write_text(json.dumps(record))
        assert orphans.living(str(tmp_path)) == []
        assert orphans.reap(str(tmp_path)) == []
        assert list(tmp_path.iterdir()) == []
        assert orphans.end(innocent.pid, process[1] + 1, signal.SIGKILL)
        time.sleep(0.05)
        assert innocent.poll() is None
        assert orphans.end(innocent.pid, process[1], signal.SIGKILL)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param('{"pid": 1', id="cut-short"),
        pytest.param("[]", id="another-kind"),
        pytest.param('{"pid": "1", "start": 0, "boot": "", "run": ""}', id="a-pid-in-quotes"),
    ],
)
def test_a_damaged_record_is_removed(tmp_path: Path, text: str) -> None:
    (tmp_path / "1.json").write_text(text)
    assert orphans.reap(str(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


def test_a_record_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("harness.agent.orphans.json.dump", full)
    with pytest.raises(OSError, match="No space"):
        orphans.write_record(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_no_folder_means_no_processes(tmp_path: Path) -> None:
    assert orphans.reap(str(tmp_path / "absent")) == []
    assert orphans.living(str(tmp_path / "absent")) == []
