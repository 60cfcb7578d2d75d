"""Boards whose connection drops, whose run is killed, that are in use: in bounded time, and nothing stays behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.board import Board as OpenBoard
from harness.board import daemon_client, lease, open_board
from harness.bundle import Bundle
from harness.device.device import Device
from harness.errors import DeviceBusy, DeviceError, LinkError, LinkLost
from harness.host.progress_log import showing_progress
from harness.protocol.daemon import Look, Pong
from tests.support.proxy import FlakyProxy
from tests.support.sshd import Board, BoardServer

from .boards import make_bundle, nothing_left, read_device, wait_for, write_device

STORE = 'store = "~/store"'
# An agent as far as a board is concerned: a record, a group, a child, and something to say.
AGENT = """
import argparse, os, subprocess, sys, time
from . import orphans
parser = argparse.ArgumentParser()
for name in ("records", "results", "run"):
    parser.add_argument(f"--{name}")
arguments = parser.parse_args()
try:
    os.setpgid(0, 0)
except PermissionError:
    pass
record = orphans.write_record(arguments.records, arguments.run)
subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
sys.stdout.write("hello")
sys.stdout.flush()
"""
STAYS = AGENT + "time.sleep(600)\n"
# It keeps a result, a second after the connection has gone.
KEEPS = (
    AGENT
    + """
sys.stdin.read()
time.sleep(1)
with open(f"{arguments.results}/{arguments.run}-1", "w") as file:
    file.write("kept")
os.unlink(record)
"""
)


@pytest.fixture(scope="module")
def server() -> Iterator[BoardServer]:
    with BoardServer() as made:
        yield made


@pytest.fixture(autouse=True)
def clean(server: BoardServer) -> Iterator[None]:
    with nothing_left(server):
        yield
    server.run("rm -rf store")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: BoardServer) -> Path:
    """$HOME of a user to whom the server is a board."""
    monkeypatch.setenv("HOME", str(tmp_path))
    write_device(tmp_path, server, device=STORE)
    return tmp_path


@pytest.fixture
def device(project: Path) -> Device:
    return read_device(project)


@pytest.fixture
def proxy(project: Path, server: BoardServer) -> Iterator[FlakyProxy]:
    """On the way to the board."""
    with FlakyProxy(server.port) as made:
        write_device(project, server, [made.port], device=STORE)
        yield made


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every patience is a second or two."""
    monkeypatch.setattr(daemon_client, "SILENCE_S", 1.5)
    monkeypatch.setattr(daemon_client, "PING_S", 0.3)
    monkeypatch.setattr(lease, "RECONNECT_S", 8.0)
    monkeypatch.setattr(lease, "RETRY_PAUSE_S", 0.2)
    monkeypatch.setattr(lease, "BUSY_POLL_S", 0.1)
    monkeypatch.setattr(daemon_client, "ARGUMENTS", {"silence_s": 2.0, "sign_of_life_s": 0.3})


def agent_bundle(folder: Path, agent: str) -> Bundle:
    """A bundle whose agent is this program, with the real agent's record keeping."""
    return make_bundle(folder / "bundle", [1000], agent=agent, shared=("orphans", "facts", "private"))


def started(board: OpenBoard, bundle: Bundle) -> object:
    board.put(bundle)
    channel = board.start(bundle)
    assert channel.receive(5, time.monotonic() + 20) == b"hello"
    return channel


def daemon_pid(server: BoardServer) -> int:
    """Of the daemon that has the lock."""
    path = server.home / "store/lock"
    pid = server.outside_pid(json.loads(path.read_text())["pid"])
    assert pid is not None
    return pid


# The lock


@pytest.mark.usefixtures("hasty")
def test_a_second_run_is_told_who_has_the_board(device: Device) -> None:
    with open_board(device) as first:
        with pytest.raises(DeviceBusy) as caught:
            open_board(device, wait_s=0.5)
        assert first.request(Pong) == Pong()
    error = caught.value
    assert error.what == "device board is in use by another run"
    assert f"run {first.lease.run}" in error.found
    assert "@" in error.found
    assert " UTC (for " in error.found
    assert "waited 0.5 s" in error.found
    assert "store/lock there" in error.where
    assert error.hint == "wait for it: --wait SECONDS"


@pytest.mark.usefixtures("hasty")
def test_a_run_that_waits_gets_the_board(device: Device) -> None:
    said: list[str] = []
    first = open_board(device)
    timer = threading.Timer(1, first.close)
    timer.start()
    with showing_progress(said.append), open_board(device, wait_s=30) as second:
        assert second.notes == []
    timer.join()
    assert len(said) == 1
    assert said[0].startswith("waiting for board: held by ")


HOST = """
import sys, time
from pathlib import Path
from tests.integration.boards import read_device
from harness.board import open_board
board = open_board(read_device(Path(sys.argv[1])))
print("open", flush=True)
time.sleep(600)
"""


def test_a_run_that_was_killed_has_let_go(device: Device, project: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOST, str(project)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        process.kill()
    open_board(device, wait_s=5).close()


@pytest.mark.parametrize(
    "interfere",
    [
        pytest.param(lambda server, proxy: os.kill(daemon_pid(server), signal.SIGKILL), id="its-daemon-was-killed"),
        pytest.param(lambda server, proxy: server.kill_sessions(), id="its-session-was-killed"),
        pytest.param(lambda server, proxy: proxy.stall(), id="its-connection-leads-nowhere"),
    ],
)
@pytest.mark.usefixtures("hasty")
def test_a_holder_that_is_gone_has_let_go(
    project: Path,
    server: BoardServer,
    proxy: FlakyProxy,
    interfere: Callable[[BoardServer, FlakyProxy], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(daemon_client, "PING_S", 600)  # its host is gone, too
    first = open_board(read_device(project))
    interfere(server, proxy)
    write_device(project, server, device=STORE)
    start = time.monotonic()
    with open_board(read_device(project), wait_s=20):
        assert time.monotonic() - start < 10
        first.link.abort()
    first.close()


def test_a_board_that_cannot_be_reached_is_an_error(project: Path, proxy: FlakyProxy) -> None:
    proxy.refuse()
    with pytest.raises(LinkError, match="board cannot be reached"):
        open_board(read_device(project))


YEAR = 365 * 24 * 3600
SHIFTED = """#!/bin/sh
PYTHONPATH=$(dirname "$0") exec /usr/bin/env -u PYTHONHOME PATH=/usr/local/bin:/usr/bin:/bin python3 "$@"
"""


@pytest.mark.parametrize("seconds", [pytest.param(YEAR, id="ahead"), pytest.param(-YEAR, id="behind")])
def test_a_board_whose_clock_is_wrong_by_a_year(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    shift = f"import time\nreal = time.time\ntime.time = lambda: real() + {seconds}\n"
    bundle = make_bundle(tmp_path / "bundle", [1000])
    commands = {"python3": SHIFTED, "sitecustomize.py": shift}
    with BoardServer(Board(commands=commands)) as server, nothing_left(server):
        write_device(tmp_path, server, device=STORE)
        device = read_device(tmp_path)
        with open_board(device) as board:
            assert abs(board.request(Look, store=board.store).time - time.time() - seconds) < 60
            board.put(bundle)
            with pytest.raises(DeviceBusy, match=r"\(for \d s\)"):
                open_board(device)
        with open_board(device) as board:
            assert board.notes == []
            assert set(board.entries) == {entry.name for entry in bundle.entries}


# What is left of a run


@pytest.mark.usefixtures("hasty")
def test_agents_of_a_run_that_was_cut_are_ended_by_the_next(
    project: Path, server: BoardServer, proxy: FlakyProxy, tmp_path: Path
) -> None:
    first = open_board(read_device(project))
    started(first, agent_bundle(tmp_path, STAYS))
    (record,) = (server.home / "store/agents").iterdir()
    pid = json.loads(record.read_text())["pid"]
    left, holder = set(server.processes()), daemon_pid(server)
    proxy.refuse()
    proxy.cut()
    wait_for(lambda: True if holder not in server.processes() else None)
    assert server.outside_pid(pid) in server.processes()
    proxy.accept()
    with open_board(read_device(project), wait_s=5) as second:
        (note,) = second.notes
        assert f"were ended: [{pid}" in note
        wait_for(lambda: None if left & set(server.processes()) else True)
    first.close()


def test_a_run_leaves_nothing_of_its_agents(device: Device, server: BoardServer, tmp_path: Path) -> None:
    with open_board(device) as board:
        started(board, agent_bundle(tmp_path, STAYS))
        (path,) = (server.home / "store/agents").iterdir()
        pid = server.outside_pid(json.loads(path.read_text())["pid"])
        assert pid is not None
        os.kill(pid, signal.SIGKILL)  # its child lives on
    assert list((server.home / "store/agents").iterdir()) == []


# Made again


@pytest.mark.parametrize("how", ["cut", "sessions killed", "server restarted"])
@pytest.mark.usefixtures("hasty")
def test_a_dropped_connection_is_made_again(
    project: Path, server: BoardServer, proxy: FlakyProxy, tmp_path: Path, how: str
) -> None:
    bundle = agent_bundle(tmp_path, STAYS)
    with open_board(read_device(project)) as board:
        board.put(bundle)
        if how == "cut":
            proxy.cut()
        elif how == "sessions killed":
            server.kill_sessions()
        else:
            server.stop()
            server.start()
        started(board, bundle)
        assert board.notes == ["the connection to board dropped and was made again"]
        assert board.entries >= {bundle.name}


@pytest.mark.usefixtures("hasty")
def test_an_agent_that_did_not_see_the_connection_drop_is_ended_before_the_next(
    project: Path, server: BoardServer, proxy: FlakyProxy, tmp_path: Path
) -> None:
    bundle = agent_bundle(tmp_path, STAYS)
    with open_board(read_device(project)) as board:
        started(board, bundle)
        (first,) = (server.home / "store/agents").iterdir()
        proxy.cut()
        started(board, bundle)
        (second,) = (server.home / "store/agents").iterdir()
        assert second != first
        assert server.outside_pid(int(first.stem)) is None


@pytest.mark.usefixtures("hasty")
def test_another_board_behind_the_same_address_is_an_error(project: Path, proxy: FlakyProxy, tmp_path: Path) -> None:
    bundle = agent_bundle(tmp_path, STAYS)
    with open_board(read_device(project)) as board:
        board.put(bundle)
        board.lease.known = board.facts.model_copy(update={"serial": "10000000deadbeef"})
        proxy.cut()
        with pytest.raises(DeviceError, match="another board answers in place of board"):
            board.start(bundle)


@pytest.mark.usefixtures("hasty")
def test_a_runs_own_half_open_daemon_is_taken_over(
    project: Path, server: BoardServer, proxy: FlakyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The old one would wait for long: it is not its own patience that ends it.
    monkeypatch.setattr(daemon_client, "ARGUMENTS", {"silence_s": 600.0, "sign_of_life_s": 0.3})
    bundle = agent_bundle(tmp_path, STAYS)
    with open_board(read_device(project)) as board:
        board.put(bundle)
        old = daemon_pid(server)
        proxy.stall()
        write_device(project, server, device=STORE)  # another way
        started(board, bundle)
        assert daemon_pid(server) != old
        assert old not in server.processes()


@pytest.mark.usefixtures("hasty")
def test_what_an_agent_kept_is_collected(project: Path, proxy: FlakyProxy, tmp_path: Path) -> None:
    with open_board(read_device(project)) as board:
        channel = started(board, agent_bundle(tmp_path, KEEPS))
        name = board.result_name()
        proxy.cut()
        with pytest.raises(LinkLost):
            channel.receive(1, time.monotonic() + 20)  # type: ignore[attr-defined]
        start = time.monotonic()
        assert board.collect(name, 30) == b"kept"
        assert time.monotonic() - start < 10
        assert board.collect(name, 0) == b"kept"  # as when the first reply was lost
        assert board.collect(board.result_name(), 30) is None


@pytest.mark.usefixtures("hasty")
def test_a_connection_that_cannot_be_made_again_is_given_up(
    project: Path, proxy: FlakyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RECONNECT_S", 1.0)
    bundle = agent_bundle(tmp_path, STAYS)
    with open_board(read_device(project)) as board:
        board.put(bundle)
        proxy.refuse()
        proxy.cut()
        for seconds in (5.0, 0.5):  # the second time without waiting
            start = time.monotonic()
            with pytest.raises(LinkLost, match="could not be made again"):
                board.start(bundle)
            assert time.monotonic() - start < seconds
        proxy.accept()
        started(board, bundle)  # it has come back


@pytest.mark.usefixtures("hasty")
def test_a_board_that_stops_answering_is_noticed_and_let_go_of(project: Path, proxy: FlakyProxy) -> None:
    board = open_board(read_device(project))
    proxy.stall()
    start = time.monotonic()
    board.close()
    assert time.monotonic() - start < 10
    proxy.resume()


@pytest.mark.usefixtures("hasty")
def test_a_daemon_that_is_stopped_does_not_answer_another_request_late(
    project: Path, server: BoardServer, device: Device
) -> None:
    with open_board(device) as board:
        pid = daemon_pid(server)
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(LinkLost):
            board.request(Pong)
        with pytest.raises(LinkLost):
            board.request(Look, store=board.store)
        os.kill(pid, signal.SIGKILL)
