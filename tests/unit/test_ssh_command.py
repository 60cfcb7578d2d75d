"""The one command that a board's login shell is given, whatever shell it is."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from harness.board.daemon_client import python_script
from harness.device.device import Device, Runtime
from harness.links.ssh import Link
from harness.links.ssh.process import STARTED, shell_command

SHELLS = ("sh", "bash", "dash", "zsh", "fish", "tcsh", "busybox sh")
# Dropbear's MAX_CMD_LEN.
LONGEST = 9000


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_runs_it_and_takes_nothing_of_it_for_its_own(shell: str) -> None:
    program, *more = shell.split()
    if shutil.which(program) is None:
        pytest.skip(f"no {program} on this machine")
    script = "read line\necho \"$line! it's 100% $((1 + 1)) `echo ü`\" 'a  b' # !!\nexit 3"
    command = [program, *more, "-c", shell_command(script)]
    done = subprocess.run(command, check=False, input=b"hello\n", capture_output=True)
    assert done.stdout == STARTED + "hello! it's 100% 2 ü a  b\n".encode()
    assert (done.returncode, done.stderr) == (3, b"")


def test_the_signal_that_ends_a_program_is_told() -> None:
    command = ["/bin/sh", "-c", shell_command("exec sh -c 'kill -9 $$'")]
    done = subprocess.run(command, check=False, capture_output=True)
    assert done.returncode == 128 + 9


@pytest.mark.parametrize("packages", [(), ("onnxruntime==1.32.0", "numpy==2.4.6")])
def test_the_longest_command_is_one_that_dropbear_takes(packages: tuple[str, ...]) -> None:
    runtime = Runtime(python="3.11", packages=packages)
    device = Device(
        name="rig", path=Path("rig.toml"), description="", link="ssh", host="rig", backends=(), runtime=runtime
    )
    assert len(shell_command(python_script(device, Link(device)))) < LONGEST / 2
