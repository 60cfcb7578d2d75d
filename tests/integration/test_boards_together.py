"""Several boards: one after the other in one run, and at the same time in a run each."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.board import open_board
from harness.device import load_device
from harness.measure import known_metrics
from tests.integration.boards import write_device
from tests.integration.conftest import HANGS_S, Project
from tests.support.sshd import BoardServer

NAMES = ("left", "right")
NARROW = ("-k", "parity or load_time")
PARITY = ("-k", "parity")  # what is judged, and no more


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, BoardServer]]:
    """Two boards for all tests: their runtimes are sent once, by the first, at the same time."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(BoardServer()) for name in NAMES}


@pytest.fixture
def boards(project: Project, servers: dict[str, BoardServer]) -> Project:
    """A project with two boards, their runtimes shipped."""
    for name, server in servers.items():
        folder = project.folder / name
        folder.mkdir()
        write_device(folder, server, runtime='packages = ["onnxruntime==1.32.0", "numpy==2.4.6"]')
        for path, old in ((".ssh/config", "Host board"), ("devices/board.toml", 'host = "board"')):
            target = project.folder / path.replace("devices/board", f"devices/{name}")
            append(target, (folder / path).read_text().replace(old, old.replace("board", name)))
        append(project.folder / "devices/known_hosts", (folder / "devices/known_hosts").read_text())
    project.environment["HOME"] = str(project.folder)
    return project


def append(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(text)


def cells(folder: Path) -> dict[str, str]:
    """The verdict of each device in a folder's evidence."""
    return {cell["device"]: cell["verdict"] for cell in json.loads((folder / "evidence.json").read_text())["cells"]}


def test_at_the_same_time_in_a_run_each(boards: Project) -> None:
    runs = {name: boards.start("--device", name, "--evidence", f"results/{name}", *PARITY) for name in NAMES}
    for name, process in runs.items():
        output, _ = process.communicate(timeout=HANGS_S)
        assert process.returncode == 0, output
        assert cells(boards.folder / "results" / name) == {name: "PASS"}


def test_one_after_the_other_in_one_run(boards: Project) -> None:
    done = boards.run("--device", "left", "--device", "right", *PARITY)
    assert done.status == 0, done.output
    assert cells(boards.folder / "build/hil") == {"left": "PASS", "right": "PASS"}


@pytest.mark.slow
def test_two_device_files_of_one_board_in_one_run(boards: Project) -> None:
    boards.write("devices/tuned.toml", 'extends = "left"\n[device]\nthreads = 2\n')
    done = boards.run("--device", "left", "--device", "tuned", *NARROW)
    assert done.status == 0, done.output
    assert cells(boards.folder / "build/hil") == {"left": "PASS", "tuned": "PASS"}


@pytest.mark.slow
def test_a_second_run_on_a_board_is_refused_or_waits(boards: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(boards.folder))
    # Another store, as another user's would be: it is the board that is taken.
    boards.write("devices/apart.toml", 'extends = "left"\n[device]\nstore = "~/elsewhere"\n')
    device = load_device("left", [boards.folder / "devices"], known_metrics().values())
    with open_board(device):
        for name in ("left", "apart"):
            done = boards.run("--device", name, *NARROW)
            assert done.status == 1, done.output
            assert f"device {name} is in use by another run" in done.output
            assert "--wait SECONDS" in done.output
        waiting = boards.start("--device", "apart", "--wait", "120", *NARROW)
        time.sleep(5)
        assert waiting.poll() is None
    output, _ = waiting.communicate(timeout=120)
    assert waiting.returncode == 0, output
