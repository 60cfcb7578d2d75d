"""Looking into an exported graph, and other outputs for it; weights in a file of their own, and graphs in nodes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from harness.export import Artifact, ArtifactFile
from harness.host.cache import file_sha256
from harness.model.model import Array
from harness.parity.localize import probe as probing
from harness.parity.localize.bisection import bisect_first
from harness.parity.localize.evaluate import Evaluator, widen
from harness.parity.localize.graph import Graph
from harness.parity.localize.location import Clock, Unlocated
from harness.parity.localize.node_error import node_error
from harness.parity.localize.probe import Prober, weights_apart, with_outputs
from harness.parity.localize.scopes import node_scopes
from tests.support.broken import onnx_runtime

X = np.arange(-3, 5, dtype=np.float32).reshape(2, 4)
OPSETS = [helper.make_opsetid("", 20)]
Nodes = list[onnx.NodeProto]


def clock(limit_s: float = 60.0) -> Clock:
    return Clock(limit_s, lambda done, total: None)


def saved(folder: Path, nodes: Nodes, output: str, *, weight_size: int = 4, external: bool = False) -> Artifact:
    """A model with one input "x" and one weight "w"."""
    weight = onnx.numpy_helper.from_array(np.linspace(1, 2, 4 * weight_size, dtype=np.float32).reshape(4, -1), "w")
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 4])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [weight],
    )
    proto = helper.make_model(graph, opset_imports=OPSETS, ir_version=10)
    path = folder / "model.onnx"
    if external:
        onnx.save(proto, str(path), save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    else:
        onnx.save(proto, str(path))
    paths = [path, folder / "model.onnx.data"][: 1 + external]
    files = [ArtifactFile(each.name, file_sha256(each), each.stat().st_size) for each in paths]
    return Artifact(folder=folder, format="onnx", files=tuple(files), exporter="test", warnings=())


def line() -> Nodes:
    return [
        helper.make_node("MatMul", ["x", "w"], ["product"], "multiply"),
        helper.make_node("Relu", ["product"], ["positive"], "cut"),
        helper.make_node("Neg", ["positive"], ["y"], "negate"),
    ]


def branch() -> Nodes:
    """An If, whose branches read values from around them."""
    then = helper.make_graph([helper.make_node("Add", ["product", "w"], ["more"])], "then", [], [_value("more")])
    other = helper.make_graph([helper.make_node("Cast", ["product"], ["less"], to=1)], "else", [], [_value("less")])
    total = helper.make_node("ReduceSum", ["x"], ["total"], "sum", keepdims=0)
    zero = helper.make_node("Constant", [], ["zero"], "zero", value_float=0.0)
    above = helper.make_node("Greater", ["total", "zero"], ["above"], "compare")
    chosen = helper.make_node("If", ["above"], ["chosen"], "choose", then_branch=then, else_branch=other)
    product = helper.make_node("Mul", ["x", "x"], ["product"], "square")
    return [total, zero, above, product, chosen, helper.make_node("Neg", ["chosen"], ["y"], "negate")]


def _value(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)


def test_a_value_within_becomes_an_output(tmp_path: Path) -> None:
    graph = Graph(saved(tmp_path, line(), "y"), [])
    (folder := tmp_path / "probe").mkdir()
    artifact = with_outputs(graph, ["y", "product"], graph.types({"x": X}), folder)
    (answer,) = onnx_runtime()(artifact, [{"x": X}])
    weight = graph.initializer("w")
    assert weight is not None
    np.testing.assert_allclose(answer["product"], X @ weight, rtol=1e-6)
    assert artifact.files[0].sha256 == file_sha256(folder / "model.onnx") != graph.artifact.files[0].sha256


def test_weights_in_a_file_of_their_own_are_linked_and_not_hashed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = saved(tmp_path, line(), "y", external=True)
    hashed: list[str] = []

    def noting(path: Path) -> str:
        hashed.append(path.name)
        return file_sha256(path)

    monkeypatch.setattr(probing, "file_sha256", noting)
    graph = Graph(artifact, [])
    (folder := tmp_path / "probe").mkdir()
    made = with_outputs(graph, ["product"], graph.types({"x": X}), folder)
    assert hashed == ["model.onnx"]
    assert made.files[1] == artifact.files[1]
    assert (folder / "model.onnx.data").stat().st_ino == (tmp_path / "model.onnx.data").stat().st_ino
    assert list(onnx_runtime()(made, [{"x": X}])[0]) == ["product"]


def test_a_large_artifact_is_sent_with_its_weights_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "APART_ABOVE", 1000)
    (folder := tmp_path / "apart").mkdir()
    artifact = weights_apart(saved(tmp_path, line(), "y", weight_size=400), folder)
    assert [file.name for file in artifact.files] == ["model.onnx", "model.onnx.data"]
    assert artifact.files[0].bytes < 1000
    weight = Graph(artifact, []).initializer("w")
    assert weight is not None
    assert weight.shape == (4, 400)
    onnx_runtime()(artifact, [{"x": X}])


def test_large_values_are_asked_for_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "CHUNK_BYTES", X.nbytes)
    graph = Graph(saved(tmp_path, line(), "y"), [])
    (folder := tmp_path / "probes").mkdir()
    prober = Prober(graph, onnx_runtime(), clock=clock(), folder=folder, arrays={"x": X})
    ((values,), (outputs,)) = prober.inner_values(["product", "positive"], [{"x": X}])
    assert set(values) == {"product", "positive", "y"}
    assert len(outputs) == 2
    assert not list(folder.iterdir())


def test_a_graph_that_ends_early_has_no_nodes_behind_its_end(tmp_path: Path) -> None:
    graph = Graph(saved(tmp_path, line(), "y"), [])
    (folder := tmp_path / "probe").mkdir()
    artifact = with_outputs(graph, ["positive"], {}, folder)
    assert list(onnx_runtime()(artifact, [{"x": X}])[0]) == ["positive"]  # its type need not be known
    assert [node.name for node in onnx.load(str(folder / "model.onnx")).graph.node] == ["multiply", "cut"]


def test_a_node_with_graphs_in_it_is_one_node_that_needs_what_they_read(tmp_path: Path) -> None:
    graph = Graph(saved(tmp_path, branch(), "y"), [])
    assert graph.needs[4] == ("above", "product", "w")
    assert graph.ancestors(["chosen"]) == [0, 1, 2, 3, 4]
    assert graph.leaving([3]) == ["product"]


@pytest.mark.parametrize("sign", [1, -1])
def test_a_node_with_graphs_in_it_is_evaluated_in_float64(tmp_path: Path, sign: int) -> None:
    graph = Graph(saved(tmp_path, branch(), "y"), [])
    x = np.full((4, 4), sign / 3, np.float32)
    (found,) = Evaluator(graph, clock(), {}).values(["y"], {"x": x}).values()
    weight = graph.initializer("w")
    assert weight is not None
    wide = x.astype(np.float64) ** 2
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, -(wide + weight.astype(np.float64) if sign > 0 else wide), rtol=1e-15)


def test_a_cast_to_a_narrower_float_is_widened() -> None:
    node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT16)
    integer = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.INT32)
    widen(node)
    widen(integer)
    assert (node.attribute[0].i, integer.attribute[0].i) == (TensorProto.DOUBLE, TensorProto.INT32)


@pytest.mark.parametrize(
    "constant",
    [
        pytest.param(lambda: helper.make_node("Constant", [], ["c"], value_float=0.1), id="a number"),
        pytest.param(
            lambda: helper.make_node(
                "Constant", [], ["c"], value=onnx.numpy_helper.from_array(np.array([0.1], np.float32))
            ),
            id="a tensor",
        ),
        pytest.param(lambda: helper.make_node("Cast", ["x"], ["c"], to=TensorProto.FLOAT16), id="a cast"),
    ],
)
def test_whatever_makes_floats_makes_float64(tmp_path: Path, constant: Callable[[], onnx.NodeProto]) -> None:
    nodes = [constant(), helper.make_node("Mul", ["x", "c"], ["y"])]
    graph = Graph(saved(tmp_path, nodes, "y"), [])
    found = Evaluator(graph, clock(), {}).values(["c", "y"], {"x": X})
    assert [array.dtype for array in found.values()] == [np.float64, np.float64]


def test_a_node_that_cannot_be_evaluated_gives_what_the_device_gave(tmp_path: Path) -> None:
    nodes = [helper.make_node("Odd", ["x"], ["odd"], "odd", domain="somebody"), helper.make_node("Neg", ["odd"], ["y"])]
    graph = Graph(saved(tmp_path, nodes, "y"), [])
    evaluator = Evaluator(graph, clock(), {"odd": X})
    np.testing.assert_array_equal(evaluator.values(["y"], {"x": X})["y"], -X)
    assert list(evaluator.skipped) == ["odd"]
    with pytest.raises(Unlocated, match="node odd"):
        Evaluator(graph, clock(), {}).values(["y"], {"x": X})


def test_evaluating_ends_when_the_time_is_up(tmp_path: Path) -> None:
    graph = Graph(saved(tmp_path, line(), "y"), [])
    with pytest.raises(Unlocated, match="its -1 s were over while evaluating multiply"):
        Evaluator(graph, clock(-1), {}).values(["y"], {"x": X})


def test_a_node_is_judged_by_its_own_inputs(tmp_path: Path) -> None:
    graph = Graph(saved(tmp_path, line(), "y"), [])
    device = {"product": X, "positive": np.maximum(X, 0) + np.float32(0.5)}
    error = node_error(Evaluator(graph, clock(), {}), 1, device)
    assert error.ulps > 1e6
    assert (error.output, error.index, error.found, error.exact) == ("positive", (0, 0), "0.5", "0.0")
    assert node_error(Evaluator(graph, clock(), {}), 1, device | {"positive": np.maximum(X, 0)}).ulps == 0


COUNT = 76_241
FLAT = np.full((1, COUNT), 0.1357, np.float32)
MEAN = helper.make_node("ReduceMean", ["x"], ["y"], "mean", keepdims=0)
SIGMOID = helper.make_node("Sigmoid", ["x"], ["y"], "sigmoid")
MULTIPLY = helper.make_node("Mul", ["x", "x"], ["y"], "multiply")


@pytest.mark.parametrize(
    ("node", "x", "factor", "is_off"),
    [
        pytest.param(MEAN, FLAT, 1 + 1e-4, False, id="a-mean-in-another-order"),
        pytest.param(MEAN, FLAT, 1 + 1e-3, True, id="a-mean-far-beyond"),
        pytest.param(SIGMOID, -6 - FLAT, 1 + 5e-5, False, id="a-sigmoid-right-to-its-range"),
        pytest.param(SIGMOID, -6 - FLAT, 1 + 5e-3, True, id="a-sigmoid-far-beyond"),
        pytest.param(MULTIPLY, FLAT, 1 + 5e-5, True, id="another-operator"),
        pytest.param(MULTIPLY, FLAT, np.nan, True, id="a-nan-for-a-number"),
        pytest.param(MULTIPLY, FLAT * np.float32(np.nan), 0.0, True, id="a-number-for-a-nan"),
    ],
)
def test_a_node_is_off_beyond_what_its_operator_may_be(
    tmp_path: Path, node: onnx.NodeProto, x: Array, factor: float, is_off: bool
) -> None:
    evaluator = Evaluator(Graph(saved(tmp_path, [node], "y"), []), clock(), {})
    exact = evaluator.node(0, {"x": x})["y"]
    found = np.where(np.isnan(exact), factor, exact * factor).astype(np.float32)
    error = node_error(evaluator, 0, {"x": x, "y": found})
    assert error.ulps > 100
    assert error.is_off is is_off


@pytest.mark.parametrize("place", range(1, 9))
def test_bisection_finds_the_first(place: int) -> None:
    asked: list[int] = []

    def is_off(count: int) -> bool:
        asked.append(count)
        return count >= place

    assert bisect_first(is_off, 8) == place
    assert len(asked) <= 3


@pytest.mark.parametrize(
    ("path", "stack"),
    [
        ("/model/line/Gemm", ("line",)),
        ("/model/layers/layers.1/line/Gemm", ("layers", "layers.1", "layers.1.line")),
        ("/model/layers/layers.1/line_2/Gemm", ("layers", "layers.1", "layers.1.line")),
        ("/model/layers.1/line/Gemm", ("layers.1", "layers.1.line")),  # of a list, which is not called itself
        ("/model/model.0/Conv", ("0",)),
        ("/model/Mul", ()),
        ("/Identity", ()),
    ],
)
def test_a_traced_node_is_named_by_its_modules(path: str, stack: tuple[str, ...]) -> None:
    modules = ["", "line", "layers", "layers.1", "layers.1.line", "0"]
    assert node_scopes([helper.make_node("Any", [], ["y"], path)], modules) == [stack]


def test_a_node_without_a_note_belongs_to_what_it_continues() -> None:
    nodes = [helper.make_node("Cast", ["x"], ["a"], "c"), helper.make_node("Abs", ["a"], ["b"], "/model/line/Abs")]
    nodes.append(helper.make_node("Cast", ["b"], ["y"], "d"))
    assert node_scopes(nodes, ["line"]) == [("line",), ("line",), ("line",)]
