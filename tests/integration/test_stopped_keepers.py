"""A keeper that somebody stopped: it cannot see its run go, and must not hold its board for ever (issue 17)."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from harness.board import keeper, open_board
from harness.protocol import keeper as answers
from tests.support.sshd import BoardServer

from .boards import nothing_left, read_device, write_device


def test_a_board_whose_keeper_was_stopped_is_free_for_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(keeper, "SILENCE_S", 1.0)
    with BoardServer() as server, nothing_left(server):
        write_device(tmp_path, server)
        first = open_board(read_device(tmp_path))
        pid = server.outside_pid(json.loads((server.home / ".cache/hilgate/lock").read_text())["pid"])
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        first.close()
        assert pid in server.processes()
        with open_board(read_device(tmp_path)) as second:
            second.request(answers.Pong)
            assert pid not in server.processes()
