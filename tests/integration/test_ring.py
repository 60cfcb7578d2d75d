"""What a device runs again and again, in Python and C++: each inference has the values that were asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.agent.frames import Array
from harness.agent.ring import Spread
from harness.deploy.deployment import Deployment
from harness.deploy.feed import Feed, kept

from .runners import BACKENDS, Runners, jit, load, scripted, start_agent

TORCH = ("torchscript", "libtorch")
# Of fifty inputs it writes into one, and refuses what it has written.
SPOILS_ONE = """def forward(x):
    assert bool((x < 49.5).all()), "spoiled"
    if bool(x[0] == 49):
        x.add_(1)
    return x * 2"""

Start = Callable[[str, Path, dict[str, Array]], Deployment]


def sets(count: int = 50) -> list[dict[str, Array]]:
    return [{"x": np.full(6, index, np.float32)} for index in range(count)]


@pytest.fixture
def start(runners: Runners, tmp_path: Path) -> Iterator[Start]:
    """Starts an agent or a runner with an artifact; ends them all."""
    started: list[Deployment] = []

    def start(backend: str, artifact: Path, inputs: dict[str, Array]) -> Deployment:
        if backend in BACKENDS:
            return runners.loaded(backend, artifact, inputs)
        started.append(start_agent(tmp_path / "agent-of" / str(len(started)), backend))
        load(started[-1], artifact, inputs)
        return started[-1]

    yield start
    for deployment in started:
        deployment.close()


@pytest.mark.parametrize("backend", TORCH)
def test_what_a_model_writes_into_its_input_never_comes_back_as_one(start: Start, tmp_path: Path, backend: str) -> None:
    deployment = start(backend, scripted(tmp_path, SPOILS_ONE), sets(1)[0])
    assert not deployment.written
    durations, said = deployment.measure(sets(), 300, 60.0)
    assert (len(durations), said["written"], list(deployment.written)) == (300, ["x"], ["x"])
    assert deployment.warm_up(sets(), 60.0)["settled"] is True
    deployment.profile(sets(), 120)
    deployment.keep(sets())
    assert len(deployment.measure(kept([49, 0, 49, 49], 24), 100, 60.0)[0]) == 100
    assert [float(doubled[0]) for (doubled,) in deployment.infer([*sets(), *sets()])][45:55] == [
        *[90, 92, 94, 96, 100],
        *[0, 2, 4, 6, 8],
    ]


@pytest.mark.parametrize("backend", TORCH)
def test_a_model_that_turns_its_input_around_in_place_is_given_it_anew(
    start: Start, tmp_path: Path, backend: str
) -> None:
    """Not its bytes change, but how they are looked at."""
    forward = "def forward(x):\n    assert x.size(0) == 2\n    return x.t_() * 2"
    inputs = {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}
    deployment = start(backend, scripted(tmp_path, forward), inputs)
    assert len(deployment.measure([inputs], 20, 60.0)[0]) == 20
    assert deployment.warm_up([inputs], 60.0)["iterations"] > 3


class Sums(torch.nn.Module):
    """All that it was ever given, added up."""

    total: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(1, dtype=torch.int64))

    def forward(self, x: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        self.total.add_(x.sum() + n)
        return self.total


def summing(folder: Path) -> Path:
    """It, traced."""
    example = torch.zeros((2, 3), dtype=torch.int64), torch.tensor(0)
    jit.save(jit.trace(Sums().eval(), example, check_trace=False), str(folder / "sums.pt"))
    return folder / "sums.pt"


@pytest.mark.parametrize("backend", TORCH)
def test_a_device_times_the_inputs_that_the_host_expands_and_each_once(
    start: Start, tmp_path: Path, backend: str
) -> None:
    fill: dict[str, Any] = {"dtype": "int64", "first": 0, "last": 10**9, "scale": 0, "order": "random", "set": []}
    fills = [{**fill, "shape": [2, 3], "key": 5}, {**fill, "shape": [], "key": 1 << 40}]
    nothing = {"x": np.zeros((2, 3), np.int64), "n": np.array(0)}
    deployment = start(backend, summing(tmp_path), nothing)
    ((before,),) = deployment.infer([nothing])
    _, said = deployment.measure(Feed({"ring": 16, "fills": fills, "first": 3}), 40, 60.0)
    assert said["untimed"] == 3
    source = Spread(fills, 3, [])
    wanted = 0
    for count in (16, 16, 8):
        sums = [int(x.sum() + n) for x, n in zip(*source.columns(count), strict=True)]
        wanted += sum(sums) + sums[-1]  # the last comes once before, and is not timed
    ((after,),) = deployment.infer([nothing])
    assert int(after[0] - before[0]) == wanted


@pytest.mark.parametrize("backend", TORCH)
def test_an_answer_is_read_before_the_next_question(start: Start, tmp_path: Path, backend: str) -> None:
    """Its output is the module's own buffer (issue 15, case 65)."""
    ones = {"x": np.eye(2, 3, dtype=np.int64), "n": np.array(-1)}
    deployment = start(backend, summing(tmp_path), ones)
    deployment.infer([ones])  # from here on many go in one call
    deployment.infer([ones, ones])
    answers = [int(total[0]) for (total,) in deployment.infer([ones] * 5)]
    assert [answer - answers[0] for answer in answers] == [0, 1, 2, 3, 4]
