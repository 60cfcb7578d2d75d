"""Whole runs on a board that goes for good while it is timed: nothing was measured, and every check says why."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.support.proxy import FlakyProxy
from tests.support.sshd import BoardServer

from .boards import nothing_left, wait_for, write_device
from .conftest import Project
from .test_board_recovery import HASTY, RUNTIME, SLOWER, Board, finish

LIMITS = '{"latency_p99_ms": 1000, "deadline_ms": 1000, "deadline_miss_rate": 0.5, "memory_peak_mib": 9999, '
LIMITS += '"load_time_s": 999}'

# The plugin's second part: once it measures, the board will not come back, and each try to reach it takes less.
GOING = """
    from harness.links.ssh import connection

    def going(*arguments):
        connection.CONNECT_TIMEOUT_S = 3
        return shown(*arguments)

    Deployment.measure = going
"""


@pytest.fixture(scope="module")
def server() -> Iterator[BoardServer]:
    with BoardServer() as made:
        yield made


@pytest.fixture
def proxy(server: BoardServer) -> Iterator[FlakyProxy]:
    with nothing_left(server), FlakyProxy(server.port) as made:
        yield made


@pytest.fixture
def board(project: Project, server: BoardServer, proxy: FlakyProxy) -> Iterator[Board]:
    write_device(project.folder, server, [proxy.port], runtime=RUNTIME)
    project.environment["HOME"] = str(project.folder)
    project.write("pytest.ini", "[pytest]\nhil_model = tiny.py\nhil_device = board\n")
    project.write("tiny.py", SLOWER.replace("dims=", f"limits={LIMITS}, dims="))
    project.write("hasty.py", HASTY.format(reconnect=3, silence=8.0) + GOING)
    made = Board(server, project)
    yield made
    made.end()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["stalls", "is-cut"])
def test_nothing_measured_is_inconclusive_with_the_links_reason(
    project: Project, proxy: FlakyProxy, board: Board, how: str
) -> None:
    process = board.start("-k", "latency or deadline or memory_peak or load_time")
    shown = project.folder / "measuring"
    wait_for(lambda: True if shown.exists() or process.poll() is not None else None, 300)
    time.sleep(0.5)  # into the block
    if how == "stalls":
        proxy.stall()
    else:
        proxy.refuse()
        proxy.cut()
    done = finish(project, process, 240)
    (cell,) = done.evidence["cells"]
    assert (done.status, cell["verdict"]) == (1, "INCONCLUSIVE"), done.output
    assert "could not be made again" in cell["error"], done.output
    assert cell["checks"] == []
    unfinished = {node.rpartition("::")[2].partition("[")[0] for node in cell["unfinished"]}
    durations = {"test_latency_p50", "test_latency_p90", "test_latency_p99", "test_deadline_miss_rate"}
    assert {*durations, "test_memory_peak", "test_load_time"} <= unfinished
    assert "IndexError" not in done.output  # it was what came of no samples (issue 17)
