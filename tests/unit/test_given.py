"""Given files: which of their inputs and outputs are which of the model's, and what is no file of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from harness.agent.structure import flatten
from harness.errors import ModelError
from harness.export import onnx as onnx_format
from harness.export import torchscript as torchscript_format
from harness.export.binding import Binding, Pair
from harness.export.given import Taken, bind, fixed_dimensions, given_path
from harness.export.ports import seen_ports
from harness.model.build import call_build, run_eager
from harness.model.inputs import traced_sizes, uniform_set
from harness.model.model import Input, Model
from harness.model.model_file import ModelFile
from harness.run.plan import check_artifacts

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")

FLOAT, HALF, INTEGER = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT64


class Net(torch.nn.Module):
    """Two inputs, two outputs, all of other sizes."""

    def forward(self, image: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return image * 2, state - 1


class Renamed(torch.nn.Module):
    def forward(self, state: torch.Tensor, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return state - 1, image * 2


def model_of(shapes: Sequence[Sequence[int | str]] = (("n", 6), ("n", 3)), module: Any = Net) -> Model:
    named = zip(("image", "state"), shapes, strict=True)
    inputs = [Input(name, shape, min_value=-1, max_value=1) for name, shape in named]
    return Model(build=lambda: module().eval(), inputs=inputs, dims={"n": (1, 4)})


def graph(
    inputs: Sequence[tuple[str, Any]], outputs: Sequence[tuple[str, Any]], kind: int = FLOAT, nodes: int = 1
) -> onnx.ModelProto:
    """A graph that passes on; what a node computes is of no interest."""
    given = [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs]
    made = [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in outputs]
    copies = [helper.make_node("Identity", [inputs[0][0]], [name]) for name, _ in outputs]
    return helper.make_model(helper.make_graph(copies[: len(copies) * nodes], "g", given, made))


INPUTS = [("image", ["n", 6]), ("state", ["n", 3])]
OUTPUTS = [("output_0", ["n", 6]), ("output_1", ["n", 3])]


def taken(made: onnx.ModelProto | torch.jit.ScriptModule, folder: Path, model: Model | None = None) -> Taken:
    """What is found of a file, as the export's process finds it."""
    model, path = model or model_of(), folder / "file"
    if isinstance(made, torch.jit.ScriptModule):
        torch.jit.save(made, str(path))
        kind: Any = torchscript_format
    else:
        onnx.save(made, str(path))
        kind = onnx_format
    answer = run_eager(call_build(model, "here"), uniform_set(model, traced_sizes(model), seed=0))
    names, leaves = zip(*flatten(answer), strict=True)
    return bind(kind.read_interface(path, model), model, seen_ports(names, leaves), str(path))


@pytest.mark.parametrize(
    ("inputs", "outputs", "order", "places", "said"),
    [
        pytest.param(INPUTS, OUTPUTS, None, None, "inputs matched by name", id="names"),
        pytest.param(INPUTS[::-1], OUTPUTS[::-1], [1, 0], [1, 0], "inputs matched by name", id="names, another order"),
        pytest.param(
            [("a", ["n", 6]), ("b", ["n", 3])],
            [("y", ["n", 6]), ("z", ["n", 3])],
            [0, 1],
            [0, 1],
            "by order: the file's a is image, b is state",
            id="other names",
        ),
        pytest.param(
            [("b", ["n", 3]), ("a", ["n", 6])],
            [("z", ["n", 3]), ("y", ["n", 6])],
            [1, 0],
            [1, 0],
            "by type and shape: the file's b is state, a is image",
            id="other names, another order",
        ),
        pytest.param(
            [("b", ["n", 3]), ("image", ["n", 6])],
            OUTPUTS,
            [1, 0],
            [0, 1],
            "by name, the others by order: the file's b is state",
            id="one name",
        ),
        pytest.param(INPUTS[:1], OUTPUTS, [0], [0, 1], "does not read state", id="one that it does not read"),
        pytest.param(
            INPUTS, [("more", [1]), *OUTPUTS], [0, 1], [1, 2], "left out: more", id="an output that is the file's own"
        ),
        pytest.param(
            INPUTS, [("y", None), ("z", None)], [0, 1], [0, 1], "by order: the file's y is output_0", id="no shapes"
        ),
    ],
)
def test_inputs_and_outputs_are_matched_by_name_else_by_order_and_shape(
    tmp_path: Path, inputs: Any, outputs: Any, order: list[int] | None, places: list[int], said: str
) -> None:
    found = taken(graph(inputs, outputs), tmp_path)
    assert said in "; ".join(found.notes)
    if order is None:
        assert found.binding is None
        return
    assert found.binding is not None
    assert [pair.place for pair in found.binding.inputs] == order
    assert [pair.place for pair in found.binding.outputs] == places
    assert [pair.file for pair in found.binding.inputs] == [name for name, _ in inputs]
    assert [pair.model for pair in found.binding.outputs] == ["output_0", "output_1"]


EXTERNAL = graph(INPUTS, OUTPUTS)
EXTERNAL.graph.initializer.add(name="w", data_type=FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
EXTERNAL.graph.initializer[0].external_data.add(key="location", value="weights.bin")


@pytest.mark.parametrize(
    ("made", "what", "told"),
    [
        pytest.param(graph(INPUTS, OUTPUTS, HALF), "not one of this model", "image: float16", id="another type"),
        pytest.param(
            graph([("image", ["n", 6, 1]), INPUTS[1]], OUTPUTS),
            "has 3 dimensions",
            "image: float32[n, 6, 1]",
            id="rank",
        ),
        pytest.param(graph([("image", ["n", 7]), INPUTS[1]], OUTPUTS), "has 7 as dimension 1", "[n, 7]", id="a size"),
        pytest.param(graph([*INPUTS, ("sr", [])], OUTPUTS), "3 inputs in the file, 2 in the model", "sr", id="a third"),
        pytest.param(graph(INPUTS, OUTPUTS[:1]), "1 outputs in the file, 2", "output_0", id="an output less"),
        pytest.param(
            graph([("image", [1, 6]), ("state", [1, 3])], OUTPUTS),
            "all sizes",
            "n at 1; dims says 1 … 4",
            id="fixed",
        ),
        pytest.param(graph(INPUTS, OUTPUTS, nodes=0), "not ONNX", "no nodes", id="no graph"),
        pytest.param(EXTERNAL, "weights lie in other files", "weights.bin", id="external data"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, made: onnx.ModelProto, what: str, told: str) -> None:
    with pytest.raises(ModelError) as caught:
        taken(made, tmp_path)
    error = caught.value
    assert what in error.what
    assert told in error.found
    assert all((error.wanted, error.where, error.hint or what == "not ONNX"))


def test_what_fits_in_several_ways_is_refused(tmp_path: Path) -> None:
    model = model_of([("n", 6), ("n", 6)])
    made = graph([("a", ["n", 6]), ("b", ["n", 6])], [("y", ["n", 6]), ("z", ["n", 6])])
    assert taken(made, tmp_path, model).notes[0] == "inputs matched by order: the file's a is image, b is state"
    with pytest.raises(ModelError, match="fit in several ways"):
        taken(graph([("a", ["n", 6]), ("b", ["n", 6]), ("c", ["n", 3])], OUTPUTS), tmp_path, _three())


def _three() -> Model:
    model = model_of()
    third = Input("more", ("n", 6), min_value=-1, max_value=1)

    class Three(Net):
        def forward(self, image: Any, state: Any, more: Any) -> Any:  # type: ignore[override]
            return image * more, state

    return Model(build=lambda: Three().eval(), inputs=[*model.inputs, third], dims=model.dims)


@pytest.mark.parametrize(
    ("module", "order", "places"),
    [
        pytest.param(Net, None, None, id="as the model"),
        pytest.param(Renamed, [1, 0], [1, 0], id="the names in another order, and the outputs"),
    ],
)
def test_a_scripted_file_is_bound_by_the_names_of_its_forward(
    tmp_path: Path, module: Callable[[], Any], order: list[int] | None, places: list[int] | None
) -> None:
    binding = taken(torch.jit.script(module()), tmp_path).binding
    if order is None:
        assert binding is None
        return
    assert binding is not None
    assert [pair.place for pair in binding.inputs] == order
    assert [pair.place for pair in binding.outputs] == places


def test_a_scripted_file_of_other_names_is_run_to_see_which_order_it_takes(tmp_path: Path) -> None:
    example = torch.ones(1, 3), torch.ones(1, 6)
    traced = torch.jit.trace(WeightedSwapped(), example)  # type: ignore[no-untyped-call]
    found = taken(traced, tmp_path, model_of(module=Weighted))
    assert found.notes[0] == "inputs matched by type and shape: the file's b is state, a is image"
    assert found.binding is not None
    assert [pair.file for pair in found.binding.inputs] == ["state", "image"]


class Weighted(torch.nn.Module):
    """Takes each input at its own place only."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.state = torch.nn.Linear(6, 2), torch.nn.Linear(3, 2)

    def forward(self, image: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.image(image) + self.state(state)
        return made


class WeightedSwapped(Weighted):
    def forward(self, b: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        return super().forward(a, b)


@pytest.mark.parametrize(
    ("kind", "content", "what"),
    [
        pytest.param(onnx_format, b"\x00 no protocol buffer", "not ONNX", id="onnx"),
        pytest.param(onnx_format, b"", "not ONNX", id="an empty onnx"),
        pytest.param(torchscript_format, b"PK no archive", "cannot be opened", id="torchscript"),
    ],
)
def test_what_is_no_file_of_its_format_is_refused(tmp_path: Path, kind: Any, content: bytes, what: str) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ModelError, match=what) as caught:
        kind.read_interface(tmp_path / "file", model_of())
    assert str(tmp_path / "file") in caught.value.where


def test_a_pickled_module_is_no_torchscript(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "file")
    with pytest.raises(ModelError, match="cannot be opened") as caught:
        torchscript_format.read_interface(tmp_path / "file", model_of())
    assert "torch.jit.save" in caught.value.hint


def test_a_path_is_relative_to_the_model_file(tmp_path: Path) -> None:
    model = Model(build=Net, inputs=model_of().inputs, dims={"n": (1, 4)}, files={"onnx": "vendor/net.onnx"})
    with pytest.raises(ModelError, match="not there") as caught:
        given_path(model, tmp_path / "model.py", "onnx")
    assert caught.value.where == str(tmp_path / "vendor/net.onnx")
    (tmp_path / "vendor").mkdir()
    (tmp_path / "vendor/net.onnx").touch()
    assert given_path(model, tmp_path / "model.py", "onnx") == tmp_path / "vendor/net.onnx"
    assert given_path(model, tmp_path / "model.py", "torchscript") is None


BOUND = Binding((Pair("b", "y", 1), Pair("a", "x", 0)), (Pair("q", "output_0", 1), Pair("p", "output_1", 0)), 3)


@pytest.mark.parametrize(
    ("header", "sent"),
    [
        pytest.param({"inputs": ["x", "y", "z"]}, {"inputs": ["b", "a"]}, id="names"),
        pytest.param({"fills": [{"k": 1}, {"k": 2}, {"k": 3}]}, {"fills": [{"k": 2}, {"k": 1}]}, id="fills of one set"),
        pytest.param(
            {"fills": [[{"k": 1}, {"k": 2}, {"k": 3}], [{"k": 4}, {"k": 5}, {"k": 6}]]},
            {"fills": [[{"k": 2}, {"k": 1}], [{"k": 5}, {"k": 4}]]},
            id="fills, set after set",
        ),
    ],
)
def test_a_device_is_asked_in_the_files_names_and_order(header: dict[str, Any], sent: dict[str, Any]) -> None:
    made, tensors = BOUND.request(header, [np.float32(index) for index in range(6)])
    assert made == sent
    assert [int(tensor) for tensor in tensors] == [1, 0, 4, 3]


def test_what_a_device_answers_is_said_in_the_models_names_and_order() -> None:
    assert BOUND.outputs_of(["p", "q"]) == ["q", "p"]
    assert BOUND.models_names(["b"]) == ["y"]
    assert Binding.read(BOUND.described) == BOUND


def test_dimensions_that_a_file_fixes_are_named() -> None:
    model = model_of()
    assert fixed_dimensions({"image": [2, 6], "state": ["n", 3]}, model) == ["n at 2; dims says 1 … 4"]
    assert fixed_dimensions({"image": ["n", 6], "state": [None, 3]}, model) == []


@pytest.mark.parametrize(
    ("said", "what"),
    [
        pytest.param({"files": ["net.onnx"]}, "files is not usable", id="files that are no dict"),
        pytest.param({"files": {"onnx": 3}}, "files is not usable", id="a path that is none"),
        pytest.param({"files": {"onnx": ""}}, "files is not usable", id="no path"),
        pytest.param({"imports": "torchvision"}, "imports is not usable", id="a text in place of a list"),
        pytest.param({"imports": ["torch-scatter"]}, "imports is not usable", id="a package's name"),
        pytest.param({"exporter": None}, "exporter is not usable", id="no label"),
        pytest.param({"opset": 17.0}, "opset is not usable", id="an opset that is no whole number"),
        pytest.param(
            {"opset": 17, "files": {"onnx": "net.onnx"}}, "the ONNX file is given", id="opset of a given file"
        ),
    ],
)
def test_what_a_model_file_cannot_say_of_its_artifacts_is_refused(said: dict[str, Any], what: str) -> None:
    with pytest.raises(ModelError, match=what):
        Model(build=Net, inputs=model_of().inputs, dims={"n": (1, 4)}, **said)


@pytest.mark.parametrize(
    ("said", "what", "wanted"),
    [
        pytest.param({"files": {"onx": "net.onnx"}}, "unknown format 'onx'", "onnx, torchscript", id="format"),
        pytest.param({"exporter": "dynamo"}, "no such exporter", "torch.onnx.export(dynamo=True)", id="exporter"),
        pytest.param(
            {"exporter": "torch.jit.trace", "files": {"torchscript": "net.pt"}}, "that file is given", "", id="both"
        ),
    ],
)
def test_what_there_is_not_is_refused_before_anything_runs(said: dict[str, Any], what: str, wanted: str) -> None:
    model = Model(build=Net, inputs=model_of().inputs, dims={"n": (1, 4)}, **said)
    with pytest.raises(ModelError, match=what) as caught:
        check_artifacts(ModelFile(Path("model.py"), model, ()))
    assert wanted in caught.value.wanted


def test_a_path_may_be_a_path_and_a_chosen_exporter_beside_a_file_of_another_format() -> None:
    said: dict[str, Any] = {"exporter": "torch.jit.trace", "files": {"onnx": Path("net.onnx")}, "imports": ["a.b"]}
    model = Model(build=Net, inputs=model_of().inputs, dims={"n": (1, 4)}, **said)
    check_artifacts(ModelFile(Path("model.py"), model, ()))
    assert (model.files, model.imports) == ({"onnx": "net.onnx"}, ("a.b",))
