"""Runs on a board over SSH that calls the emulated service on this machine, through a way back that it gives or not."""

from __future__ import annotations

import pytest

from tests.integration.boards import FURNISHED, furnish, write_device
from tests.integration.conftest import Outcome, Project
from tests.integration.test_emulated_service_run import is_refused
from tests.support.sshd import Board, BoardServer

pytestmark = pytest.mark.slow

CALLED = '[options.{name}]\nendpoint = "emulated"\ntimeout_ms = 10_000\n'


def run(project: Project, forwarding: str, *backends: str) -> Outcome:
    """A run on a board whose server has these settings of forwarding."""
    with BoardServer(Board(config=(f"AllowTcpForwarding {forwarding}",), mounts=FURNISHED)) as server:
        # Where this Python's own folder is closed to the board's user, the system's library would be taken for its own.
        (server.home / ".bashrc").write_text(f"export LD_LIBRARY_PATH={server.home}/python/lib\n")
        write_device(project.folder, server, runtime=f'environment = "{furnish(server)}"')
        path = project.folder / "devices/board.toml"
        listed = ", ".join(f'"{name}"' for name in backends)
        called = "".join(CALLED.format(name=name) for name in backends if name != "onnxruntime")
        path.write_text(path.read_text().replace('["onnxruntime"]', f"[{listed}]") + called)
        project.environment["HOME"] = str(project.folder)
        return project.run("--device", "board", "-k", "parity or artifact", "--time-limit", "20")


def test_a_board_calls_the_service_through_its_own_loopback(project: Project) -> None:
    done = run(project, "remote", "sagemaker", "oip")
    assert done.status == 0, done.output
    for cell in done.evidence["cells"]:
        assert (cell["service_emulated"], cell["emulated"], cell["verdict"]) == (True, False, "PASS")
        assert {check["metric"]: check["verdict"] for check in cell["checks"]}["parity"] == "PASS"
        assert is_refused(cell["endpoint"]["url"])


def test_a_board_that_refuses_leaves_those_cells_open_and_the_others_judged(project: Project) -> None:
    done = run(project, "no", "oip", "onnxruntime")
    cells = {cell["backend"]: cell for cell in done.evidence["cells"]}
    assert (cells["oip"]["verdict"], cells["onnxruntime"]["verdict"]) == ("INCONCLUSIVE", "PASS"), done.output
    assert "set AllowTcpForwarding remote" in done.output
    assert done.status != 0
