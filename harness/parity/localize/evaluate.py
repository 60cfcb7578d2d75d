"""Parts of an ONNX graph computed on this host by onnx's own reference evaluator, in the graph's types or in float64.

Node by node, so that no more than the values in use are in memory, and of the weights one node's.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...model.model import Array
from .graph import Graph, inner_graphs
from .location import Clock, Unlocated

if TYPE_CHECKING:
    import onnx

# Operators whose output is as large as a number among their inputs says.
SIZING = ("ConstantOfShape", "Expand", "OneHot", "Pad", "Range", "Resize", "Tile", "Upsample")
MOST_DIMENSIONS = 32
MOST_ELEMENTS = 1 << 28


class Evaluator:
    """Computes values of a graph.

    Args:
        known: what stands in for a node that the evaluator cannot run: the device's own values.

    Attributes:
        skipped: the nodes for which that was so, by name, with the reason.
    """

    def __init__(self, graph: Graph, clock: Clock, known: Mapping[str, Array]) -> None:
        self.graph = graph
        self.clock = clock
        self.known = dict(known)
        self.skipped: dict[str, str] = {}
        self._evaluator = functools.lru_cache(maxsize=4096)(self._make)

    def values(self, wanted: Sequence[str], given: Mapping[str, Array], *, wide: bool = True) -> dict[str, Array]:
        """Compute some values of the graph.

        Args:
            wanted: their names.
            given: values that are known, the graph's inputs among them.
            wide: in float64, whatever narrower floats the graph has.

        Raises:
            Unlocated: a node cannot be run, and the device's value is not known; or the time is up.
        """
        return dict(self.each(wanted, given, wide=wide))

    def each(
        self, wanted: Sequence[str], given: Mapping[str, Array], *, wide: bool = True
    ) -> Iterator[tuple[str, Array]]:
        """Compute values of the graph one by one, so that a caller who keeps few has few in memory; see ``values``.

        Raises: as ``values``.
        """
        order = self.graph.ancestors(wanted, given)
        left = Counter(name for index in order for name in self.graph.needs[index])
        values = {
            name: _widened(array) if wide else array for name, array in given.items() if name in left or name in wanted
        }
        waiting = set(wanted)
        for name in [name for name in wanted if name in given or name not in self.graph.producers]:
            waiting.discard(name)
            yield name, self._value(name, values, wide)
        for index in order:
            self.clock.check(f"evaluating {self.graph.nodes[index].name or self.graph.nodes[index].op_type}")
            made = self.node(index, values, wide=wide)
            yield from ((name, array) for name, array in made.items() if name in waiting)
            values.update({name: array for name, array in made.items() if left[name]})
            for name in self.graph.needs[index]:
                left[name] -= 1
                if not left[name]:
                    values.pop(name, None)

    def node(self, index: int, values: Mapping[str, Array], *, wide: bool = True) -> dict[str, Array]:
        """Compute what one node makes of its inputs, by name; see ``values``."""
        node = self.graph.nodes[index]
        outputs = [name for name in node.output if name]
        feeds = {name: self._value(name, values, wide) for name in self.graph.needs[index]}
        check_sizes(node, feeds)
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # numpy's, of an empty mean
                made = self._run(index, wide, feeds)
        except Exception as error:
            if not all(name in self.known for name in outputs):
                raise Unlocated(f"node {node.name} ({node.op_type}) cannot be evaluated: {error}") from error
            self.skipped[node.name] = f"{node.op_type}: {type(error).__name__}"
            made = [self.known[name] for name in outputs]
        return {name: _widened(array) if wide else array for name, array in zip(outputs, made, strict=True)}

    def inputs(self, index: int, values: Mapping[str, Array]) -> list[Array | None]:
        """Return a node's inputs in float64, in its own order; None for one that is left out, or is no tensor."""
        given = [self._value(name, values, True) if name else None for name in self.graph.nodes[index].input]
        return [array if isinstance(array, np.ndarray) else None for array in given]

    def _run(self, index: int, wide: bool, feeds: Mapping[str, Array]) -> list[Any]:
        evaluator = self._evaluator(index, wide)
        made: list[Any] = evaluator.run(None, dict(feeds))
        node = self.graph.nodes[index]
        if node.op_type == "MaxPool" and np.isnan(feeds[node.input[0]]).any():
            # onnx's own drops a NaN unless it comes first in its window; ONNX says no more than "the largest".
            marked = {node.input[0]: np.isnan(feeds[node.input[0]]).astype(feeds[node.input[0]].dtype)}
            made[0] = np.where(evaluator.run(None, marked)[0] > 0, np.nan, made[0]).astype(made[0].dtype)
        return made

    def completed(self, index: int, values: Mapping[str, Array]) -> Mapping[str, Array]:
        """Add those of a node's inputs that a device cannot send (a sequence), computed from the values."""
        needs = self.graph.needs[index]
        missing = [name for name in needs if name not in values and name in self.graph.producers]
        return {**values, **self.values(missing, values)} if missing else values

    def _value(self, name: str, values: Mapping[str, Array], wide: bool) -> Array:
        if name in values:
            return _widened(values[name]) if wide else values[name]
        result = self.graph.initializer(name)
        if result is None:
            raise Unlocated(f"the graph's {name} is not known")
        return _widened(result) if wide else result

    def _make(self, index: int, wide: bool) -> Any:
        import onnx
        from onnx.reference import ReferenceEvaluator

        node = onnx.NodeProto()
        node.CopyFrom(self.graph.nodes[index])
        functions = [onnx.FunctionProto.FromString(item.SerializeToString()) for item in self.graph.proto.functions]
        if wide:
            for inner in (node, *(inner for function in functions for inner in function.node)):
                widen(inner)
        anything = onnx.TypeProto()
        inputs = [onnx.helper.make_value_info(name, anything) for name in self.graph.needs[index]]
        outputs = [onnx.helper.make_value_info(name, anything) for name in node.output if name]
        graph = onnx.helper.make_graph([node], "node", inputs, outputs)
        opsets = list(self.graph.proto.opset_import)
        model = onnx.helper.make_model(
            graph, functions=functions, opset_imports=opsets, ir_version=self.graph.proto.ir_version
        )
        return ReferenceEvaluator(model)


def check_sizes(node: onnx.NodeProto, feeds: Mapping[str, Any]) -> None:
    """Refuse sizes from a device that would make this host allocate too much.

    Raises:
        Unlocated: it would.
    """
    if node.op_type not in SIZING:
        return
    for name, array in feeds.items():
        if isinstance(array, np.ndarray) and array.dtype.kind in "iu" and array.size <= MOST_DIMENSIONS:
            size = math.prod(max(abs(int(one)), 1) for one in array.reshape(-1))
            if size > MOST_ELEMENTS:
                raise Unlocated(f"node {node.name} ({node.op_type}) is given {name} = {array.tolist()}, as a size")


def widen(node: onnx.NodeProto) -> None:
    """Make a node, and those in its graphs, give float64 where it says a narrower float itself."""
    import onnx

    narrow = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
    for attribute in node.attribute:
        if attribute.name in ("to", "dtype") and attribute.i in narrow:
            attribute.i = onnx.TensorProto.DOUBLE
        if attribute.HasField("t") and attribute.t.data_type in narrow:
            wide = onnx.numpy_helper.to_array(attribute.t).astype(np.float64)
            attribute.t.CopyFrom(onnx.numpy_helper.from_array(wide, attribute.t.name))
    for graph in inner_graphs(node):
        for index, item in enumerate(graph.initializer):
            if item.data_type in narrow:
                wide = onnx.numpy_helper.to_array(item).astype(np.float64)
                graph.initializer[index].CopyFrom(onnx.numpy_helper.from_array(wide, item.name))
        for inner in graph.node:
            widen(inner)


def _widened(array: Any) -> Any:
    """Return narrower floats as float64 (bfloat16 is of kind V for numpy, but by name a float)."""
    if isinstance(array, list):  # a sequence of tensors
        return [_widened(one) for one in array]
    result = np.asarray(array)
    narrow = result.dtype.kind == "f" or result.dtype.name == "bfloat16"
    return result.astype(np.float64) if narrow and result.dtype != np.float64 else result
