"""What happens to an emulated board while it is used: it is gone, and that is said with its console; or it recovers."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.board import Board
from harness.cli import cli
from harness.errors import EmulatorDied, EmulatorError, LinkLost

from .emulated import Digits, Hosted, device, emulator_of, hosted, opened

FAULT = [sys.executable, "-c", "from harness.cli import main; main()", "fault"]
# All that there is to say about a board that is gone is said so soon.
SOON_S = 20.0
LONG_S = {("network-down", "network-up"): 30.0, ("pause", "resume"): 35.0}
SHORT_S = 5.0


@pytest.fixture
def digits(users_cache: Path) -> Iterator[Digits]:
    """On a board that a test may do anything to, with an agent that has answered."""
    with opened() as board:
        made = Digits(board)
        made.fresh()
        yield made


def cut_power(board: Board, host: Hosted) -> None:
    emulator_of(board).inject("power-cut")


def kill_qemu(board: Board, host: Hosted) -> None:
    os.kill(host.qemu, signal.SIGKILL)


def kill_supervisor(board: Board, host: Hosted) -> None:
    os.kill(host.supervisor, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "said"),
    [
        pytest.param(cut_power, "QEMU ended with exit status 0", id="power-cut"),
        pytest.param(kill_qemu, "QEMU was killed by SIGKILL", id="qemu-killed"),
        pytest.param(kill_supervisor, "QEMU ended with its supervisor, which was killed", id="supervisor-killed"),
    ],
)
def test_a_board_that_is_gone_is_said_to_be_with_its_end_and_its_console(
    digits: Digits, end: Callable[[Board, Hosted], None], said: str
) -> None:
    (host,) = hosted()
    start = time.monotonic()
    end(digits.board, host)
    with pytest.raises(LinkLost):
        digits.answer()
    for _ in range(2):
        with pytest.raises(EmulatorDied) as caught:
            digits.fresh()
        assert said in caught.value.found
        assert "its console ends:\nAccepted publickey for pi" in caught.value.found
    with pytest.raises(EmulatorError):
        emulator_of(digits.board).inject("reset")
    assert time.monotonic() - start < SOON_S
    digits.board.close()
    host.wait_gone()


@pytest.mark.slow
def test_a_board_that_is_reset_from_outside_recovers(users_cache: Path, tmp_path: Path) -> None:
    """By its name, which no other board of this user's has: the command does it to all of a name."""
    (tmp_path / "reset-pi4.toml").write_text('extends = "qemu-pi4"\n')
    with opened(device(tmp_path, "reset-pi4")) as board:
        digits = Digits(board)
        before = digits.fresh()
        done = subprocess.run([*FAULT, "reset-pi4", "reset"], capture_output=True, text=True, timeout=30, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert "the board starts anew" in done.stdout
        with pytest.raises(LinkLost):
            digits.answer()
        assert digits.fresh() == before
        assert any("was restarted while it was used" in note for note in board.notes)


@pytest.mark.slow
def test_a_cable_that_is_plugged_in_again_soon_is_only_a_delay(digits: Digits) -> None:
    before = digits.answer()
    emulator = emulator_of(digits.board)
    emulator.inject("network-down")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(digits.answer)
        time.sleep(SHORT_S)
        assert not answer.done()
        emulator.inject("network-up")
        assert answer.result(SOON_S) == before
    assert digits.board.notes == []


@dataclass(frozen=True)
class Silence:
    """What came of a board that did not answer for a while."""

    error: Exception | None
    before: list[float]
    after: list[float]
    notes: list[str]


def be_silent(fault: str, remedy: str, seconds: float) -> Silence:
    """Of an agent's call meanwhile, and of another agent after."""
    with opened() as board, ThreadPoolExecutor(1) as pool:
        digits, emulator = Digits(board), emulator_of(board)
        before = digits.fresh()
        emulator.inject(fault)
        end = time.monotonic() + seconds
        error = pool.submit(digits.answer).exception(seconds)
        time.sleep(max(end - time.monotonic(), 0.0))
        emulator.inject(remedy)
        return Silence(error if isinstance(error, Exception) else None, before, digits.fresh(), board.notes)


@pytest.fixture(scope="module")
def silences(users_cache: Path) -> dict[str, Silence]:
    """All at once: each is half a minute of waiting."""
    with ThreadPoolExecutor() as pool:
        begun = {fault: pool.submit(be_silent, fault, remedy, wait) for (fault, remedy), wait in LONG_S.items()}
        return {fault: one.result(300) for fault, one in begun.items()}


@pytest.mark.slow
@pytest.mark.parametrize("fault", [fault for fault, _ in LONG_S])
def test_a_board_that_is_silent_for_long_is_lost_and_then_used_again(silences: dict[str, Silence], fault: str) -> None:
    found = silences[fault]
    assert isinstance(found.error, LinkLost)
    assert found.after == found.before
    assert found.notes == ["the connection to qemu-pi4 dropped and was made again"]


def test_a_fault_needs_a_board_that_is_running() -> None:
    done = CliRunner().invoke(cli, ["fault", "nobodys-pi4", "reset"])
    assert done.exit_code == 1
    assert "no emulated board nobodys-pi4 is running" in done.stderr
    assert "start a run first" in done.stderr


def test_a_board_that_has_gone_meanwhile_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HILGATE_CACHE", str(tmp_path))
    folder = tmp_path / "emulators" / "board-gone"
    folder.mkdir(parents=True)
    (folder / "board.json").write_text('{"device": "gone-pi4", "pid": 1, "port": 1}')
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as its supervisor has it
        done = CliRunner().invoke(cli, ["fault", "gone-pi4", "reset"])
    assert done.exit_code == 1
    assert "the board cannot be reached" in done.stderr
