"""An exported ONNX graph, to be looked into: who makes and who uses each value. Its weights stay on the disk.

A node with graphs in it (If, Loop, Scan) is one node: what it makes inside stays there.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ...export import Artifact
from ...model.inputs import Arrays
from ...model.model import Array
from .scopes import Stack, node_scopes

if TYPE_CHECKING:
    import onnx

# Constants of up to so many elements may be shapes, which the inference of shapes reads.
SMALL = 64
# Operators that a norm can be folded into.
LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul")


class Graph:
    """The graph of an artifact.

    Args:
        artifact: an ONNX one; large weights may lie in files of their own.
        modules: the names of the model's modules.
        unnamed: those that the older exporter's paths leave out; see scopes.

    Attributes:
        needs: of each node what it reads, also from within its own graphs.
        producers: of each value the index of the node that makes it.
        users: of each value the indices of the nodes that read it.
        scopes: of each node the modules that it is in.
    """

    def __init__(self, artifact: Artifact, modules: Collection[str], unnamed: Collection[str] = ()) -> None:
        import onnx

        self.artifact = artifact
        self.proto = onnx.load(str(artifact.folder / artifact.files[0].name), load_external_data=False)
        self.nodes = list(self.proto.graph.node)
        self.inputs = [item.name for item in self.proto.graph.input]
        self.outputs = [item.name for item in self.proto.graph.output]
        self.needs = [tuple(dict.fromkeys((*filter(None, node.input), *_captured(node)))) for node in self.nodes]
        self.producers = {name: index for index, node in enumerate(self.nodes) for name in node.output if name}
        self.users: dict[str, list[int]] = {}
        for index, needs in enumerate(self.needs):
            for name in needs:
                self.users.setdefault(name, []).append(index)
        self.scopes: list[Stack] = node_scopes(self.nodes, modules, unnamed)
        self._initializers = {item.name: item for item in self.proto.graph.initializer}

    def initializer(self, name: str) -> Array | None:
        """Read a weight or constant, from the disk where it lies there; None where the name is another value's."""
        import onnx

        found = self._initializers.get(name)
        if found is None:
            return None
        array: Array = onnx.numpy_helper.to_array(found, base_dir=str(self.artifact.folder))
        return array

    def constants(self, size: int) -> Iterator[Array]:
        """Yield all weights and constants of so many elements."""
        for name, item in self._initializers.items():
            if math.prod(item.dims) == size and (array := self.initializer(name)) is not None:
                yield array

    def ancestors(self, values: Iterable[str], given: Collection[str] = ()) -> list[int]:
        """List the nodes that make the values, in order, without those that are needed only for given ones."""
        result: set[int] = set()
        todo = [name for name in values if name not in given]
        while todo:
            index = self.producers.get(todo.pop())
            if index is not None and index not in result:
                result.add(index)
                todo += [name for name in self.needs[index] if name not in given]
        return sorted(result)

    def within(self, module: str) -> list[int]:
        """List the nodes of a module and of those in it; all nodes for ""."""
        return [index for index, stack in enumerate(self.scopes) if not module or module in stack]

    def leaving(self, nodes: Collection[int]) -> list[str]:
        """List the values made by these nodes that others use, or that are the graph's outputs."""
        inside, outputs = set(nodes), set(self.outputs)
        return [
            name
            for index in sorted(inside)
            for name in self.nodes[index].output
            if name and (name in outputs or any(user not in inside for user in self.users.get(name, ())))
        ]

    def made_by(self, nodes: Iterable[int]) -> list[str]:
        """List all values that some nodes make."""
        return [name for index in nodes for name in self.nodes[index].output if name]

    def entering(self, nodes: Collection[int]) -> list[str]:
        """List the values made elsewhere that these nodes use, without the graph's inputs and weights."""
        inside = set(nodes)
        needs = dict.fromkeys(name for index in sorted(inside) for name in self.needs[index])
        return [name for name in needs if name in self.producers and self.producers[name] not in inside]

    def attribute(self, norms: Mapping[str, str]) -> None:
        """Give the nodes of folded norms to the modules that they are folded into.

        The dynamo exporter notes on a convolution with a norm in it that it is the norm's: then the norm would be
        blamed for the convolution, and the convolution for having no node (issue 15).

        Args:
            norms: NORM: MODULE.
        """
        for index, node in enumerate(self.nodes):
            stack = self.scopes[index]
            if stack and stack[-1] in norms and node.op_type in LINEAR:
                parts = norms[stack[-1]].split(".")
                self.scopes[index] = tuple(".".join(parts[:count]) for count in range(1, len(parts) + 1))

    @cached_property
    def varying(self) -> frozenset[int]:
        """The nodes whose values depend on the graph's inputs."""
        known = set(self.inputs) - set(self._initializers)
        result = set()
        for index, needs in enumerate(self.needs):
            if not known.isdisjoint(needs):
                result.add(index)
                known.update(self.nodes[index].output)
        return frozenset(result)

    def types(self, arrays: Arrays) -> Mapping[str, onnx.TypeProto]:
        """Infer the type of each value, and its shape for these inputs, as far as onnx can."""
        import onnx

        proto = onnx.ModelProto(ir_version=self.proto.ir_version, functions=self.proto.functions)
        proto.opset_import.extend(self.proto.opset_import)
        proto.graph.name = "shapes"
        proto.graph.node.extend(self.nodes)
        for item in self.proto.graph.input:
            concrete = item
            if item.name in arrays:
                kind = onnx.helper.np_dtype_to_tensor_dtype(arrays[item.name].dtype)
                concrete = onnx.helper.make_tensor_value_info(item.name, kind, arrays[item.name].shape)
            proto.graph.input.append(concrete)
        for weight in self.proto.graph.initializer:
            if math.prod(weight.dims) <= SMALL and (array := self.initializer(weight.name)) is not None:
                proto.graph.initializer.append(onnx.numpy_helper.from_array(array, weight.name))
            else:
                info = onnx.helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims)
                proto.graph.input.append(info)
        try:
            inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True)
        except Exception:  # noqa: BLE001  # whatever it stumbles over: it is only asked for hints
            inferred = proto
        known = {item.name: item.type for item in (*self.proto.graph.value_info, *self.proto.graph.output)}
        return known | {item.name: item.type for item in inferred.graph.value_info}


def _captured(node: onnx.NodeProto) -> Iterator[str]:
    """Yield what the graphs in a node read from around it."""
    for graph in inner_graphs(node):
        own = {item.name for item in (*graph.input, *graph.initializer)}
        for inner in graph.node:
            yield from (name for name in (*inner.input, *_captured(inner)) if name and name not in own)
            own.update(inner.output)
        yield from (item.name for item in graph.output if item.name not in own)


def inner_graphs(node: onnx.NodeProto) -> Iterator[Any]:
    """Yield the graphs in a node, such as an If's branches."""
    for attribute in node.attribute:
        yield from attribute.graphs
        if attribute.HasField("g"):
            yield attribute.g
