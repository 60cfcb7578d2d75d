"""A daemon that somebody stopped: it cannot see its run go, and must not hold its board for ever (issue 17)."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from harness.agent.facts import read_text
from harness.board import daemon_client, open_board
from harness.protocol import daemon as answers
from tests.support.sshd import BoardServer

from .boards import nothing_left, read_device, write_device
from .desk import linked


def test_a_daemon_that_was_stopped_before_it_had_the_lock_goes_with_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with BoardServer() as server, nothing_left(server):
        write_device(tmp_path, server)
        device = read_device(tmp_path)
        with linked(device) as link:
            daemon_client.DaemonClient.start(link, device)
            (pid,) = (one for one in server.processes() if read_text(f"/proc/{one}/comm").startswith("python"))
            os.kill(pid, signal.SIGSTOP)
            link.abort()
        with open_board(device) as board:
            assert pid not in server.processes()
            assert "were still there and were ended" in " ".join(board.notes)


def test_a_board_whose_daemon_was_stopped_is_free_for_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with BoardServer() as server, nothing_left(server):
        write_device(tmp_path, server)
        first = open_board(read_device(tmp_path))
        pid = server.outside_pid(json.loads((server.home / ".cache/hilgate/lock").read_text())["pid"])
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        with monkeypatch.context() as hasty:
            hasty.setattr(daemon_client, "SILENCE_S", 1.0)
            first.close()
        assert pid in server.processes()
        with open_board(read_device(tmp_path)) as second:
            second.request(answers.Pong)
            assert pid not in server.processes()
