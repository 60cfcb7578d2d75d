"""Locating in networks of which one node is wrong on purpose: that node is named, and whose fault it is."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from harness.errors import AgentFailure, LinkLost
from harness.export import Artifact, ArtifactFile
from harness.export.onnx import FILE, export_dynamo, export_traced
from harness.host.cache import file_sha256
from harness.model.build import BuiltModel, build_model
from harness.model.inputs import Arrays, uniform_set
from harness.model.model import Array
from harness.model.model_file import load_model
from harness.parity.localize import Location, NotLocated, Probe, locate
from harness.parity.localize.evaluate import Evaluator, check_sizes
from harness.parity.localize.graph import Graph
from harness.parity.localize.location import Clock, Unlocated
from harness.parity.localize.scopes import node_scopes
from tests.support.broken import Edit, exported, onnx_runtime, shifted, with_attribute, with_scaled_weight

HEAD = """
import torch
from torch import nn
from harness import Input, Model

class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.line = nn.Linear(8, 8)

    def forward(self, x):
        return x + torch.tanh(self.line(x))

class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = Residual()
        self.last = nn.Linear(8, 3)

    def forward(self, x):
        return self.last(self.block(self.block(x))), x.mean(-1)

class Best(nn.Module):
    def forward(self, x):
        return x.round().topk(3)[1]

class Chosen(nn.Module):
    def __init__(self):
        super().__init__()
        self.best = Best()
        self.head = nn.Sequential(nn.Linear(3, 3), nn.Tanh())

    def forward(self, x):
        return self.head(x.gather(1, self.best(x)))

class Skipped(nn.Module):
    def forward(self, x):
        return x if x.shape[0] == 2 else torch.relu(x) * 3

class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.heads = nn.ModuleDict(dict(left=nn.Linear(8, 8), right=nn.Sequential(nn.Linear(8, 8), nn.Tanh())))

    def forward(self, x):
        return self.heads["left"](x) + self.heads["right"](x)

def build():
    torch.manual_seed(0)
    return ({net}).eval()

model = Model(build=build, inputs=[Input("x", ("b", {shape}), min_value=-1, max_value=1)], dims={{"b": (1, 4)}})
"""
ENCODER = (
    "nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2, enable_nested_tensor=False)",
    "5, 16",
)
CONVOLUTIONS = (
    "nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2), "
    "nn.Conv2d(8, 8, 3), nn.GroupNorm(2, 8), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))",
    "3, 12, 12",
)
TWICE = ("Twice()", "8")
CHOSEN = ("Chosen()", "8")
SKIPPED = ("nn.Sequential(nn.Linear(8, 8), Skipped(), nn.Linear(8, 3))", "8")
NAMED = ("Named()", "8")

Made = tuple[BuiltModel, Artifact]
Make = Callable[..., Made]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Networks and their exports, each made once."""
    known: dict[tuple[str, bool], Made] = {}

    def make(network: tuple[str, str], *, traced: bool = False) -> Made:
        if (key := (network[0], traced)) not in known:
            folder = tmp_path_factory.mktemp("made")
            path = folder / "network.py"
            path.write_text(HEAD.format(net=network[0], shape=network[1]), encoding="utf-8")
            built = build_model(load_model(path, ()))
            target = folder / "artifact"
            target.mkdir()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                (export_traced if traced else export_dynamo)(built.module, built.model, built.outputs, target)
            known[key] = (built, as_artifact(target, [FILE]))
        return known[key]

    return make


def as_artifact(folder: Path, names: Sequence[str]) -> Artifact:
    files = [ArtifactFile(name, file_sha256(folder / name), (folder / name).stat().st_size) for name in names]
    return Artifact(folder=folder, format="onnx", files=tuple(files), exporter="test", warnings=())


def located(built: BuiltModel, artifact: Artifact, probe: Probe, limit_s: float = 60.0) -> Location | NotLocated:
    sets = [uniform_set(built.model, {"b": 3}, seed=seed) for seed in (0, 1)]
    return locate(built, artifact, sets, probe, limit_s=limit_s, report=lambda done, total: None)


def of_weight(node: str, place: int = 1) -> tuple[str, Edit]:
    return node, with_scaled_weight(node, place, 1.5)


def of_attribute(node: str, name: str, value: Any) -> tuple[str, Edit]:
    return node, with_attribute(node, name, value)


ATTENTION = "layers.0.self_attn"
EXPORTED = [
    pytest.param(ENCODER, False, *of_weight("node_Mul_70"), ATTENTION, id="scale of an attention"),
    pytest.param(ENCODER, False, *of_attribute("node_Softmax_75", "axis", 0), ATTENTION, id="axis of a softmax"),
    pytest.param(ENCODER, False, *of_attribute("node_layer_norm_2", "epsilon", 0.1), "layers.1.norm1", id="epsilon"),
    pytest.param(ENCODER, False, *of_weight("node_linear_3"), "layers.0.linear2", id="bias"),
    pytest.param(CONVOLUTIONS, False, *of_weight("node_InstanceNormalization_21"), "5", id="within a norm of groups"),
    pytest.param(CONVOLUTIONS, True, *of_weight("/model/model.4/Conv"), "4", id="weight of a traced convolution"),
]


@pytest.mark.parametrize(("network", "traced", "node", "edit", "module"), EXPORTED)
def test_a_node_that_is_exported_wrongly_is_named(
    made: Make, tmp_path: Path, network: tuple[str, str], traced: bool, node: str, edit: Edit, module: str
) -> None:
    built, artifact = made(network, traced=traced)
    found = located(built, exported(artifact, tmp_path / "wrong", edit), onnx_runtime())
    assert isinstance(found, Location), str(found)
    assert (found.module, found.node, found.fault) == (module, node, "exporter"), str(found)


RUN = [
    pytest.param(ENCODER, False, "node_Softmax_75", ATTENTION, id="a softmax"),
    pytest.param(ENCODER, False, "node_MatMul_169", "layers.1.linear1", id="a product before its sum"),
    pytest.param(CONVOLUTIONS, False, "node_group_norm", "5", id="the end of a norm of groups"),
    pytest.param(CONVOLUTIONS, True, "/model/model.0/Conv", "0", id="a convolution with a norm folded into it"),
    pytest.param(TWICE, False, "node_tanh", "block", id="the first call of a module"),
    pytest.param(TWICE, False, "node_tanh_1", "block", id="the second call of a module"),
    pytest.param(TWICE, True, "/model/last/Gemm", "last", id="after a module that is called twice"),
]


@pytest.mark.parametrize(("network", "traced", "node", "module"), RUN)
def test_a_node_that_is_run_wrongly_is_named(
    made: Make, network: tuple[str, str], traced: bool, node: str, module: str
) -> None:
    built, artifact = made(network, traced=traced)
    found = located(built, artifact, onnx_runtime(shifted(node, 0.01)))
    assert isinstance(found, Location), str(found)
    assert (found.module, found.node, found.fault) == (module, node, "runtime"), str(found)


def fused(node: str, *, unless_kept: Sequence[str]) -> Edit:
    """A wrong optimization: of a node whose inputs nobody else sees."""

    def edit(proto: onnx.ModelProto) -> None:
        outputs = {item.name for item in proto.graph.output}
        if outputs.isdisjoint(unless_kept) and any(each.name == node for each in proto.graph.node):
            shifted(node, 0.01)(proto)

    return edit


def test_an_optimization_across_modules_is_found_by_graphs_that_end_early(made: Make) -> None:
    built, artifact = made(CONVOLUTIONS)
    nodes = {node.name: node for node in onnx.load(str(artifact.folder / FILE)).graph.node}
    runtime = onnx_runtime(fused("node_linear", unless_kept=[nodes["node_linear"].input[0]]))
    found = located(built, artifact, runtime)
    assert isinstance(found, Location), str(found)
    assert (found.module, found.node, found.fault) == ("9", "node_linear", "optimizer"), str(found)


def test_an_optimization_within_a_module_is_found(made: Make) -> None:
    built, artifact = made(ENCODER)
    found = located(built, artifact, onnx_runtime(fused("node_Softmax_75", unless_kept=["val_74"])))
    assert isinstance(found, Location), str(found)
    assert (found.module, found.fault) == (ATTENTION, "optimizer"), str(found)


def refusing(node: str) -> Probe:
    """A backend without a kernel for one node."""
    inner = onnx_runtime()

    def run(artifact: Artifact, sets: Sequence[Arrays]) -> list[dict[str, Array]]:
        proto = onnx.load(str(artifact.folder / FILE))
        if any(each.name == node for each in proto.graph.node):
            raise AgentFailure("the agent failed", found="NOT_IMPLEMENTED")
        return inner(artifact, sets)

    return run


def test_the_node_that_a_backend_refuses_is_named(made: Make) -> None:
    found = located(*made(ENCODER), refusing("node_Softmax_75"))
    assert isinstance(found, Location), str(found)
    assert (found.module, found.node, found.fault) == (ATTENTION, "node_Softmax_75", "runtime"), str(found)
    assert "NOT_IMPLEMENTED" in str(found)


def test_an_input_that_a_backend_refuses_leads_to_the_node(made: Make, tmp_path: Path) -> None:
    built, artifact = made(CONVOLUTIONS)
    wrong = exported(artifact, tmp_path / "wrong", with_reshape("node_Reshape_14"))
    inner = onnx_runtime()

    def run(artifact: Artifact, sets: Sequence[Arrays]) -> list[dict[str, Array]]:
        try:
            return inner(artifact, sets)
        except Exception as error:  # as the agent says it
            raise AgentFailure("the agent failed", found=str(error)) from error

    found = located(built, wrong, run)
    assert isinstance(found, Location), str(found)
    assert (found.module, found.node, found.fault) == ("5", "node_Reshape_14", "exporter"), str(found)


def with_reshape(node: str) -> Edit:
    """A size that was taken for a constant: it fits one batch only."""

    def edit(proto: onnx.ModelProto) -> None:
        found = next(each for each in proto.graph.node if each.name == node)
        shape = onnx.numpy_helper.from_array(np.array([2, 8, 4, 4], np.int64), "baked")
        found.input[1] = "baked"
        proto.graph.initializer.append(shape)

    return edit


def test_what_is_right_is_not_located(made: Make) -> None:
    found = located(*made(ENCODER), onnx_runtime())
    assert isinstance(found, NotLocated)
    assert "right now" in str(found)


def test_it_stops_when_its_time_is_up(made: Make) -> None:
    found = located(*made(ENCODER), onnx_runtime(shifted("node_Softmax_75", 0.01)), limit_s=0.01)
    assert isinstance(found, NotLocated)
    assert "its 0.01 s were over while" in str(found)


def test_a_device_that_is_gone_is_no_location(made: Make) -> None:
    def gone(artifact: Artifact, sets: Sequence[Arrays]) -> list[dict[str, Array]]:
        raise LinkLost("the board is gone")

    with pytest.raises(LinkLost):
        located(*made(ENCODER), gone)


@pytest.mark.parametrize(
    "x",
    [
        pytest.param(np.zeros((2, 8), np.float32), id="all-are-equal"),
        pytest.param(np.tile(np.array([0, 1], np.float32), (2, 4)), id="many-are-equal"),
        pytest.param(np.linspace(-9, 9, 16, dtype=np.float32).reshape(2, 8), id="none-are-equal"),
    ],
)
def test_indices_of_equal_values_are_not_what_is_wrong(made: Make, x: Array) -> None:
    built, artifact = made(CHOSEN)
    probe = onnx_runtime(shifted("node_tanh", 0.01))
    found = locate(built, artifact, [{"x": x}], probe, report=lambda done, total: None)
    assert isinstance(found, Location), str(found)
    assert (found.module, found.node, found.fault) == ("head.1", "node_tanh", "runtime"), str(found)


def test_a_module_of_which_the_file_has_no_node_is_named_and_not_the_next(made: Make) -> None:
    found = located(*made(SKIPPED, traced=True), onnx_runtime())
    assert isinstance(found, Location), str(found)
    assert (found.module, found.node, found.fault) == ("1", "", "exporter"), str(found)
    assert "no node of it is in the file" in str(found)


def test_a_module_in_a_dict_is_named_by_the_older_exporters_path(made: Make) -> None:
    found = located(*made(NAMED, traced=True), onnx_runtime(shifted("/model/right/right.1/Tanh", 0.01)))
    assert isinstance(found, Location), str(found)
    assert (found.module, found.fault) == ("heads.right.1", "runtime"), str(found)


def test_a_path_that_may_be_of_two_modules_is_of_none() -> None:
    node = onnx.helper.make_node("Relu", ["x"], ["y"], "/model/gate/Relu")
    assert node_scopes([node], ["", "gate", "heads"]) == [("gate",)]
    assert node_scopes([node], ["", "heads", "heads.gate"], ["heads"]) == [("heads.gate",)]
    assert node_scopes([node], ["", "gate", "heads", "heads.gate"], ["heads"]) == [()]


@pytest.mark.parametrize("place", range(4))
def test_the_largest_of_some_with_a_nan_is_a_nan_wherever_it_is(tmp_path: Path, place: int) -> None:
    node = onnx.helper.make_node("MaxPool", ["x"], ["y"], "pool", kernel_shape=[4], strides=[4])
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in ("x", "y")]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "pool", ends[:1], ends[1:]))
    (tmp_path / FILE).write_bytes(model.SerializeToString())
    evaluator = Evaluator(Graph(as_artifact(tmp_path, [FILE]), []), Clock(60.0, lambda done, total: None), {})
    x = np.arange(8, dtype=np.float32).reshape(1, 1, 8)
    x[0, 0, place] = np.nan
    np.testing.assert_array_equal(evaluator.values(["y"], {"x": x})["y"], [[[np.nan, 7.0]]])


def test_a_size_that_a_device_makes_up_is_not_believed() -> None:
    value = onnx.helper.make_tensor("value", onnx.TensorProto.FLOAT, [1], [0.0])
    node = onnx.helper.make_node("ConstantOfShape", ["size"], ["large"], "node", value=value)
    with pytest.raises(Unlocated, match="is given size = \\[10000000000\\], as a size"):
        check_sizes(node, {"size": np.array([10**10])})
    check_sizes(node, {"size": np.array([3, 4])})


FOLDED = (
    "nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3), "
    "nn.BatchNorm2d(4))",
    "3, 8, 8",
)


@pytest.mark.parametrize("traced", [pytest.param(False, id="dynamo"), pytest.param(True, id="older")])
@pytest.mark.parametrize(("place", "module", "norm"), [(0, "0", "1"), (1, "3", "4")], ids=["first", "second"])
def test_a_convolution_with_a_norm_folded_into_it_is_named_and_the_norm_beside_it(
    made: Make, tmp_path: Path, traced: bool, place: int, module: str, norm: str
) -> None:
    built, artifact = made(FOLDED, traced=traced)
    nodes = onnx.load(str(artifact.folder / FILE)).graph.node
    assert not any(node.op_type == "BatchNormalization" for node in nodes)
    node = [node.name for node in nodes if node.op_type == "Conv"][place]
    found = located(built, exported(artifact, tmp_path / "wrong", with_scaled_weight(node, 1, 1.5)), onnx_runtime())
    assert isinstance(found, Location), found
    assert (found.module, found.node, found.fault) == (module, node, "exporter")
    assert f"folded into it, without a node of its own: {norm}" in found.notes
