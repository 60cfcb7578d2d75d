"""The memory that a device reads while it infers, in Python and C++: at the same places, and what is kept is seen."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import harness.agent
from harness.checks.trend import Trend
from harness.deploy.deployment import Deployment
from harness.deploy.feed import Feed
from harness.links.local import Process
from harness.measure.memory_series import MemorySeries

from .runners import BACKENDS, Runners, load, saved, scripted

TORCH = ("torchscript", "libtorch")
SIZE = 4096
INPUTS = {"x": np.zeros(SIZE, np.float32)}
FILL = {"dtype": "float32", "first": 0, "last": 1 << 24, "scale": -24, "order": "random", "set": [], "key": 5}


class Keeps(torch.nn.Module):
    """Keeps some numbers of each input."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = [torch.zeros(1)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.kept.append(x[:16] + 1)
        return x * 2


@contextmanager
def started(backend: str, artifact: Path, runners: Runners, folder: Path) -> Iterator[Deployment]:
    """An agent or a runner with an artifact, which nothing optimizes."""
    if backend in BACKENDS:
        yield runners.loaded(backend, artifact, INPUTS, options={"optimize": "none"})
        return
    shutil.copytree(Path(harness.agent.__file__).parent, folder / "agent", ignore=shutil.ignore_patterns("__p*__"))
    shutil.copyfile(str(importlib.import_module("harness.backends.torchscript").__file__), folder / "agent/backend.py")
    folders = ["--records", str(folder / "records"), "--results", str(folder / "results")]
    channel = Process.start([sys.executable, "-B", "-m", "agent", *folders], str(folder))
    with Deployment.start(channel, "test") as deployment:
        load(deployment, artifact, INPUTS)
        yield deployment


def read(deployment: Deployment, *counts: int) -> tuple[list[dict[str, Any]], Trend | None]:
    """Warm up, then make calls of so many inferences; the replies, and the trend of all of them."""
    series, replies, first = MemorySeries(), [], 1
    feed = {"ring": 128, "fills": [{**FILL, "shape": [SIZE]}]}
    deployment.warm_up(Feed({**feed, "first": 0}), 1.0)
    for count in counts:
        durations, reply = deployment.measure(Feed({**feed, "first": first}), count, 60.0)
        first += -(-count // 128)
        series.add(reply, len(durations), are_new=True, board_mib=1 << 20)
        replies.append(reply)
    assert series.impossible == ""
    return replies, series.trend() if series.is_enough else None


@pytest.mark.parametrize("backend", TORCH)
def test_memory_is_read_at_the_same_places(backend: str, runners: Runners, tmp_path: Path) -> None:
    artifact = scripted(tmp_path, "def forward(x):\n    return x * 2")
    with started(backend, artifact, runners, tmp_path) as deployment:
        replies, _ = read(deployment, 1, 100, 300, 600)
    assert [reply["inferences"] for reply in replies] == [[2], [101], [129, 258], [129, 258, 387, 516]]
    kib = np.concatenate([reply["anonymous_kib"] for reply in replies])
    assert np.ptp(kib) < 16 * 1024  # whatever the calls' sizes: what they hold of inputs is subtracted
    assert kib.min() > 1024


@pytest.mark.parametrize("backend", TORCH)
@pytest.mark.parametrize("keeps", [pytest.param(True, id="keeps"), pytest.param(False, id="keeps-nothing")])
def test_what_a_model_keeps_is_seen(backend: str, keeps: bool, runners: Runners, tmp_path: Path) -> None:
    """Some 400 bytes for each tensor; more at first, where they lie between the inputs and hold the heap apart."""
    artifact = saved(Keeps(), tmp_path) if keeps else scripted(tmp_path, "def forward(x):\n    return x * 2")
    with started(backend, artifact, runners, tmp_path) as deployment:
        _, found = read(deployment, 6000)
    assert found is not None
    if keeps:
        assert found.low > 150
        assert found.late > 150
    else:
        assert max(found.high, found.gained) < 100
