"""A board that lies, over a real OpenSSH server: each lie is an error that names it, in time and in memory."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.board import open_board
from harness.errors import DeploymentError, DeviceError, HilgateError, LinkError, ProtocolError
from harness.protocol import daemon as answers
from tests.integration.boards import MIB, make_bundle
from tests.integration.conftest import Project
from tests.integration.desk import Desk
from tests.support.hostile import HostileProgram, assert_plain, peak_growth
from tests.support.sshd import BoardServer

REAL = "/usr/bin/python3"
LIMIT_S = 2.0
NUMBERS = itertools.count()  # what one test has put there is there for the next


@pytest.fixture(scope="module")
def server() -> Iterator[BoardServer]:
    with BoardServer() as made:
        yield made


@pytest.fixture
def hostile(server: BoardServer, desk: Desk) -> Iterator[HostileProgram]:
    """What that board has in Python's place."""
    desk.configure(server)
    program = HostileProgram(server.folder / "bin" / "python3.11", REAL, server.folder / "plan.json")
    yield program
    program.path.unlink()


def use(desk: Desk, folder: Path) -> None:
    """All that is done before a model is loaded."""
    with open_board(desk.device()) as board:
        board.put(make_bundle(folder / "bundle", [MIB + next(NUMBERS)]))


def caught(desk: Desk, folder: Path, kinds: Any) -> HilgateError:
    """What comes of it: in time, and in memory."""
    began = time.monotonic()
    with peak_growth() as grown, pytest.raises(kinds) as error:
        use(desk, folder)
    assert time.monotonic() - began < 60
    assert grown() < 300 * MIB
    found: HilgateError = error.value
    assert len(str(found)) < 5000
    return found


def test_an_honest_one_is_believed(hostile: HostileProgram, desk: Desk, tmp_path: Path) -> None:
    hostile.lie("daemon", "nothing")
    use(desk, tmp_path)


@pytest.mark.parametrize(
    ("operation", "how", "named"),
    [
        pytest.param("start", {"drop": ["hello"]}, "hello", id="no-hello"),
        pytest.param("facts", {"header": "{}", "times": 1}, "arch", id="facts-empty"),
        pytest.param("facts", {"set": ["memory_mib"], "to": "4096"}, "memory_mib", id="text-for-a-number"),
        pytest.param("facts", {"set": ["features"], "to": None}, "features", id="null-for-a-list"),
        pytest.param("facts", {"set": ["executable"], "to": "/bin/\x1b[2Jsh\n"}, "executable", id="control-characters"),
        pytest.param(
            "facts", {"set": ["packages"], "to": {"torch": "1 --index-url http://x"}}, "packages", id="options"
        ),
        pytest.param("facts", {"set": ["error"], "to": 7}, "error", id="error-a-number"),
        pytest.param("open", {"set": ["store"], "to": "/x\n/y"}, "store", id="a-path-of-two-lines"),
        pytest.param("open", {"set": ["busy"], "to": []}, "busy", id="busy-a-list"),
        pytest.param("open", {"set": ["entries"], "to": ["../../etc"]}, "entries", id="entry-elsewhere"),
        pytest.param("room", {"set": ["free_bytes"], "to": 1 << 127}, "free_bytes", id="128-bits"),
        pytest.param("offer", {"set": ["have"], "to": {}}, "have", id="another-offer"),
    ],
)
def test_a_field_that_lies_is_named(
    hostile: HostileProgram, desk: Desk, tmp_path: Path, operation: str, how: dict[str, Any], named: str
) -> None:
    hostile.lie("daemon", operation, **how)
    error = caught(desk, tmp_path, ProtocolError)
    assert f"'{named}" in error.what


@pytest.mark.parametrize(
    ("operation", "how", "said"),
    [
        pytest.param("facts", {"announce": 64 << 30}, "larger than", id="64-GiB"),
        pytest.param("facts", {"header": " ", "times": 64 << 20}, "larger than", id="header-of-64-MiB"),
        pytest.param("facts", {"header": "[", "times": 100_000}, "nested at most 32", id="nested-100000"),
        pytest.param("start", {"endless": "stdout"}, "wanted a frame", id="a-greeting-without-end"),
    ],
)
def test_what_was_not_asked_for_is_not_taken(
    hostile: HostileProgram, desk: Desk, tmp_path: Path, operation: str, how: dict[str, Any], said: str
) -> None:
    hostile.lie("daemon", operation, **how)
    assert said in caught(desk, tmp_path, (DeploymentError, DeviceError, LinkError)).found


def test_work_that_does_not_end_is_ended(
    hostile: HostileProgram, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers.Facts, "limit_s", LIMIT_S)
    hostile.lie("daemon", "facts", working=0.2)
    assert "it is at work" in caught(desk, tmp_path, LinkError).found


def test_stderr_without_an_end_costs_no_answer(hostile: HostileProgram, desk: Desk, tmp_path: Path) -> None:
    hostile.lie("daemon", "facts", endless="stderr")
    with peak_growth() as grown:
        use(desk, tmp_path)
    assert grown() < 300 * MIB


DEVICE = """
    [device]
    description = "a machine that lies"
    link = "local"
    backends = ["onnxruntime"]

    [runtime]
    environment = "{environment}"
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "operation", "how", "named"),
    [
        pytest.param("agent", "measure", {"set": ["before"], "to": {}}, "before.boot", id="state-empty"),
        pytest.param("agent", "load", {"drop": ["load_ns"]}, "load_ns", id="no-load_ns"),
        pytest.param("agent", "measure", {"announce": 64 << 30}, "larger than", id="64-GiB"),
        pytest.param("daemon", "facts", {"set": ["cpu"], "to": ["\x1b[2J"]}, "cpu", id="cpu-a-list"),
    ],
)
def test_a_run_on_it_ends_with_the_field_named_and_without_a_pass(
    project: Project, program: str, operation: str, how: dict[str, Any], named: str
) -> None:
    (project.folder / "environment" / "bin").mkdir(parents=True)
    real = HostileProgram(project.folder / "environment/bin/python", sys.executable, project.folder / "plan.json")
    real.lie(program, operation, **how)
    project.write("devices/liar.toml", DEVICE.format(environment=project.folder / "environment"))
    outcome = project.run("--device", "liar", "-k", "latency")
    assert outcome.status != 0
    assert "INTERNALERROR" not in outcome.output
    assert named in outcome.output
    assert_plain(outcome.output)
    verdicts = [check["verdict"] for cell in outcome.evidence["cells"] for check in cell["checks"]]
    assert "PASS" not in verdicts
