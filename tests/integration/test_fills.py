"""Inputs that a device makes from a few numbers: every backend is given what the host expands, to the last bit."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

import harness.agent
from harness.agent.expand import expand
from harness.agent.frames import ITEM_SIZES, Array
from harness.deploy.deployment import Deployment
from harness.errors import AgentFailure, InputFailure
from harness.links.local import Process
from harness.protocol.asked import of_device
from tests.support.fills import BAD, GOOD, KEPT, Fill, drawn, to_keep

from .runners import BACKENDS, Runners, Value, bits, graph, load, scaled, scripted

PYTHONS_BACKENDS = ("torchscript", "onnxruntime")
LIMIT_S = 60.0
MOST_BYTES, MOST_TENSORS = 1 << 28, 1 << 16
SETS, KEPT_SETS, KEPT_SHAPE = 300, 3, (3, 7)
KEEP = to_keep(KEPT_SETS, KEPT_SHAPE)

Start = Callable[[str], Deployment]


@pytest.fixture(scope="module")
def sets() -> list[list[Fill]]:
    """Of each element type one fill."""
    return drawn(SETS, KEEP)


@pytest.fixture
def start(runners: Runners, tmp_path: Path) -> Iterator[Start]:
    """Starts an agent or a runner, by its backend; ends them all."""
    started: list[Deployment] = []

    def start(backend: str) -> Deployment:
        if backend in BACKENDS:
            return runners.start(backend)
        folder = tmp_path / "agents" / str(len(started))
        shutil.copytree(Path(harness.agent.__file__).parent, folder / "agent", ignore=shutil.ignore_patterns("__p*__"))
        source = importlib.import_module(f"harness.backends.{backend}").__file__
        shutil.copyfile(str(source), folder / "agent" / "backend.py")
        folders = ["--records", str(folder / "records"), "--results", str(folder / "results")]
        deployment = Deployment.start(
            Process.start([sys.executable, "-B", "-m", "agent", *folders], str(folder)), "test"
        )
        started.append(deployment)
        return deployment

    yield start
    for deployment in started:
        deployment.close()


def same(backend: str, folder: Path) -> Path:
    """An artifact whose outputs are its inputs, one of each element type."""
    names = [f"of_{kind}" for kind in ITEM_SIZES]
    if backend in ("libtorch", "torchscript"):
        return scripted(folder, f"def forward({', '.join(names)}):\n    return {', '.join(names)}")
    nodes = [helper.make_node("Identity", [name], [f"{name}_same"]) for name in names]
    takes: list[Value] = []
    gives: list[Value] = []
    for name, kind in zip(names, ITEM_SIZES, strict=True):
        element, sizes = np.dtype(kind).type, [f"{name}_0", f"{name}_1"]
        takes.append((name, element, sizes))
        gives.append((f"{name}_same", element, sizes))
    return graph(folder, nodes, takes, gives)


def call(deployment: Deployment, operation: str, tensors: Sequence[Array] = (), **more: Any) -> list[Array]:
    """What it answers."""
    return deployment.session.ask(
        {"op": operation, **more}, tensors, LIMIT_S, of_device(MOST_BYTES, MOST_TENSORS)
    ).tensors


@pytest.mark.parametrize("flush", [pytest.param(False, id="kept"), pytest.param(True, id="flushed")])
@pytest.mark.parametrize("backend", [*PYTHONS_BACKENDS, *BACKENDS])
def test_a_model_is_given_what_the_host_expands(
    start: Start, tmp_path: Path, sets: list[list[Fill]], backend: str, flush: bool
) -> None:
    deployment = start(backend)
    first = {f"of_{kind}": arrays[0] for kind, arrays in KEEP.items()}
    report = load(deployment, same(backend, tmp_path), first, flush_denormals=flush)
    assert report.settings["flush_denormals"] is flush
    call(deployment, "keep", [arrays[index] for index in range(KEPT_SETS) for arrays in KEEP.values()])
    found = call(deployment, "infer", fills=sets)
    wanted = [expand(fill, KEEP[fill["dtype"]]) for each in sets for fill in each]
    differing = [
        fill
        for fill, one, other in zip([fill for each in sets for fill in each], bits(found), bits(wanted), strict=True)
        if one != other
    ]
    assert differing == []


BOTH = pytest.mark.parametrize("backend", ["onnxruntime", "onnxruntime-cpp"])


@pytest.fixture
def loaded(start: Start, tmp_path: Path, backend: str) -> Deployment:
    """One that is given KEPT's like, and has kept KEPT."""
    deployment = start(backend)
    node = helper.make_node("Identity", ["x"], ["output"])
    ends: list[Value] = [("x", np.float32, ["rows", 3]), ("output", np.float32, ["rows", 3])]
    load(deployment, graph(tmp_path, [node], ends[:1], ends[1:]), {"x": KEPT})
    call(deployment, "keep", [KEPT])
    return deployment


def refused(deployment: Deployment, operation: str, tensors: Sequence[Array] = (), **more: Any) -> str:
    """In which words."""
    try:
        call(deployment, operation, tensors, **more)
    except (AgentFailure, InputFailure) as failure:
        return failure.found
    return "nothing was refused"


@BOTH
def test_what_is_no_fill_is_refused_in_the_same_words_and_the_next_is_answered(loaded: Deployment) -> None:
    said = {name: refused(loaded, "infer", fills=[[fill]]) for name, (fill, _) in BAD.items()}
    assert {name: words for name, words in said.items() if BAD[name][1] not in words} == {}
    with pytest.raises(InputFailure):  # which no search takes for an answer
        call(loaded, "infer", fills=[[BAD["no-object"][0]]])
    assert bits(call(loaded, "infer", fills=[[GOOD]])) == bits([expand(GOOD)])


@BOTH
@pytest.mark.parametrize(
    ("fills", "words"),
    [
        pytest.param([[GOOD, GOOD]], "wanted a list of 1 fills, one an input; found 2", id="two-for-one-input"),
        pytest.param([GOOD], "wanted a list of 1 fills", id="no-sets"),
        pytest.param(GOOD, "wanted fills, set after set", id="no-list"),
    ],
)
def test_fills_that_are_no_sets_are_refused(loaded: Deployment, fills: Any, words: str) -> None:
    assert words in refused(loaded, "infer", fills=fills)


@BOTH
def test_what_is_kept_is_sets_of_inputs(loaded: Deployment) -> None:
    assert "wanted sets of 1 inputs" in refused(loaded, "keep")


@BOTH
def test_another_artifact_knows_nothing_of_what_was_kept(loaded: Deployment, tmp_path: Path) -> None:
    load(loaded, scaled("onnxruntime-cpp", tmp_path))
    fill = {**GOOD, "shape": [6], "base": 0, "changed": 0}
    assert "'base'" in refused(loaded, "infer", fills=[[fill]])


@BOTH
def test_what_is_kept_takes_the_place_of_what_was_before(loaded: Deployment) -> None:
    call(loaded, "keep", [KEPT + 1, KEPT + 2])
    found = call(loaded, "infer", fills=[[{**GOOD, "base": index, "changed": 0}] for index in range(2)])
    assert bits(found) == bits([KEPT + 1, KEPT + 2])
