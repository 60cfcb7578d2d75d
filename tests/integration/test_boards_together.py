"""Several boards: one after the other in one run, and at the same time in a run each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.boards import write_device
from tests.integration.conftest import Project
from tests.support.sshd import BoardServer

NAMES = ("left", "right")
NARROW = ("-k", "parity or load_time")


@pytest.fixture
def boards(project: Project) -> Iterator[Project]:
    """A project with two boards, their runtimes shipped."""
    with ExitStack() as stack:
        for name in NAMES:
            server = stack.enter_context(BoardServer())
            folder = project.folder / name
            folder.mkdir()
            write_device(folder, server, runtime='packages = ["onnxruntime==1.32.0", "numpy==2.4.6"]')
            for path, old in ((".ssh/config", "Host board"), ("devices/board.toml", 'host = "board"')):
                target = project.folder / path.replace("devices/board", f"devices/{name}")
                append(target, (folder / path).read_text().replace(old, old.replace("board", name)))
            append(project.folder / "devices/known_hosts", (folder / "devices/known_hosts").read_text())
        project.environment["HOME"] = str(project.folder)
        yield project


def append(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(text)


def cells(folder: Path) -> dict[str, str]:
    """The verdict of each device in a folder's evidence."""
    return {cell["device"]: cell["verdict"] for cell in json.loads((folder / "evidence.json").read_text())["cells"]}


def test_one_after_the_other_in_one_run(boards: Project) -> None:
    done = boards.run("--device", "left", "--device", "right", *NARROW)
    assert done.status == 0, done.output
    assert cells(boards.folder / "build/hil") == {"left": "PASS", "right": "PASS"}


def test_at_the_same_time_in_a_run_each(boards: Project) -> None:
    runs = {name: boards.start("--device", name, "--evidence", f"results/{name}", *NARROW) for name in NAMES}
    for name, process in runs.items():
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
        assert cells(boards.folder / "results" / name) == {name: "PASS"}


def test_two_runs_on_one_board_are_told_so_or_wait(boards: Project) -> None:
    first = boards.start("--device", "left", "--evidence", "results/first", *NARROW)
    second = boards.start("--device", "left", "--evidence", "results/second", *NARROW)
    third = boards.start("--device", "left", "--evidence", "results/third", "--wait", "120", *NARROW)
    statuses = {}
    for name, process in (("first", first), ("second", second), ("third", third)):
        output, _ = process.communicate(timeout=240)
        statuses[name] = process.returncode
        if process.returncode:
            assert "device left is in use by another run" in output
            assert "--wait SECONDS" in output
    assert statuses["third"] == 0
    assert sorted([statuses["first"], statuses["second"]]) in ([0, 0], [0, 1], [1, 1])
