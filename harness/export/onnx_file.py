"""The inputs and outputs of a given ONNX file, read from its graph without loading its weights or running it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelError
from ..model.user_code import words
from .given import Interface
from .onnx_graph import all_parts, declared_shapes, type_name
from .ports import Port

if TYPE_CHECKING:
    import onnx

WANTED = "an ONNX file with its weights in it"


def interface_of(path: Path) -> Interface:
    """Read the inputs and outputs of an ONNX file.

    Raises:
        ModelError: the file is not ONNX, or its weights lie in other files.
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
    sets = ", ".join(f"{entry.domain or 'ai.onnx'} {entry.version}" for entry in proto.opset_import)
    return Interface(
        inputs=inputs, positional=False, outputs=lambda places: outputs, notes=[f"operator sets {sets}"], declares=True
    )


def _port(item: onnx.ValueInfoProto, shapes: Any) -> Port:
    return Port(item.name, type_name(item.type.tensor_type.elem_type), shapes[item.name])


def _locations(proto: onnx.ModelProto) -> Iterator[str]:
    """Yield the names of the external files that hold weights, including those of subgraphs and nodes."""
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
