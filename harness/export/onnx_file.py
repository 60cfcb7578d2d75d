"""What a given ONNX file takes and gives: read from its graph, without its weights and without running it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelError
from ..model.user_code import words
from .given import Interface
from .onnx import all_parts, declared_shapes
from .ports import Port

if TYPE_CHECKING:
    import onnx

WANTED = "an ONNX file with its weights in it"
# Element types that numpy names otherwise.
NAMES = {"FLOAT": "float32", "DOUBLE": "float64", "UNDEFINED": ""}


def interface_of(path: Path) -> Interface:
    """Read what an ONNX file takes and gives.

    Raises:
        ModelError: it is no ONNX file, or not the whole of one.
    """
    import onnx

    try:
        proto = onnx.load(str(path), load_external_data=False)
    except Exception as error:
        raise ModelError("the given file is not ONNX", wanted=WANTED, found=words(error), where=str(path)) from error
    if not (proto.ir_version and proto.graph.node and proto.graph.output and proto.opset_import):
        found = "no nodes, no outputs or no operator sets"  # other bytes, too, may happen to be a protocol buffer
        raise ModelError("the given file is not ONNX", wanted=WANTED, found=found, where=str(path))
    if beside := sorted(set(_locations(proto))):
        raise ModelError(
            "the given file's weights lie in other files",
            wanted=WANTED,
            found="weights in " + ", ".join(beside[:5]),
            where=str(path),
            hint="put them into one file, which may have 2 GB: onnx.save(onnx.load(FILE), OTHER)",
        )
    shapes = declared_shapes(proto)
    weights = {item.name for item in proto.graph.initializer}
    outputs = [_port(item, shapes) for item in proto.graph.output]
    inputs = [_port(item, shapes) for item in proto.graph.input if item.name not in weights]
    sets = ", ".join(f"{one.domain or 'ai.onnx'} {one.version}" for one in proto.opset_import)
    return Interface(inputs, False, lambda places: outputs, [f"operator sets {sets}"], declares=True)


def _port(item: onnx.ValueInfoProto, shapes: Any) -> Port:
    return Port(item.name, _type_name(item.type.tensor_type.elem_type), shapes[item.name])


def _type_name(number: int) -> str:
    """Name an element type as numpy does, where it has it; "" for none."""
    from onnx import TensorProto

    name = str(TensorProto.DataType.Name(number))
    return NAMES.get(name, name.lower())


def _locations(proto: onnx.ModelProto) -> Iterator[str]:
    """Where weights lie that are in files of their own, those of subgraphs and nodes included."""
    for tensor in _tensors(proto):
        if tensor.data_location == tensor.EXTERNAL:
            yield from (entry.value for entry in tensor.external_data if entry.key == "location")


def _tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    import onnx

    for part in all_parts(proto):
        if isinstance(part, onnx.GraphProto):
            yield from part.initializer
        elif isinstance(part, onnx.NodeProto):
            for attribute in part.attribute:
                yield from (*attribute.tensors, *([attribute.t] if attribute.HasField("t") else []))


def node_types(path: Path, operator: str, name: str) -> list[str]:
    """List the element types that a node of a graph computes with, as far as its file says: ["bfloat16"].

    Args:
        path: of an ONNX file; its weights are not read.
        operator: the node's, as a runtime names it; the first one of it where no node has the name.
    """
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    kinds = {item.name: item.data_type for item in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        kinds.setdefault(value.name, value.type.tensor_type.elem_type)
    alike = [node for node in graph.node if node.op_type == operator]
    nodes = [node for node in alike if node.name == name] or alike
    used = [kinds.get(value, 0) for value in (*nodes[0].input, *nodes[0].output)] if nodes else []
    return [name for name in dict.fromkeys(_type_name(kind) for kind in used) if name]
