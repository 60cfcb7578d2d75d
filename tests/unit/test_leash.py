"""A program and all that it has started end with whoever started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from harness.agent.orphans import identity
from harness.host.leash import end_session, leashed
from tests.integration.boards import wait_for

FAMILY = ["sh", "-c", "sleep 600 & echo $!; wait"]
STARTER = f"""
import subprocess, sys, time
from harness.host.leash import leashed
subprocess.Popen(leashed({FAMILY!r}), start_new_session=True)
time.sleep(600)
"""


def has_ended(pid: int) -> bool | None:
    found = identity(pid)
    return True if found is None or found[2] in "ZX" else None


def test_what_a_program_started_ends_with_a_run_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", STARTER], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        grandchild = int(starter.stdout.readline())
        assert has_ended(grandchild) is None
        starter.kill()
    wait_for(lambda: has_ended(grandchild), 20)


def test_what_a_program_started_ends_with_its_session() -> None:
    with subprocess.Popen(leashed(FAMILY), stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        grandchild = int(process.stdout.readline())
        end_session(process)
    wait_for(lambda: has_ended(grandchild), 20)


@pytest.mark.parametrize(
    ("script", "status"),
    [
        pytest.param("exit 0", 0, id="well"),
        pytest.param("exit 3", 3, id="with-a-status"),
        pytest.param("kill -TERM $$", -signal.SIGTERM, id="by-a-signal"),
    ],
)
def test_it_ends_as_the_program_has_ended(script: str, status: int) -> None:
    assert subprocess.run(leashed(["sh", "-c", script]), check=False).returncode == status


def test_a_program_that_is_not_there_is_named() -> None:
    done = subprocess.run(leashed(["/no/such/program"]), check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"/no/such/program: {os.strerror(2)}\n"
