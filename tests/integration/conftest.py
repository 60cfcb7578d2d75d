"""A project of a user's, as a folder, and ways to run hilgate in it: in this process, or in one that can be killed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness.evidence.reading import read_evidence
from harness.host.shipped import SUITE
from harness.links.ssh import Link
from tests.integration.desk import Desk, linked
from tests.integration.emulated import opened
from tests.integration.runners import USERS_CACHE, Built, Runners, build_all, runners_in
from tests.support.forked import Forker
from tests.support.sshd import BoardServer

MODEL = """
    import torch
    from harness import Input, Model

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("weight", torch.linspace(-1, 1, 12).reshape(4, 3))

        def forward(self, x):
            return torch.relu(x @ self.weight)

    model = Model(
        build=lambda: Net().eval(),
        inputs=[Input("x", shape=("batch", 4), min_value=-1.0, max_value=1.0)],
        dims={"batch": (1, 4)},
    )
"""


# The shipped device with short blocks: a p99 takes 515 of them.
SHORT_BLOCKS = """
    extends = "local"

    [device]
    optional = ["libtorch", "onnxruntime-cpp"]

    [measure]
    block_ms = 1
"""
CI_VARIABLES = ("CI", "BUILD_NUMBER")
# After which a run hangs: it takes a tenth of it, and up to a half beside another worker that compiles the runners.
HANGS_S = 240.0
# What a runner is made of, and what is made of it.
RUNNER_STORES = ("packages", "runners")
FORKER = Forker()


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of the tests' own; one for all of them, so that the same model is exported once."""
    folder = tmp_path_factory.mktemp("cache")
    with _using(folder):
        yield folder


@pytest.fixture(scope="session", autouse=True)
def _forker() -> Iterator[None]:
    """End the process that runs are forked from."""
    yield
    FORKER.close()


@contextmanager
def _using(cache: Path) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HILGATE_CACHE", str(cache))
        yield cache


@pytest.fixture(scope="module")
def kept_cache(cache: Path) -> Iterator[Path]:
    """A module whose runs work in the user's own cache: what takes minutes to compile is there the next time."""
    with _using(USERS_CACHE):
        yield USERS_CACHE


@pytest.fixture(scope="session")
def prepared(cache: Path) -> Path:
    """The user's own cache, with the image and a saved state of qemu-pi4. Made there now, where they are not: that
    takes minutes, and no test waits for it."""
    with _using(USERS_CACHE), opened():
        return USERS_CACHE


@pytest.fixture(scope="module")
def users_cache(prepared: Path) -> Iterator[Path]:
    """A module whose emulated boards start from there."""
    with _using(prepared):
        yield prepared


@dataclass
class Outcome:
    """What a run in a project came to."""

    status: int
    output: str
    folder: Path

    @property
    def evidence(self) -> dict[str, Any]:
        """evidence.json, which is what the schema says."""
        path = self.folder / "build/hil/evidence.json"
        found: dict[str, Any] = json.loads(path.read_text())
        assert read_evidence(path).lacks == ()
        return found

    def check(self, metric: str, cell: int = 0) -> dict[str, Any]:
        """One check of a cell."""
        checks = {check["metric"]: check for check in self.evidence["cells"][cell]["checks"]}
        found: dict[str, Any] = checks[metric]
        return found


@dataclass
class Project:
    """A folder with a pytest.ini, a model file and device files."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def whole_environment(self) -> dict[str, str]:
        """This process's variables with the project's; without CI, under which pytest prints each error twice."""
        return {name: value for name, value in os.environ.items() if name not in CI_VARIABLES} | self.environment

    def write(self, path: str, text: str) -> Path:
        """Write a file, indented as it stands in the test."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
        return target

    def command(self, *arguments: str, suite: Path = SUITE) -> list[str]:
        """The suite with this project's settings, as `pytest --pyargs harness.suite -m hil` runs it where installed."""
        pytest_command = [sys.executable, "-m", "pytest", "-c", "pytest.ini", "-m", "hil"]
        return [*pytest_command, str(suite), *arguments]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a run, for it to be interfered with."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.whole_environment,
        )

    def run(self, *arguments: str, prefix: Sequence[str] = (), suite: Path = SUITE) -> Outcome:
        """Run the suite to its end; a prefix is a command that runs commands."""
        command = self.command(*arguments, suite=suite)
        if prefix or self._needs_program:
            return self.run_command([*prefix, *command])
        return self._fork("pytest", *command[3:])

    def hilgate(self, *words: str) -> Outcome:
        """Run one of hilgate's commands."""
        if self._needs_program:
            return self.run_command([sys.executable, "-c", "from harness.cli import main; main()", *words])
        return self._fork("hilgate", *words)

    @property
    def _needs_program(self) -> bool:
        """Whether its variables are for interpreter or loader, or hold a key that is to leave the environment."""
        names = self.environment.keys() - {"PYTHONPATH"}
        return any(name.startswith(("PYTHON", "LD_", "HILGATE_SIGNING")) for name in names)

    def _fork(self, *words: str) -> Outcome:
        """Run it in a process that has imported the plugin already."""
        status, output = FORKER.run(words, self.folder, self.whole_environment, HANGS_S)
        return Outcome(status, output, self.folder)

    def finish(self, process: subprocess.Popen[str], timeout: float = HANGS_S) -> Outcome:
        """Wait for a run that was started."""
        output, _ = process.communicate(timeout=timeout)
        return Outcome(process.returncode, output, self.folder)

    def run_command(self, command: Sequence[str], timeout: float = HANGS_S) -> Outcome:
        """Run any command in the project."""
        done = subprocess.run(
            command,
            check=False,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            env=self.whole_environment,
        )
        return Outcome(done.returncode, done.stdout, self.folder)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A fresh project with a tiny model; the device is the shipped `local`, with one backend unless a test says
    more."""
    made = Project(tmp_path)
    made.write("pytest.ini", "[pytest]\nhil_model = tiny.py\nhil_device = local\n")
    made.write("tiny.py", MODEL)
    return made


@pytest.fixture
def desk(server: BoardServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A user's, with the keys of the module's ``server`` pinned."""
    made = Desk(tmp_path, monkeypatch)
    made.pin(server)
    return made


@pytest.fixture
def link(server: BoardServer, desk: Desk) -> Iterator[Link]:
    """To that server, by its name in ~/.ssh/config."""
    desk.configure(server)
    with linked(desk.device()) as made:
        yield made


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Built]:
    """Both runners, as a device has them: built once for all who ask."""
    return build_all(tmp_path_factory.mktemp("runners"))


def put_runners(cache: Path) -> None:
    """Copy the runners of the user's cache, which the fixture ``built`` has seen to, into another."""
    unfinished = shutil.ignore_patterns(".*")  # what another worker is making there at the moment
    for name in RUNNER_STORES:
        shutil.copytree(USERS_CACHE / name, cache / name, symlinks=True, ignore=unfinished, dirs_exist_ok=True)


@pytest.fixture(scope="session")
def cache_with_runners(built: dict[str, Built], cache: Path) -> Path:
    """The tests' cache, with the runners of the user's: a run that needs them does not compile them once more."""
    put_runners(cache)
    return cache


@pytest.fixture
def runners(built: dict[str, Built], tmp_path: Path) -> Iterator[Runners]:
    """Starts them; those that a test left are ended."""
    with runners_in(built, tmp_path) as made:
        yield made
