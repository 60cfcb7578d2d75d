"""The first start after power-on, on a board by ssh: its pages are dropped before each of three fresh processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.sshd import BoardServer

from .boards import write_device
from .conftest import MODEL, Outcome, Project

# A plugin for the run: writes down how each agent is started, and when pages are dropped.
PLUGIN = """
    from pathlib import Path

    from harness.board import Board
    from harness.measure import first_start

    script, drop = Board._agent_script, first_start.Dropper.drop

    def note(line):
        with Path("steps").open("a") as file:
            file.write(line + "\\n")

    def noted_script(self, bundle):
        found = script(self, bundle)
        note("joins a forkserver" if "attach.py" in found else "starts")
        return found

    def noted_drop(self):
        report = drop(self)
        note("dropped" if self.deployer.live is None else "dropped beside a process")
        return report

    Board._agent_script, first_start.Dropper.drop = noted_script, noted_drop
"""


@pytest.fixture
def board(project: Project) -> Iterator[Project]:
    """A project with a board whose user is not the one who runs pytest, and whose runtime is sent."""
    with BoardServer() as server:
        write_device(project.folder, server, runtime='packages = ["onnxruntime==1.32.0", "numpy==2.4.6"]')
        project.environment["HOME"] = str(project.folder)
        project.write("noting.py", PLUGIN)
        yield project


def steps(done: Outcome) -> list[str]:
    path = done.folder / "steps"
    return path.read_text().splitlines() if path.exists() else []


def check_of(done: Outcome, model: str) -> dict[str, Any]:
    (cell,) = (cell for cell in done.evidence["cells"] if cell["model"] == model)
    (check,) = cell["checks"]
    return check  # type: ignore[no-any-return]


@pytest.mark.slow
def test_three_processes_of_their_own_find_nothing_of_the_store_in_the_page_cache(board: Project) -> None:
    """Those of the model with a limit; of the other, whose limit nobody set, none is started."""
    board.write("tiny.py", MODEL.replace("dims={", "limits={'first_start_s': 1e6},\n        dims={"))
    board.write("free.py", MODEL)
    models = ("--model", "tiny.py", "--model", "free.py")
    done = board.run("-p", "noting", "-k", "first_start", "--device", "board", *models)
    assert steps(done) == ["starts", *["dropped", "starts"] * 3], done.output
    free, check = check_of(done, "free"), check_of(done, "tiny")
    assert (free["verdict"], free["value"]) == ("NOT_APPLICABLE", None)
    assert len(check["each_s"]) == check["samples"] == 3
    assert check["value"] == max(check["each_s"])
    assert (check["page_cache"], check["bound_low"]) == ("cold", check["value"])
    assert len(check["spared_share"]) == len(check["dropped"]) == 3
    for share, dropped in zip(check["spared_share"], check["dropped"], strict=True):
        # The store is the board's user's own, whom the kernel tells: none of its files is mapped by anybody any more.
        assert not [path for path in dropped["kept"] if "/.cache/hilgate/" in path]
        assert dropped["resident_mib"] > 10  # the runtime's library alone
        assert dropped["read_mib"] > 10
        assert 0 <= share < 1
    assert check["verdict"] in ("PASS", "INCONCLUSIVE")
    assert (check["verdict"] == "PASS") == (max(check["spared_share"]) <= 0.25), check
