"""What the C++ runners do for a model, with the real runtimes: the same as Python's agent does."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import helper

from harness.agent.frames import Array
from harness.agent.structure import flatten

from .runners import (
    BACKENDS,
    EVERY_TYPE,
    INPUTS,
    SHAPES,
    Runners,
    bits,
    graph,
    in_python,
    jit,
    load,
    onnx_net,
    onnx_shapes,
    onnx_types,
    saved,
    scaled,
    scripted,
    torch_net,
    torch_shapes,
    torch_types,
)

Pair = namedtuple("Pair", ["low", "high"])


class Nested(torch.nn.Module):
    """Every kind of nesting that TorchScript has."""

    def forward(
        self, x: torch.Tensor
    ) -> tuple[dict[str, tuple[torch.Tensor, list[torch.Tensor]]], list[torch.Tensor], Pair, dict[int, torch.Tensor]]:
        """Tensors that all differ."""
        return {"z": (x, [x + 1, x + 2]), "a": (x + 3, [x])}, [x + 4, x + 5], Pair(x + 6, x + 7), {3: x + 8, 1: x + 9}


class Normalised(torch.nn.Module):
    """A convolution and what can be folded into it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Both."""
        found: torch.Tensor = self.layers(x)
        return found


@pytest.mark.parametrize(
    ("backend", "make", "inputs"),
    [
        pytest.param("libtorch", torch_types, EVERY_TYPE, id="libtorch-every-element-type"),
        pytest.param("onnxruntime-cpp", onnx_types, EVERY_TYPE, id="onnxruntime-every-element-type"),
        pytest.param("libtorch", torch_shapes, SHAPES, id="libtorch-scalars-and-empty-tensors"),
        pytest.param("onnxruntime-cpp", onnx_shapes, SHAPES, id="onnxruntime-scalars-and-empty-tensors"),
        pytest.param("libtorch", torch_net, INPUTS, id="libtorch-net"),
        pytest.param("onnxruntime-cpp", onnx_net, INPUTS, id="onnxruntime-net"),
    ],
)
def test_its_answers_are_pythons_to_the_last_bit(
    runners: Runners, tmp_path: Path, backend: str, make: Callable[[Path], Path], inputs: Mapping[str, Array]
) -> None:
    artifact = make(tmp_path)
    deployment = runners.start(backend)
    report = load(deployment, artifact, inputs)
    (answer,) = deployment.infer([inputs])
    assert bits(answer) == bits(list(report.first)) == bits(in_python(artifact, inputs))


def test_nested_outputs_have_the_agents_order_and_names(runners: Runners, tmp_path: Path) -> None:
    report = load(runners.start("libtorch"), artifact := saved(Nested(), tmp_path))
    named = list(flatten(jit.load(str(artifact))(torch.from_numpy(INPUTS["x"]))))
    assert report.outputs == tuple(name for name, _ in named)
    assert bits(list(report.first)) == bits([leaf.numpy() for _, leaf in named])


def test_outputs_that_the_export_laid_flat_keep_their_names(runners: Runners, tmp_path: Path) -> None:
    names = {"hilgate_output_names.json": '["output_low", "output_high"]'}
    artifact = scripted(tmp_path, "def forward(x):\n    return x, x + 1", **names)
    assert load(runners.start("libtorch"), artifact).outputs == ("output_low", "output_high")


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_infers_many_sets_in_one_call(runners: Runners, tmp_path: Path, backend: str) -> None:
    deployment = runners.loaded(backend, scaled(backend, tmp_path))
    answers = deployment.infer([{"x": np.full(6, index, np.float32)} for index in range(100)])
    assert [float(answer[0]) for (answer,) in answers] == [
        float(np.float32(index) * np.float32(0.1)) for index in range(100)
    ]


class Negated(torch.nn.Module):
    """A number and a sign that is kept apart from it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch._neg_view(x)


def test_an_output_whose_sign_is_kept_apart_has_it(runners: Runners, tmp_path: Path) -> None:
    artifact = saved(torch.jit.script(Negated()), tmp_path)
    np.testing.assert_array_equal(load(runners.start("libtorch"), artifact).first[0], -INPUTS["x"])


def test_an_onnx_graphs_inputs_go_by_name_and_one_that_it_lacks_is_passed_over(
    runners: Runners, tmp_path: Path
) -> None:
    """LibTorch's go by position: its modules have no other way."""
    node = helper.make_node("Sub", ["x", "y"], ["output"])
    ends = [("y", np.float32, [6]), ("x", np.float32, [6])]
    artifact = graph(tmp_path, [node], ends, [("output", np.float32, [6])])
    inputs = {**INPUTS, "unused": np.array([True]), "y": INPUTS["x"] * 2}
    np.testing.assert_array_equal(load(runners.start("onnxruntime-cpp"), artifact, inputs).first[0], -INPUTS["x"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_report_says_what_each_step_of_loading_took(runners: Runners, tmp_path: Path, backend: str) -> None:
    weights = torch.nn.Linear(6, 1 << 20, bias=False)  # 24 MiB
    if backend == "libtorch":
        artifact = saved(weights, tmp_path)
    else:
        node = helper.make_node("MatMul", ["x", "w"], ["output"])
        matrix = weights.weight.detach().numpy().T
        artifact = graph(tmp_path, [node], [("x", np.float32, [6])], [("output", np.float32, [1 << 20])], w=matrix)
    report = load(runners.start(backend), artifact)
    before, runtime, model, first = (
        report.memory_kib[step] for step in ("before_runtime", "runtime", "model", "first")
    )
    assert 500 < before < runtime < model <= first
    assert model - runtime > 24 << 10
    assert 0 < report.first_ns < report.load_ns < 60e9


@pytest.mark.parametrize(
    ("backend", "package"), [pytest.param("libtorch", "torch"), pytest.param("onnxruntime-cpp", "onnxruntime")]
)
def test_a_report_names_the_version_that_ran(runners: Runners, tmp_path: Path, backend: str, package: str) -> None:
    report = load(runners.start(backend), scaled(backend, tmp_path))
    assert report.runtime == {package: runners.built[backend].version.partition("+")[0]}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("flush", [pytest.param(True, id="flushed"), pytest.param(False, id="kept")])
def test_denormals_are_as_asked(runners: Runners, tmp_path: Path, backend: str, flush: bool) -> None:
    inputs = {"x": np.full(6, 2e-38, np.float32)}  # a tenth of it is denormal
    report = load(runners.start(backend), scaled(backend, tmp_path), inputs, flush_denormals=flush)
    assert report.settings["flush_denormals"] is flush
    assert (report.first[0] == 0).tolist() == [flush] * 6


@pytest.mark.parametrize("backend", BACKENDS)
def test_threads_are_as_asked(runners: Runners, tmp_path: Path, backend: str) -> None:
    size = 1 << 18  # so many that LibTorch, too, divides them
    artifact, inputs = scaled(backend, tmp_path, size), {"x": np.ones(size, np.float32)}
    counts = {}
    for threads in (1, 3):
        deployment = runners.start(backend)
        settings = load(deployment, artifact, inputs, threads=threads, interop_threads=2).settings
        assert (settings["threads"], settings["interop_threads"]) == (threads, 2)
        counts[threads] = len(list(Path(f"/proc/{deployment.hello.pid}/task").iterdir()))
    assert counts[3] - counts[1] >= 2


@pytest.mark.parametrize(
    ("optimize", "normalises"),
    [
        pytest.param("none", True, id="none"),
        pytest.param("freeze", False, id="freeze"),
        pytest.param("optimize_for_inference", False, id="optimize-for-inference"),
    ],
)
def test_libtorch_does_to_a_module_what_its_option_says(
    runners: Runners, tmp_path: Path, optimize: str, normalises: bool
) -> None:
    inputs = {"x": np.ones((1, 1, 5, 5), np.float32)}
    deployment = runners.start("libtorch")
    report = load(deployment, artifact := saved(Normalised(), tmp_path), inputs, options={"optimize": optimize})
    assert report.settings["optimize"] == optimize
    np.testing.assert_allclose(report.first[0], in_python(artifact, inputs)[0], rtol=1e-4, atol=1e-6)
    operators = {one["operator"] for one in deployment.profile([inputs], 1)}
    assert ("aten::batch_norm" in operators) is normalises


def test_onnxruntime_says_its_providers(runners: Runners, tmp_path: Path) -> None:
    report = load(runners.start("onnxruntime-cpp"), scaled("onnxruntime-cpp", tmp_path))
    assert report.settings["providers"] == ["CPUExecutionProvider"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_measures_as_often_as_asked(runners: Runners, tmp_path: Path, backend: str) -> None:
    deployment = runners.loaded(backend, scaled(backend, tmp_path))
    durations, said = deployment.measure([INPUTS, INPUTS], 7, 60.0)
    assert (durations.dtype.name, durations.shape) == ("int64", (7,))
    assert (durations > 0).all()
    assert durations.sum() <= said["elapsed_ns"]
    assert said["before"].keys() == said["after"].keys() >= {"boot", "governor", "frequency_khz", "swapped_kib"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_its_budget_ends_a_measurement(runners: Runners, tmp_path: Path, backend: str) -> None:
    deployment = runners.loaded(backend, scaled(backend, tmp_path))
    assert len(deployment.measure([INPUTS], 10**6, 0.0)[0]) == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_warms_up_until_it_no_longer_gets_faster(runners: Runners, tmp_path: Path, backend: str) -> None:
    said = runners.loaded(backend, scaled(backend, tmp_path)).warm_up([INPUTS], 60.0)
    assert said["settled"] is True
    assert said["iterations"] > 3
    assert 0 < said["median_ns"] < said["elapsed_ns"]


def test_its_budget_ends_a_warm_up(runners: Runners, tmp_path: Path) -> None:
    said = runners.loaded("onnxruntime-cpp", scaled("onnxruntime-cpp", tmp_path)).warm_up([INPUTS], 0.0)
    assert (said["settled"], said["iterations"]) == (False, 1)


@pytest.mark.parametrize(
    ("backend", "operator", "name"),
    [
        pytest.param("libtorch", "aten::mul", "", id="libtorch"),
        pytest.param("onnxruntime-cpp", "Mul", "scale", id="onnx"),
    ],
)
def test_a_profile_names_operators(runners: Runners, tmp_path: Path, backend: str, operator: str, name: str) -> None:
    size = 1 << 16  # ONNX Runtime counts whole microseconds
    inputs = {"x": np.ones(size, np.float32)}
    deployment = runners.loaded(backend, scaled(backend, tmp_path, size), inputs, options={})
    profiled = {one["operator"]: one for one in deployment.profile([inputs], 5)}
    assert (profiled[operator]["name"], profiled[operator]["ns"] > 0) == (name, True)
    assert profiled[operator]["calls"] >= 1


@pytest.mark.parametrize(
    "arrays",
    [
        pytest.param({**EVERY_TYPE, **SHAPES}, id="small"),
        pytest.param({"odd": np.arange(3 << 20, dtype=np.uint8)[1:], "even": np.arange(1 << 18), **SHAPES}, id="large"),
    ],
)
def test_it_echoes_tensors(runners: Runners, arrays: Mapping[str, Array]) -> None:
    assert bits(runners.start("onnxruntime-cpp").echo([arrays])) == bits(list(arrays.values()))


def test_it_says_how_much_memory_it_has(runners: Runners) -> None:
    memory: dict[str, Any] = runners.start("libtorch").memory_kib()
    assert 500 < memory["resident"] <= memory["peak"] < 50 << 10
    assert memory["swapped"] >= 0
