"""One node apart from its graph: all that is needed to report, or to fix, a fault of a runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...export import Artifact, ArtifactFile
from ...export.onnx import FILE
from ...host.cache import file_sha256, storage_errors
from ...model.model import Array
from ..rule.comparison import Expected
from .evaluate import Evaluator
from .graph import Graph

# Weights of a node are inputs here; beyond this size they are left where they are.
LARGEST = 256 << 20


@dataclass(frozen=True)
class NodeCase:
    """A node, and one run of it on the device.

    Attributes:
        model: a graph of this node alone, as an ONNX file has it; its weights are inputs, too.
        inputs: what it was given on the device.
        found: what it gave there, by output.
        expected: what it makes of these inputs in float64, and that rounded.
    """

    model: bytes
    inputs: Mapping[str, Array]
    found: Mapping[str, Array]
    expected: tuple[Expected, ...]

    def artifact(self, folder: Path) -> Artifact:
        """Write the node's file into a folder."""
        path = folder / FILE
        with storage_errors(folder):
            path.write_bytes(self.model)
        return Artifact(
            folder=folder,
            format="onnx",
            files=(ArtifactFile(FILE, file_sha256(path), len(self.model)),),
            exporter="one node",
            warnings=(),
        )


def node_case(evaluator: Evaluator, graph: Graph, index: int, values: Mapping[str, Array]) -> NodeCase | None:
    """Cut out a node with the device's own values.

    Args:
        evaluator: computes what the node should give.
        graph: the node's.
        index: the node's number.
        values: the device's, the node's inputs and outputs among them.

    Returns:
        None where the node has other values than tensors, is too large, or was not evaluated.
    """
    node = graph.nodes[index]
    given = {name: values[name] if name in values else graph.initializer(name) for name in graph.needs[index]}
    inputs = {name: array for name, array in given.items() if isinstance(array, np.ndarray)}
    found = {name: values[name] for name in node.output if name in values}
    exact = evaluator.node(index, evaluator.completed(index, values))
    if len(inputs) < len(given) or set(found) != set(exact) or node.name in evaluator.skipped:
        return None
    arrays = [*inputs.values(), *found.values()]
    if sum(array.nbytes for array in arrays) > LARGEST or any(array.dtype.kind not in "fiub" for array in arrays):
        return None
    expected = [Expected(name, exact[name].astype(array.dtype), exact[name]) for name, array in found.items()]
    return NodeCase(_alone(graph, index, inputs, found), inputs, found, tuple(expected))


def _alone(graph: Graph, index: int, inputs: Mapping[str, Array], found: Mapping[str, Array]) -> bytes:
    import onnx

    def described(values: Mapping[str, Array], *, shaped: bool) -> list[onnx.ValueInfoProto]:
        kinds = {name: onnx.helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in values.items()}
        return [
            onnx.helper.make_tensor_value_info(name, kinds[name], array.shape if shaped else None)
            for name, array in values.items()
        ]

    outputs = described(found, shaped=False)
    alone = onnx.helper.make_graph([graph.nodes[index]], "node", described(inputs, shaped=True), outputs)
    model = onnx.helper.make_model(
        alone,
        functions=list(graph.proto.functions),
        opset_imports=list(graph.proto.opset_import),
        ir_version=graph.proto.ir_version,
    )
    text: bytes = model.SerializeToString()
    return text
