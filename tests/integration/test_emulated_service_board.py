"""Runs on boards that call the emulated service on this machine: through a way back that the board gives, or not; and
from an emulated one that loses packets on the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.boards import FURNISHED, furnish, write_device
from tests.integration.conftest import Outcome, Project
from tests.integration.emulated import device, opened
from tests.integration.test_emulated_service_run import is_refused
from tests.support.sshd import Board, BoardServer

pytestmark = pytest.mark.slow

# Little, and one backend: its saved state is a small one.
LOSSY = """
    extends = "qemu-pi4"

    [device]
    description = "an emulated board on bad Wi-Fi"
    memory_mib = 512
    backends = ["oip"]

    [options.oip]
    endpoint = "emulated"
    network = "lossy"
    timeout_ms = 30_000
"""
NETWORK = """
    [network]
    description = "bad Wi-Fi"
    source = "made up"
    measured = false
    loss_percent = 5
"""
# Each call has two dozen packets, and more.
WIDE = """
    import torch
    from harness import Input, Model

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("weight", torch.linspace(-1, 1, 4096))

        def forward(self, x):
            return torch.relu(x * self.weight)

    model = Model(
        build=lambda: Net().eval(),
        inputs=[Input("x", shape=("batch", 4096), min_value=-1.0, max_value=1.0)],
        dims={"batch": (1, 4)},
    )
"""

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


def test_calls_of_a_board_that_loses_packets_are_answered_rightly(project: Project, kept_cache: Path) -> None:
    """Late, too: each packet that is lost is one that TCP had to send again."""
    project.write("devices/lossy-pi.toml", LOSSY)
    project.write("networks/lossy.toml", NETWORK)
    project.write("tiny.py", WIDE)
    with opened(device(project.folder / "devices", "lossy-pi")):
        pass  # where its saved state is not there, to make it takes longer than a run may
    done = project.run("--device", "lossy-pi", "-k", "parity or artifact", "--time-limit", "20")
    assert done.status == 0, done.output
    (cell,) = done.evidence["cells"]
    assert (cell["service_emulated"], cell["emulated"], cell["verdict"]) == (True, True, "PASS")
    assert done.check("parity")["verdict"] == "PASS"
    network = cell["network"]
    assert network["loss_percent"] == 5
    assert 0.01 < network["packets_lost"] / network["packets"] < 0.15
    assert any("5 % of the packets lost each way" in note for note in cell["notes"])
