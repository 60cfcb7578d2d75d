"""The device's lock, between real processes: who gets it, and what is said of who has it."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.agent import orphans
from harness.agent.daemon import device_lock

HARNESS = Path(orphans.__file__).parents[1]
PROGRAM = f"""
import sys, time
sys.path.insert(0, {str(HARNESS)!r})
from agent.daemon import device_lock
held = device_lock.take(sys.argv[1], {{"run": sys.argv[2], "who": "pi@host", "since": "today"}})
print("held", flush=True)
time.sleep(600)
"""
OURS = {"run": "ours", "who": "me@here", "since": "now"}


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "lock")


@pytest.fixture
def holder(path: str) -> Iterator[subprocess.Popen[str]]:
    """A process of another run that holds the lock."""
    command = [sys.executable, "-c", PROGRAM, path, "other"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def taken(path: str, run: str = "ours") -> None:
    os.close(device_lock.take(path, {**OURS, "run": run}))


def test_a_second_run_is_told_who_has_it_and_for_how_long(path: str, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(device_lock.Busy) as caught:
        taken(path)
    found = caught.value.holder
    assert {key: found[key] for key in ("run", "who", "since")} == {"run": "other", "who": "pi@host", "since": "today"}
    assert 0 <= found["age_s"] < 60
    assert holder.poll() is None
    assert device_lock.held_by(path)["pid"] == holder.pid


def test_a_dead_holder_has_let_go(path: str, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait()
    taken(path)


def test_the_same_runs_earlier_holder_is_ended(path: str, holder: subprocess.Popen[str]) -> None:
    taken(path, run="other")
    assert holder.wait(5) == -signal.SIGKILL


def test_a_stopped_holder_of_the_same_run_is_ended(path: str, holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGSTOP)
    taken(path, run="other")
    assert holder.wait(5) == -signal.SIGKILL


def test_a_process_that_has_the_holders_pid_by_chance_is_left_alone(path: str) -> None:
    with Path(path).open("w") as file, subprocess.Popen(["sleep", "600"]) as innocent:
        fcntl.flock(file, fcntl.LOCK_EX)  # of somebody who has not yet said so: what stands there is an older run's
        json.dump({**OURS, "pid": innocent.pid, "start": 1, "boot": orphans.boot_id(), "uptime_s": 0.0}, file)
        file.flush()
        with pytest.raises(device_lock.Busy) as caught:
            taken(path)
        assert caught.value.holder == {}
        assert innocent.poll() is None
        innocent.kill()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("{", id="cut-short"),
        pytest.param("[1]", id="another-kind"),
        pytest.param('{"pid": null, "start": null, "boot": null}', id="no-numbers"),
    ],
)
def test_a_damaged_file_names_nobody_and_disturbs_nobody(path: str, text: str) -> None:
    Path(path).write_text(text)
    assert device_lock.held_by(path) == {}
    with Path(path).open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(device_lock.Busy):
            taken(path)
    taken(path)


def test_nobody_holds_what_is_not_there(path: str) -> None:
    assert device_lock.held_by(path) == {}


def test_a_full_disk_does_not_keep_anybody_out(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("harness.agent.daemon.device_lock.os.pwrite", full)
    descriptor = device_lock.take(path, OURS)
    with pytest.raises(device_lock.Busy):
        taken(path)
    os.close(descriptor)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_file_that_cannot_be_opened_leaves_no_descriptor(tmp_path: Path) -> None:
    before = descriptors()
    with pytest.raises(OSError, match="Is a directory"):
        taken(str(tmp_path))
    assert descriptors() == before
