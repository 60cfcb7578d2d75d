"""Exports and runtimes that are wrong at one node, on purpose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from harness.export import Artifact, ArtifactFile
from harness.host.cache import file_sha256, link_or_copy
from harness.model.inputs import Arrays
from harness.model.model import Array
from harness.parity.localize import Probe

Edit = Callable[[onnx.ModelProto], None]


def exported(artifact: Artifact, folder: Path, edit: Edit) -> Artifact:
    """Return the artifact as another exporter would have made it."""
    first, *others = artifact.files
    proto = onnx.load(str(artifact.folder / first.name), load_external_data=False)
    edit(proto)
    folder.mkdir()
    path = folder / first.name
    path.write_bytes(proto.SerializeToString())
    for file in others:
        link_or_copy(artifact.folder / file.name, folder / file.name)
    made = ArtifactFile(first.name, file_sha256(path), path.stat().st_size)
    return replace(artifact, folder=folder, files=(made, *others))


def onnx_runtime(edit: Edit = lambda proto: None) -> Probe:
    """ONNX Runtime in this process, on one thread; it runs every graph edited."""

    def run(artifact: Artifact, sets: Sequence[Arrays]) -> list[dict[str, Array]]:
        path = artifact.folder / artifact.files[0].name
        proto = onnx.load(str(path), load_external_data=False)
        edit(proto)
        path = path.with_name("edited.onnx")  # beside the weights
        path.write_bytes(proto.SerializeToString())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        names = [item.name for item in session.get_outputs()]
        used = [item.name for item in session.get_inputs()]
        return [
            dict(zip(names, session.run(None, {name: arrays[name] for name in used}), strict=True)) for arrays in sets
        ]

    return run


def float_nodes(proto: onnx.ModelProto, arrays: Arrays) -> list[onnx.NodeProto]:
    """Return the nodes that depend on the inputs and whose first output is float32: others cannot be shifted."""
    inferred = onnx.shape_inference.infer_shapes(proto)
    known = (*inferred.graph.value_info, *inferred.graph.output)
    floats = {item.name for item in known if item.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    varying, found = set(arrays), []
    for node in proto.graph.node:
        if not varying.isdisjoint(node.input):
            varying.update(node.output)
            found += [node] if node.output[0] in floats else []
    return found


def shifted(node: str, by: float) -> Edit:
    """Add a constant to a node's output."""

    def edit(proto: onnx.ModelProto) -> None:
        nodes = list(proto.graph.node)
        place = next((index for index, each in enumerate(nodes) if each.name == node), None)
        if place is None:  # this graph ends before it
            return
        output = nodes[place].output[0]
        nodes[place].output[0] = f"{output}_raw"
        number = onnx.numpy_helper.from_array(np.array(by, np.float32), f"{output}_by")
        proto.graph.initializer.append(number)
        nodes.insert(place + 1, onnx.helper.make_node("Add", [f"{output}_raw", f"{output}_by"], [output], "shift"))
        del proto.graph.node[:]
        proto.graph.node.extend(nodes)

    return edit


def with_attribute(node: str, name: str, value: Any) -> Edit:
    """Change an attribute of a node."""

    def edit(proto: onnx.ModelProto) -> None:
        found = next(each for each in proto.graph.node if each.name == node)
        kept = [attribute for attribute in found.attribute if attribute.name != name]
        del found.attribute[:]
        found.attribute.extend([*kept, onnx.helper.make_attribute(name, value)])

    return edit


def with_scaled_weight(node: str, place: int, by: float) -> Edit:
    """Give one node a scaled copy of a weight that others use, too."""

    def edit(proto: onnx.ModelProto) -> None:
        found = next(each for each in proto.graph.node if each.name == node)
        weight = next(item for item in proto.graph.initializer if item.name == found.input[place])
        array = (onnx.numpy_helper.to_array(weight) * by).astype(np.float32)
        found.input[place] = f"{weight.name}_scaled"
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, found.input[place]))

    return edit
