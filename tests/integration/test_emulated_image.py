"""`hilgate image`: an image from nothing, by an ordinary user, in a cache of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.emulator.building import NEEDED_BYTES
from tests.support.namespaces import require_namespaces

from .emulated import NAME

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-c", "from harness.cli import main; main()", "image"]
BUILD_S = 120.0
NOBODY = "65534"
# No root any more; it may read what is root's, for this Python may be in root's home.
AS_NOBODY = [
    *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--bounding-set=-all,+dac_read_search"),
    *("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"),
]
ROOT = os.geteuid() == 0
SMALL = "mount -t tmpfs -o size=64m,mode=0700 none {folder} && exec {command}"


class Desk:
    """Of a user who is not root, with an empty cache."""

    def __init__(self, home: Path) -> None:
        self.home = home
        if ROOT:
            os.chown(home, int(NOBODY), int(NOBODY))

    def __call__(self, *arguments: str, timeout: float = 30.0) -> list[str]:
        """The lines that a command says, which ends well."""
        command = [*(AS_NOBODY if ROOT else ()), *COMMAND, *arguments]
        environment = {**os.environ, "HOME": str(self.home), "HILGATE_CACHE": str(self.home / "cache")}
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, env=environment, cwd=self.home, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("nobody"))


@pytest.fixture(scope="module")
def built(desk: Desk) -> Iterator[list[str]]:
    """What was said while one was built."""
    start = time.monotonic()
    said = desk("build", NAME, timeout=2 * BUILD_S)
    assert time.monotonic() - start < BUILD_S
    yield said
    desk("remove", "--yes")


def test_each_step_is_said_as_it_begins(built: list[str]) -> None:
    steps = [line for line in built if line[1:3] == "/4"]
    assert [line[:3] for line in steps] == ["1/4", "2/4", "3/4", "4/4"]
    assert any("downloading packages" in line for line in built)
    assert any(line.startswith("built in ") for line in built)


def test_what_is_there_is_not_built_again(desk: Desk, built: list[str]) -> None:
    assert desk("build", NAME) == ["it was there already:", *built[-2:]]


def test_it_is_listed(desk: Desk, built: list[str]) -> None:
    assert desk("list") == built[-2:]


def test_it_is_made_of_debians_packages_and_nothing_else_is_left(desk: Desk, built: list[str]) -> None:
    (folder,) = (path for path in (desk.home / "cache" / "images").iterdir() if path.is_dir())
    assert str(folder) in built[-1]
    names = {"disk.qcow2", "host_key.pub", "id_ed25519", "initrd", "record.json", "vmlinuz"}
    assert {path.name for path in folder.iterdir()} == names
    assert (folder / "id_ed25519").stat().st_mode & 0o777 == 0o600
    assert (folder / "disk.qcow2").stat().st_uid == (int(NOBODY) if ROOT else os.getuid())


def test_it_is_removed(desk: Desk, built: list[str]) -> None:
    assert desk("build", NAME)[0] == "it was there already:"
    assert desk("remove", "--yes")[0].endswith("freed")
    assert desk("list") == ["none"]


def test_a_disk_that_is_too_small_is_said_before_anything_is_done(tmp_path: Path) -> None:
    """A small one that is mounted for the command alone."""
    require_namespaces(user=True)
    command = f"{sys.executable} -c 'from harness.cli import main; main()' image build {NAME}"
    script = SMALL.format(folder=tmp_path, command=command)
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "HILGATE_CACHE": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 1
    assert "too little space to build an image" in done.stderr
    assert f"{NEEDED_BYTES >> 20} MiB free" in done.stderr
    assert str(tmp_path) in done.stderr
