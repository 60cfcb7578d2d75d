"""Options of the backend libtorch, seen in a run's verdict: what they change in the answers, parity catches."""

from __future__ import annotations

import subprocess
import sys

import pytest

from .conftest import Outcome, Project

pytestmark = pytest.mark.usefixtures("cache_with_runners")

# Of the numbers that a sensor delivers some may be NaN.
NET = """
    import torch
    from harness import Input, Model

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.convolution = torch.nn.Conv2d(3, 8, 3)
            self.norm = torch.nn.BatchNorm2d(8)

        def forward(self, x):
            return torch.relu(self.norm(self.convolution(x))).sum((2, 3))

    model = Model(
        build=lambda: Net().eval(),
        inputs=[Input("x", shape=("batch", 3, 16, 16), min_value=-1.0, max_value=1.0, allow_nan=True)],
        dims={"batch": (1, 2)},
    )
"""


@pytest.fixture
def devices(project: Project) -> Project:
    """A project whose device `frozen` is set as hilgate does it, `optimized` as PyTorch offers it."""
    project.write("tiny.py", NET)
    project.write("devices/frozen.toml", 'extends = "local"\n[device]\nbackends = ["libtorch"]\n')
    project.write(
        "devices/optimized.toml", 'extends = "frozen"\n[options.libtorch]\noptimize = "optimize_for_inference"'
    )
    return project


def run(project: Project, device: str, select: str = "parity") -> Outcome:
    return project.run("--device", device, "-k", select)


def test_a_module_is_frozen_by_default_and_keeps_nan(devices: Project) -> None:
    done = run(devices, "frozen", "parity or memory")
    assert done.status == 0, done.output
    assert done.check("parity")["verdict"] == "PASS"
    settings = done.evidence["cells"][0]["fingerprint"]["settings"]
    assert (settings["optimize"], settings["heap"]) == ("freeze", "trim")


def test_what_optimize_for_inference_makes_of_nan_fails_parity_and_its_replay_shows_it(devices: Project) -> None:
    done = run(devices, "optimized")
    assert done.status == 1, done.output
    check = done.check("parity")
    assert check["verdict"] == "FAIL"
    assert "wanted nan" in check["reason"]
    replay = subprocess.run(
        [sys.executable, str(done.folder / "build/hil" / check["replay"] / "replay.py")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (replay.returncode, "the difference is still there" in replay.stdout) == (1, True), replay.stdout


def test_an_option_that_does_not_exist_is_an_error_that_lists_those_that_do(devices: Project) -> None:
    devices.write("devices/wrong.toml", 'extends = "frozen"\n[options.libtorch]\noptimize = "fast"\n')
    done = run(devices, "wrong")
    assert done.status == 4, done.output
    assert "'fast'" in done.output
    assert "optimize_for_inference" in done.output
