"""Inputs that the host prepares, on a real agent and a real C++ runner: what is loaded, warmed up with and timed is
valid, each once."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import harness.agent
from harness import Input, Model
from harness.deploy.content import content_of
from harness.deploy.deployment import Deployment, LoadReport
from harness.device import load_device
from harness.errors import AgentFailure
from harness.host.shipped import DEVICES
from harness.instructions.counting import CountingGuest
from harness.links.local import Process
from harness.measure import known_metrics
from harness.measure.sampling import take_samples
from harness.model.inputs import Arrays
from harness.model.model_file import ModelFile
from harness.model.prepare import prepared, prepared_measured_sets

from .runners import Runners, build, load, scripted

NOTHING: Any = None
# It refuses an input of which nothing is left.
FORWARD = """def forward(x, mask):
    assert bool(mask.any()), "an empty mask"
    return x * mask"""


def fills_the_first(inputs: Arrays) -> Arrays:
    """Make a mask that is never empty: of five elements drawn at random, one in 32 is."""
    inputs["mask"][:1] = True
    return inputs


def file_of(prepare: Any) -> ModelFile:
    inputs = [Input("x", (5,), min_value=-1, max_value=1), Input("mask", (5,), "bool")]
    return ModelFile(Path("net.py"), Model(lambda: NOTHING, inputs, prepare=prepare), ())


class Agents:
    """Starts agents with an artifact, as a Deployer does; ends them all."""

    def __init__(self, folder: Path, file: ModelFile) -> None:
        self.folder, self.file, self.started = folder, file, list[Deployment]()
        self.artifact = scripted(folder, FORWARD)

    def fresh(self) -> tuple[Deployment, LoadReport]:
        folder = self.folder / str(len(self.started))
        shutil.copytree(Path(harness.agent.__file__).parent, folder / "agent", ignore=shutil.ignore_patterns("__p*__"))
        source = importlib.import_module("harness.backends.torchscript").__file__
        shutil.copyfile(str(source), folder / "agent" / "backend.py")
        folders = ["--records", str(folder / "records"), "--results", str(folder / "results")]
        self.started.append(
            Deployment.start(Process.start([sys.executable, "-B", "-m", "agent", *folders], str(folder)), "test")
        )
        return self.started[-1], load(self.started[-1], self.artifact, prepared_measured_sets(self.file, 1)[0])

    def result_name(self) -> str:
        return ""

    def collect(self, name: str) -> None:
        raise AssertionError(name)


class NativeAgents(Agents):
    """The same with LibTorch's C++ runner in the agent's place."""

    def fresh(self) -> tuple[Deployment, LoadReport]:
        runners = Runners({"libtorch": build("libtorch", self.folder / f"runner{len(self.started)}")}, self.folder)
        self.started.append(runners.start("libtorch"))
        return self.started[-1], load(self.started[-1], self.artifact, prepared_measured_sets(self.file, 1)[0])


@pytest.fixture(params=[pytest.param(Agents, id="agent"), pytest.param(NativeAgents, id="C++ runner")])
def agents(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Agents]:
    made: Agents = request.param(tmp_path, file_of(fills_the_first))
    yield made
    for deployment in made.started:
        deployment.close()


def test_what_is_timed_is_prepared_and_each_inference_has_its_own(agents: Agents) -> None:
    content = content_of(agents.file.model, prepare=partial(prepared, agents.file))
    measured = take_samples(agents, content, 20, lambda progress: None, at_least=200)
    timed = measured.uniform
    assert timed.count >= 200
    assert timed.inputs == timed.count
    assert timed.pace_s > float(np.median(timed.values)) / 1e3  # making and sending them counts


def test_without_it_the_model_would_have_refused_one(agents: Agents) -> None:
    content = content_of(agents.file.model)
    with pytest.raises(AgentFailure, match="an empty mask"):
        take_samples(agents, content, 20, lambda progress: None, at_least=200)


def test_what_is_counted_is_prepared_too(agents: Agents) -> None:
    """A guest that counts does with a deployment what any does with it; its clock alone is another."""
    content = content_of(agents.file.model, prepare=partial(prepared, agents.file))
    guest = CountingGuest(load_device("qemu-pi4", (DEVICES,), known_metrics().values()), profile=False, time_limit_s=60)
    live, _ = agents.fresh()
    try:
        assert len(guest._count_made(live, content, 200)) == 200  # of 200 drawn masks some are empty
    finally:
        guest.close()
