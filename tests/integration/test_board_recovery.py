"""Whole runs on a board over SSH, interfered with while they measure: what was taken counts, and the run comes to an
end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from harness.board import open_board
from tests.support.proxy import FlakyProxy
from tests.support.sshd import BoardServer

from .boards import nothing_left, read_device, wait_for, write_device
from .conftest import Outcome, Project
from .test_interference import SLOW

RUNTIME = 'packages = ["onnxruntime==1.32.0", "numpy==2.4.6"]'
# Slower still: on a quick host too a block of samples outlasts the half second after which it is interfered with.
SLOWER = SLOW.replace("range(8)", "range(40)")
LIMITED = SLOWER.replace("dims=", 'limits={"latency_p99_ms": 1000}, dims=')
# A plugin for the run: its patience is for tests, and it shows when it measures.
HASTY = """
    from pathlib import Path

    from harness.board import daemon_client, lease
    from harness.deploy.deployment import Deployment

    daemon_client.SILENCE_S, daemon_client.PING_S = {silence}, 0.5
    daemon_client.ARGUMENTS = dict(sign_of_life_s=0.5)  # by default it is every 2 s, too late for this patience
    lease.RECONNECT_S, lease.RETRY_PAUSE_S = {reconnect}, 0.2
    measure = Deployment.measure

    def shown(*arguments):
        with Path("measuring").open("a") as file:
            file.write("x")
        return measure(*arguments)

    Deployment.measure = shown
"""
HASTILY = ("-p", "hasty")


@pytest.fixture(scope="module")
def server() -> Iterator[BoardServer]:
    """One board for all: the runtime is sent once."""
    with BoardServer() as made:
        yield made


@pytest.fixture
def proxy(server: BoardServer) -> Iterator[FlakyProxy]:
    with nothing_left(server), FlakyProxy(server.port) as made:
        yield made


@pytest.fixture
def remote(project: Project, server: BoardServer, proxy: FlakyProxy) -> Project:
    """A project with a slow model, whose device is the board behind the proxy."""
    write_device(project.folder, server, [proxy.port], runtime=RUNTIME)
    project.environment["HOME"] = str(project.folder)
    project.write("pytest.ini", "[pytest]\nhil_model = tiny.py\nhil_device = board\n")
    project.write("tiny.py", SLOWER)
    project.write("hasty.py", HASTY.format(reconnect=15, silence=2.0))
    return project


class Board:
    """What a run has on the board's disk."""

    def __init__(self, server: BoardServer, project: Project) -> None:
        self.server, self.project = server, project
        self.runs: list[subprocess.Popen[str]] = []
        self.folder = server.home / ".cache/hilgate"

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a run that may be interfered with."""
        self.runs.append(self.project.start(*HASTILY, *arguments))
        return self.runs[-1]

    def end(self) -> None:
        """Whatever a test that failed left running."""
        for run in self.runs:
            if run.poll() is None:
                run.kill()
                run.communicate()

    def agent(self) -> int:
        """Waits for one; its outside pid."""

        def found() -> int | None:
            for path in (self.folder / "agents").glob("*.json"):
                record = json.loads(path.read_text())
                if record["run"]:
                    return self.server.outside_pid(record["pid"])
            return None

        return wait_for(found)

    def measuring(self, run: subprocess.Popen[str], block: int = 1) -> int:
        """Waits until it is at a block of samples; the measuring agent's outside pid."""
        shown = self.project.folder / "measuring"

        def begun() -> bool | None:
            if run.poll() is not None:
                output, _ = run.communicate()
                raise AssertionError(output)
            return True if shown.exists() and shown.stat().st_size >= block else None

        wait_for(begun)
        time.sleep(0.5)
        return self.agent()


@pytest.fixture
def board(server: BoardServer, remote: Project) -> Iterator[Board]:
    made = Board(server, remote)
    yield made
    made.end()


def finish(project: Project, process: subprocess.Popen[str], seconds: float = 300) -> Outcome:
    output, _ = process.communicate(timeout=seconds)
    return Outcome(process.returncode, output, project.folder)


def samples(done: Outcome, metric: str) -> int:
    """How many raw samples were kept; as many as the check says."""
    check = done.check(metric)
    raw = np.load(done.folder / "build/hil" / check["raw"])
    assert len(raw) == check["samples"]
    assert (raw > 0).all()
    return len(raw)


def notes(done: Outcome) -> str:
    return " ".join(" ".join(done.evidence["cells"][0]["notes"]).split())


@pytest.mark.slow
def test_a_connection_that_is_cut_while_it_measures(remote: Project, proxy: FlakyProxy, board: Board) -> None:
    process = board.start("-k", "latency_p99 or memory")
    board.measuring(process)
    proxy.cut()
    kept = wait_for(lambda: next((board.folder / "results").glob("*-*[0-9]"), None))  # it goes on to the block's end
    done = finish(remote, process)
    assert not kept.exists()
    assert done.status == 0, done.output
    assert samples(done, "latency_p99_ms") >= 459
    assert done.check("memory_peak_mib")["verdict"] == "MEASURED"
    assert "dropped and was made again" in notes(done)


@pytest.mark.slow
def test_a_connection_that_leads_nowhere_for_a_while(remote: Project, proxy: FlakyProxy, board: Board) -> None:
    process = board.start("-k", "latency_p99")
    board.measuring(process)
    proxy.stall()
    time.sleep(5)
    proxy.resume()
    done = finish(remote, process)
    assert done.status == 0, done.output
    assert samples(done, "latency_p99_ms") >= 459
    assert "dropped and was made again" in notes(done)


@pytest.mark.slow
def test_a_board_that_does_not_come_back(remote: Project, proxy: FlakyProxy, board: Board) -> None:
    remote.write("tiny.py", LIMITED)
    remote.write("hasty.py", HASTY.format(reconnect=3, silence=2.0))
    process = board.start("-k", "latency_p99 or accuracy or load_time")
    board.measuring(process, block=2)
    proxy.refuse()
    proxy.cut()
    start = time.monotonic()
    done = finish(remote, process)
    assert time.monotonic() - start < 30
    assert done.status == 1, done.output
    check = done.check("latency_p99_ms")
    assert check["verdict"] == "INCONCLUSIVE"
    assert "the connection dropped" in check["reason"]
    assert 0 < samples(done, "latency_p99_ms") < 459
    assert done.evidence["verdict"] == "INCONCLUSIVE"
    assert done.evidence["finished"] is not None


@pytest.mark.slow
def test_a_board_that_is_gone_before_anything_was_judged(remote: Project, proxy: FlakyProxy, board: Board) -> None:
    remote.write("hasty.py", HASTY.format(reconnect=3, silence=2.0))
    process = board.start("-k", "parity")
    board.agent()
    proxy.refuse()
    proxy.cut()
    done = finish(remote, process)
    assert done.status == 1, done.output
    assert done.evidence["verdict"] == "INCONCLUSIVE"
    assert "dropped" in done.output


def test_an_agent_that_is_killed(remote: Project, board: Board) -> None:
    process = board.start("-k", "latency_p99")
    os.kill(board.measuring(process), signal.SIGKILL)
    done = finish(remote, process)
    assert done.status == 1, done.output
    assert done.evidence["verdict"] == "FAIL"
    assert "killed by SIGKILL" in done.evidence["cells"][0]["error"]


@pytest.mark.slow
def test_an_agent_that_hangs_does_not_stop_the_next_cell(remote: Project, server: BoardServer, board: Board) -> None:
    remote.write("other.py", SLOW)
    process = remote.start(
        *HASTILY, "--model", "tiny.py", "--model", "other.py", "-k", "latency_p50", "--time-limit", "4"
    )
    pid = board.measuring(process)
    os.kill(pid, signal.SIGSTOP)
    done = finish(remote, process)
    assert done.status == 1, done.output
    first, second = done.evidence["cells"]
    assert first["verdict"] == "INCONCLUSIVE"
    assert "did not answer" in first["error"]
    assert second["verdict"] == "MEASURED"
    assert pid not in server.processes()


@pytest.mark.slow
def test_a_board_that_is_in_use(remote: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(remote.folder))
    with open_board(read_device(remote.folder)) as board:
        done = remote.run("-k", "parity")
        assert done.status == 1, done.output
        assert "device board is in use by another run" in done.output
        assert board.lease.run in done.output
        assert "--wait SECONDS" in done.output
        process = remote.start("-k", "parity", "--wait", "60")
        time.sleep(5)
        assert process.poll() is None
    done = finish(remote, process)
    assert done.status == 0, done.output
