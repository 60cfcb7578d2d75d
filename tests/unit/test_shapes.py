"""What an exported file declares of shapes, against shapes that were seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from harness.export import Artifact, ArtifactFile
from harness.export.onnx import FILE, correct_shapes, declared_shapes
from harness.export.shapes import probed_sizes, refuted
from harness.model.model import Input, Model
from harness.parity.claims import Claims


@pytest.mark.parametrize(
    ("declared", "seen", "places"),
    [
        pytest.param({"x": [2, 3]}, {"x": (2, 3)}, [], id="so it is"),
        pytest.param({"x": ["t"], "y": [3]}, {"x": (5,), "y": (5,)}, [("y", 0)], id="a GRU's steps"),
        pytest.param({"x": ["t"], "y": ["t"]}, {"x": (5,), "y": (10,)}, [("y", 0)], id="a name for another number"),
        pytest.param({"x": ["t"], "y": ["2*t"]}, {"x": (5,), "y": (10,)}, [], id="a name of its own"),
        pytest.param({"y": ["n"], "z": ["n"]}, {"y": (1,), "z": (2,)}, [("z", 0)], id="two outputs of one length"),
        pytest.param({"y": [None, 4]}, {"y": (9, 4)}, [], id="left open"),
        pytest.param({"y": None}, {"y": (9, 4)}, [], id="nothing said"),
        pytest.param({"y": [3]}, {"y": (3, 1)}, [("y", None)], id="another number of dimensions"),
        pytest.param({"y": []}, {"y": (3,)}, [("y", None)], id="a scalar that is none"),
        pytest.param({"y": [3]}, {"z": (4,)}, [], id="not seen"),
    ],
)
def test_what_is_not_so_is_found(declared: Any, seen: Any, places: Any) -> None:
    assert list(refuted(declared, seen)) == places


NOTHING: Any = None


def net(**dims: tuple[int, int]) -> Model:
    return Model(build=lambda: NOTHING, inputs=[Input("x", (*dims, 4))], dims=dims)


def test_each_dimension_is_another_one_while_the_others_stay() -> None:
    tried = list(probed_sizes(net(b=(1, 4), t=(3, 3), h=(2, 9))))
    for name in ("b", "h"):
        others = [{key: size for key, size in sizes.items() if key != name} for sizes in tried]
        moved = [sizes[name] for sizes, rest in zip(tried, others, strict=True) if rest == others[0]]
        assert len(set(moved)) > 1


def written(folder: Path, *outputs: tuple[str, Any]) -> Path:
    """A graph whose outputs are its input, and declare what they like."""
    nodes = [helper.make_node("Identity", ["x"], [name]) for name, _ in outputs]
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["t", 4])]
    between = [helper.make_tensor_value_info("between", TensorProto.FLOAT, [3, 4])]
    graph = helper.make_graph(nodes, "graph", inputs, made, value_info=between)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    onnx.save(proto, str(folder / FILE))
    return folder


def test_what_is_wrong_is_left_open_in_the_file_and_said(tmp_path: Path) -> None:
    written(tmp_path, ("right", ["t", 4]), ("wrong", [3, 4]), ("flat", [12]))
    seen = [({"t": t}, {"x": (t, 4), "right": (t, 4), "wrong": (t, 4), "flat": (t, 4)}) for t in (3, 2)]
    shapes, notes = correct_shapes(tmp_path, seen)
    assert shapes == {"x": ["t", 4], "right": ["t", 4], "wrong": [None, 4], "flat": None}
    assert declared_shapes(onnx.load(str(tmp_path / FILE))) == shapes
    assert not onnx.load(str(tmp_path / FILE)).graph.value_info
    assert len(notes) == 2
    assert "it declares 3 for dimension 0 of wrong, which is 2 at t = 2: now it leaves that open" in notes[1]


def test_a_file_that_is_right_stays_as_it_is(tmp_path: Path) -> None:
    before = (written(tmp_path, ("y", ["t", 4])) / FILE).read_bytes()
    assert correct_shapes(tmp_path, [({"t": 2}, {"x": (2, 4), "y": (2, 4)})])[1] == []
    assert (tmp_path / FILE).read_bytes() == before


def test_an_input_of_one_size_is_said_and_left(tmp_path: Path) -> None:
    written(tmp_path, ("y", ["t", 4]))
    shapes, notes = correct_shapes(tmp_path, [({"t": 2}, {"x": (2, 5), "y": (2, 4)})])
    assert shapes["x"] == ["t", 4]
    assert "a runtime takes no other" in notes[0]


def test_every_inference_of_parity_is_held_against_the_file(tmp_path: Path) -> None:
    files = (ArtifactFile(FILE, "", 1),)
    artifact = Artifact(
        folder=tmp_path, format="onnx", files=files, exporter="test", warnings=(), shapes={"x": ["t", 4], "y": [3, 4]}
    )
    claims = Claims(artifact, net(t=(1, 9)), ["y"])
    for t in (3, 7, 8):
        claims.look({"t": t}, [np.zeros((t, 4), np.float32)])
    assert claims.notes == [
        "the file is wrong about its shapes: it declares 3 for dimension 0 of y, which is 7 at t = 7"
    ]
