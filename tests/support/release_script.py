"""Starting the script ``run`` of a release in several shells."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.small_bundle import SmallBundle

SHELLS = ["dash", "bash", "busybox"]
PATH = "/usr/bin:/bin"
# A command line, and its environment.
Shell = tuple[list[str], dict[str, str]]


def find_shell(name: str, folder: Path) -> Shell:
    """Return a shell, or skip the test; busybox's finds busybox's programs and no others.

    Args:
        name: one of SHELLS.
        folder: for links to busybox.
    """
    if (program := shutil.which(name)) is None:
        pytest.skip(f"{name} is not installed")
    if name != "busybox":
        return [program], {"PATH": PATH}
    tools = folder / "tools"
    tools.mkdir()
    for tool in subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split():
        (tools / tool).symlink_to(program)
    return [str(tools / "sh")], {"PATH": str(tools)}


def make_release(folder: Path) -> Path:
    """Lay out a release whose program passes."""
    return SmallBundle(folder).lay_out().folder


def run(script: Path, *arguments: str, by: Shell = (["dash"], {"PATH": PATH})) -> subprocess.CompletedProcess[str]:
    """Run the script in a shell, from another folder."""
    return subprocess.run(
        [*by[0], str(script), *arguments],
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
        timeout=60,
        cwd="/",
        env=by[1],
    )


def change_byte(release: Path, name: str) -> None:
    """Change one bit of a file."""
    content = bytearray((release / name).read_bytes())
    content[len(content) // 2] ^= 1
    (release / name).write_bytes(content)


def check_refused(done: subprocess.CompletedProcess[str], message: str) -> None:
    """Expect status 1, a last line that says what is wrong, and nothing of the release started."""
    assert done.returncode == 1, done.stdout + done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith("check: FAIL: ")
    assert message in last
    assert "runner" not in done.stdout.replace(message, "")
    assert "PASS" not in done.stdout
    assert "\x1b" not in done.stdout
