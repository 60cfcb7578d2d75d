"""An ONNX file's graph: the shapes that it declares, its nodes, and which module of the model each came from."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..model.inputs import at_sizes
from .shapes import Declared, Shapes, refuted

if TYPE_CHECKING:
    import onnx

FILE = "model.onnx"
# Element types that have another name in numpy.
NAMES = {"FLOAT": "float32", "DOUBLE": "float64", "UNDEFINED": ""}


def declared_shapes(proto: onnx.ModelProto) -> Declared:
    """Read the shapes that a file declares for its inputs and outputs."""
    weights = {item.name for item in proto.graph.initializer}
    inputs = [item for item in proto.graph.input if item.name not in weights]
    shapes: dict[str, list[int | str | None] | None] = {}
    for item in (*inputs, *proto.graph.output):
        kind = item.type.tensor_type
        sizes = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in kind.shape.dim]
        shapes.setdefault(item.name, sizes if kind.HasField("shape") else None)
    return shapes


def correct_shapes(folder: Path, seen: Iterable[tuple[Mapping[str, int], Shapes]]) -> tuple[Declared, list[str]]:
    """Remove from a file the sizes that it declares for outputs and that are wrong.

    Args:
        folder: holds the file.
        seen: for several inferences of the module: the sizes of the dimensions, and the shapes by name.

    Returns:
        The shapes that the file declares now, and notes on what was wrong.
    """
    import onnx

    proto = onnx.load(str(folder / FILE), load_external_data=False)
    wrong: dict[tuple[str, int | None], str] = {}
    for sizes, shapes in seen:
        for place, what in refuted(declared_shapes(proto), shapes).items():
            wrong.setdefault(place, what + at_sizes(sizes))
    outputs = {item.name: item.type.tensor_type for item in proto.graph.output}
    given = {item.name for item in proto.graph.input}
    notes = []
    for (name, axis), what in wrong.items():
        if name in given:
            notes.append(f"about the file's shapes: {what}: a runtime takes no other")
            continue
        if axis is None:
            outputs[name].ClearField("shape")
        else:
            outputs[name].shape.dim[axis].Clear()
        notes.append(f"about the file's shapes: {what}: now it leaves that open")
    if notes:
        # The declared shapes of intermediate values have the same origin, and ONNX Runtime would infer the
        # outputs' shapes from them.
        del proto.graph.value_info[:]
        onnx.save(proto, str(folder / FILE))
    return declared_shapes(proto), notes


def type_name(number: int) -> str:
    """Return numpy's name of an element type, or ONNX's in lower case where numpy has none; "" where undeclared."""
    from onnx import TensorProto

    name = str(TensorProto.DataType.Name(number))
    return NAMES.get(name, name.lower())


def node_types(path: Path, operator: str, name: str) -> list[str]:
    """List the element types of a node's inputs and outputs, as far as the file declares them: ["bfloat16"].

    Args:
        path: an ONNX file; its weights are not read.
        operator: the node's operator, as a runtime names it.
        name: the node's name; where no node has it, the first node with the operator is taken.
    """
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    kinds = {item.name: item.data_type for item in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        kinds.setdefault(value.name, value.type.tensor_type.elem_type)
    alike = [node for node in graph.node if node.op_type == operator]
    nodes = [node for node in alike if node.name == name] or alike
    used = [kinds.get(value, 0) for value in (*nodes[0].input, *nodes[0].output)] if nodes else []
    return [name for name in dict.fromkeys(type_name(kind) for kind in used) if name]


def all_parts(proto: onnx.ModelProto) -> Iterator[Any]:
    """Yield all parts of a file that carry notes: functions, graphs and subgraphs with their values and nodes."""
    for function in proto.functions:
        yield function
        yield from _nodes(function.node)
    yield from _graph_parts(proto.graph)


def _graph_parts(graph: onnx.GraphProto) -> Iterator[Any]:
    yield graph
    yield from (*graph.input, *graph.output, *graph.value_info, *graph.initializer)
    yield from _nodes(graph.node)


def _nodes(nodes: Any) -> Iterator[Any]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from _graph_parts(graph)


def node_modules(path: Path) -> dict[str, str]:
    """Map nodes to the modules of the model that they came from ("layers.3.conv"), where the exporter noted it.

    Args:
        path: an exported ONNX file; its weights are not read.
    """
    import onnx

    modules_of = {}
    for node in onnx.load(str(path), load_external_data=False).graph.node:
        notes = {note.key.rpartition(".")[2]: note.value for note in node.metadata_props}
        if "name_scopes" in notes:
            # The scopes end with the operator itself, and begin with our wrapper around the model (example.laid_flat).
            *modules, _ = ast.literal_eval(notes["name_scopes"])
            modules_of[node.name] = (modules or [""])[-1].removeprefix("model").lstrip(".")
    return modules_of
