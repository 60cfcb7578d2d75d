"""Locating in an ONNX graph.

The first module that is off on the device, with the values between modules kept, is looked into. Its nodes are computed
in float64 from the device's own inputs to it. Where that is right, the device's values are put in again node by node
(by halves): the node whose value makes the module wrong is the one. Where it is wrong, so is the graph, unless what was
given to it is: that tells the same computation from the graph's inputs. A deviation that is gone once values
are kept is the optimizer's: then graphs that end early are tried, until one of them is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...errors import AgentFailure
from ...model.inputs import Arrays
from ...model.model import Array
from ..rule.comparison import Expected
from .evaluate import Evaluator
from .graph import Graph
from .location import EXPORTER, OPTIMIZER, RUNTIME, Clock, Location, TimeUp, Unlocated
from .match import Matching, Suspect, folded_norms
from .module_outputs import HELD_BYTES, Call, Modules, Points, points_of
from .node_repro import node_case
from .operators import first_unlike, is_like, off_values, operator_values
from .probe import Prober, Values
from .verdict import OFF_ULPS, NodeError, node_error


@dataclass
class OnnxLocating:
    """One run of it.

    Args:
        sets: the failing inputs.
    """

    graph: Graph
    modules: Modules
    prober: Prober
    sets: Sequence[Arrays]
    clock: Clock

    def __post_init__(self) -> None:
        self.points = points_of(self.modules, self.sets)
        self.sets = self.sets[: len(self.points)]
        order, modules = [call.module for call in self.points[0].calls], self.modules
        norms = folded_norms(order, modules.norms, modules.weighted, lambda name: bool(self.graph.within(name)))
        self.graph.attribute(norms)
        self.matching = Matching(self.graph, self.points[0].calls)

    def run(self) -> Location:
        """The place.

        Raises:
            Unlocated: there is none to be found.
        """
        outputs: list[list[Values]] = [[] for _ in self.sets]
        suspect, values = None, [Values() for _ in self.sets]
        for modules in self._groups():
            wanted = {name for module in modules for name in self.matching.candidates[module]}
            try:
                values, more = self.prober.kept([name for name in self.graph.producers if name in wanted], self.sets)
            except AgentFailure as error:
                return self._refused(error)
            outputs = [before + others for before, others in zip(outputs, more, strict=True)]
            if (suspect := self._first_off(values, modules)) is not None:
                break
        if suspect is None or all(self._is_right(index, each) for index, each in enumerate(outputs)):
            return self._optimized_between()
        return self._inside(suspect, values[suspect.inputs])

    def _groups(self) -> Iterator[list[str]]:
        """The modules in the order in which they end, so many at a time as there is room for what may be theirs."""
        room = HELD_BYTES // len(self.sets)
        group: list[str] = []
        wanted: set[str] = set()
        for module in dict.fromkeys(call.module for points in self.points for call in points.calls):
            more = wanted.union(self.matching.candidates.setdefault(module, []))
            if group and sum(map(self.prober.bytes, more)) > room:
                yield group
                group, more = [], set(self.matching.candidates[module])
            group, wanted = [*group, module], more
        if group:
            yield group

    def _first_off(self, values: Sequence[Values], modules: Collection[str]) -> Suspect | None:
        """The module that ends first, of all sets of inputs."""
        found = [
            self.matching.first_off(points, values[index], index, modules) for index, points in enumerate(self.points)
        ]
        order = {(call.module, call.number): place for place, call in enumerate(self.points[0].calls)}
        suspects = [suspect for suspect in found if suspect is not None]
        return min(suspects, key=lambda each: order.get((each.call.module, each.call.number), len(order)), default=None)

    def _is_right(self, index: int, outputs: Sequence[Values]) -> bool:
        """Whether any artifact with values kept gives the model's right answer."""
        points = self.points[index]
        root = points.calls[-1]
        return any(self.matching.off(points, root, each) is None for each in outputs)

    def _inside(self, suspect: Suspect, values: Values) -> Location:
        """Where in a module that is off."""
        arrays = self.sets[suspect.inputs]
        nodes = self._nodes(suspect)
        values = dict(values) | self._device(nodes, arrays)
        if not self._off(suspect, values[suspect.value]):
            return self._optimized(suspect, "once the values within the module are kept too, it is right")
        evaluator = Evaluator(self.graph, self.clock, values)
        start = {name: values[name] for name in self.graph.entering(nodes) if name in values} | arrays
        if self._off(suspect, self._exactly(suspect, evaluator, start)):
            if self._off(suspect, self._exactly(suspect, evaluator, arrays)):
                return self._wrongly_exported(suspect, evaluator, values)
            nodes = self.graph.ancestors([suspect.value])
            values |= self._device(nodes, arrays)
            evaluator.known.update(values)
            start = arrays
        return self._wrongly_run(suspect, evaluator, nodes, start, values)

    def _device(self, nodes: Sequence[int], arrays: Arrays) -> Values:
        """What the device gives for some nodes, and for what they use."""
        wanted = [*self.graph.entering(nodes), *self.graph.made_by(nodes)]
        try:
            kept, _ = self.prober.kept(wanted, [arrays])
        except AgentFailure as error:
            raise Unlocated(f"the backend refuses to keep values: {error.found or error}") from error
        return kept[0] | arrays

    def _exactly(
        self, suspect: Suspect, evaluator: Evaluator, given: Mapping[str, Array], *, wide: bool = True
    ) -> Array:
        """What the suspect's value is when computed from given ones."""
        found = evaluator.values([suspect.value], given, wide=wide)[suspect.value]
        dtype = suspect.expected.eager.dtype
        return found.astype(dtype) if found.dtype.kind == dtype.kind == "f" else found

    def _off(self, suspect: Suspect, answer: Array) -> bool:
        points = self.points[suspect.inputs]
        return points.is_off(points.difference(suspect.expected, answer))

    def _wrongly_run(
        self,
        suspect: Suspect,
        evaluator: Evaluator,
        nodes: Sequence[int],
        start: Mapping[str, Array],
        values: Values,
    ) -> Location:
        """The node whose value on the device makes the suspect wrong: with those before it alone it is right."""

        def is_off(count: int) -> bool:
            made = {name: values[name] for name in self.graph.made_by(nodes[:count]) if name in values}
            return self._off(suspect, self._exactly(suspect, evaluator, {**start, **made}))

        index = nodes[first(is_off, len(nodes)) - 1]
        error = node_error(evaluator, index, values)
        fault, why = self._whose(suspect, evaluator, start, error)
        case = node_case(evaluator, self.graph, index, values) if error.ulps > OFF_ULPS else None
        return replace(self._location(suspect, index, fault, why, evaluator), case=case)

    def _whose(
        self, suspect: Suspect, evaluator: Evaluator, start: Mapping[str, Array], error: NodeError
    ) -> tuple[str, str]:
        """The fault for a node that makes the difference on the device, and not in float64."""
        if error.is_off:
            return RUNTIME, str(error)
        if self._off(suspect, self._exactly(suspect, evaluator, start, wide=False)):
            return EXPORTER, (
                "the node is right to the last places, and in float64 so is the graph; but in the graph's own types "
                "onnx's reference evaluator is as far off: the exporter computes in another way, or type, than PyTorch"
            )
        if error.ulps > OFF_ULPS:
            return RUNTIME, (
                f"{error}; a sum in another order, or a function of that range, may be off by that much, but what "
                "follows needs more"
            )
        return RUNTIME, (
            "each node is right to the last places, but their errors add up, more than in onnx's reference evaluator"
        )

    def _wrongly_exported(self, suspect: Suspect, evaluator: Evaluator, device: Values) -> Location:
        """The first module that is off in float64 too, and in it the first node that is like nothing of PyTorch's."""
        arrays, points = self.sets[suspect.inputs], self.points[suspect.inputs]
        made = self.graph.ancestors([suspect.value])
        produced = set(self.graph.made_by(made))
        wanted = [name for name in self.matching.values if name in produced]
        # Rounded to what the device gives: only such can be compared.
        exact = {
            name: array.astype(self.prober.dtype(name, array.dtype)) if array.dtype.kind == "f" else array
            for name, array in evaluator.each(wanted, arrays)
        }
        first_off = self.matching.first_off(points, exact, suspect.inputs) or suspect
        known = operator_values(self.modules.wide, first_off.call.module, first_off.call.number, arrays)
        given_right = self._is_given_right(first_off, evaluator, known)
        if not given_right and (missing := self._missing(first_off, evaluator, sorted(produced), exact)) is not None:
            return missing
        # The message shows what the device gave.
        shown = self.matching.off(points, first_off.call, device, suspect.inputs) or first_off
        index = self._unlike(first_off, evaluator, known)
        why = "onnx's reference evaluator is as far off: from this node on nothing is like what PyTorch computes there"
        return self._location(shown, index, EXPORTER, why + self._warned(), evaluator)

    def _is_given_right(self, suspect: Suspect, evaluator: Evaluator, known: Sequence[Array]) -> bool:
        """Whether all that the suspect's nodes are given is among what PyTorch's module is given, or computes."""
        nodes = self._nodes(suspect)
        entering = [name for name in self.graph.entering(nodes) if self.graph.producers[name] in self.graph.varying]
        given = evaluator.each(entering, self.sets[suspect.inputs])
        return all(array.dtype.kind != "f" or is_like(array, known) for _, array in given)

    def _missing(self, suspect: Suspect, evaluator: Evaluator, made: Sequence[str], exact: Values) -> Location | None:
        """A module before the suspect of which the file has no node, though no value there is what it gives.

        One that is folded into another (a norm into a convolution) has no node either, but its value is there. Those
        behind the last module that is right come first.

        Args:
            exact: values of modules in float64, as the device has them.
        """
        points = self.points[suspect.inputs]
        before = points.calls[: points.calls.index(suspect.call)]
        last = max(
            (place for place, call in enumerate(before) if self._is_right_there(points, call, exact)), default=-1
        )
        for call in [*before[last + 1 :], *reversed(before[: last + 1])]:
            if not call.module or self.graph.within(call.module):
                continue
            for expected in call.outputs:
                if expected.exact.size and not self._is_in_file(expected, suspect.inputs, evaluator, made):
                    why = "no node of it is in the file: the exporter kept a way through it that returns its input"
                    index = (0,) * expected.exact.ndim
                    values = ("nothing", str(expected.eager[index]), str(expected.exact[index]))
                    name = call.module
                    return Location(name, "", "", name, index, *values, float("inf"), EXPORTER, why + self._warned())
        return None

    def _is_right_there(self, points: Points, call: Call, values: Values) -> bool:
        there = any(name in values for name in self.matching.candidates.get(call.module, []))
        return there and self.matching.off(points, call, values) is None

    def _is_in_file(self, expected: Expected, inputs: int, evaluator: Evaluator, made: Sequence[str]) -> bool:
        """Whether a value, an input or a constant of the file is what an output should be, by the rule of the check."""
        points, arrays = self.points[inputs], self.sets[inputs]

        def is_it(array: Array) -> bool:
            if array.shape != expected.exact.shape or array.dtype.kind != expected.exact.dtype.kind:
                return is_like(expected.exact, [array])
            return not points.is_off(points.difference(expected, array.astype(expected.eager.dtype)))

        if any(is_it(array) for array in arrays.values()) or any(map(is_it, self.graph.constants(expected.exact.size))):
            return True
        return any(isinstance(array, np.ndarray) and is_it(array) for _, array in evaluator.each(made, arrays))

    def _nodes(self, suspect: Suspect) -> list[int]:
        """The suspect's own, as far as its value depends on them."""
        within = set(self.graph.within(suspect.call.module))
        return [index for index in self.graph.ancestors([suspect.value]) if index in within]

    def _unlike(self, suspect: Suspect, evaluator: Evaluator, known: Sequence[Array]) -> int:
        """The first node of a wrongly exported module that is like nothing of PyTorch's; else the one at its end."""
        if suspect.value not in self.graph.producers:
            raise Unlocated(f"the graph gives {suspect.value} without a node that makes it")
        nodes = self._nodes(suspect)
        values = evaluator.values(self.graph.made_by(nodes), self.sets[suspect.inputs])
        index = first_unlike(self.graph, nodes, values, known)
        return self.graph.producers[suspect.value] if index is None else index

    def _warned(self) -> str:
        """What the exporter said, as when a trace takes one branch only."""
        warnings = [text.partition(". ")[0] for text in self.graph.artifact.warnings if "TracerWarning" in text]
        return "".join(f"; the exporter warned: {text}" for text in warnings)

    def _optimized_between(self) -> Location:
        """All is right with the values kept: the first module whose output alone is wrong when the graph ends there."""
        calls = self.points[0].calls
        ends = [
            (call, name)
            for call in calls
            for name in self.matching.candidates.get(call.module, [])[-1:]
            if name in self.graph.producers and self.prober.is_sendable(name)
        ]
        found: dict[int, Suspect] = {}

        def is_off(count: int) -> bool:
            call, name = ends[count - 1]
            for index, answer in enumerate(self.prober.ending_in([name], self.sets) or []):
                points = self.points[index]
                if (same := points.call(call)) is not None:
                    suspect = self.matching.off(points, same, answer, index)
                    if suspect is not None:
                        found[count] = suspect
            return count in found

        if not ends or not is_off(len(ends)):
            raise Unlocated("on the device the answers are right now, with or without intermediate values")
        count = first(is_off, len(ends))
        return self._optimized(found[count], "with intermediate values kept, it is right")

    def _optimized(self, suspect: Suspect, why: str) -> Location:
        index = self.graph.producers[suspect.value]
        why = f"{why}: the runtime's graph optimizations change it (try another optimization level)"
        return self._location(suspect, index, OPTIMIZER, why)

    def _refused(self, error: AgentFailure) -> Location:
        """The backend does not take what the model takes: the first node with which it does not."""
        nodes = sorted(self.graph.varying)

        def is_refused(count: int) -> bool:
            ends = [name for name in self.graph.leaving(nodes[:count]) if self.prober.is_sendable(name)]
            return self.prober.ending_in(ends, self.sets) is None

        if not nodes or not is_refused(len(nodes)):
            raise Unlocated(f"the backend refuses its intermediate values: {error.found or error}")
        index = nodes[first(is_refused, len(nodes)) - 1]
        evaluator = Evaluator(self.graph, self.clock, {})
        try:
            for arrays in self.sets:
                evaluator.values(self.graph.made_by([index]), arrays, wide=False)
        except TimeUp:
            raise
        except Unlocated as other:
            fault, why = EXPORTER, f"onnx's reference evaluator refuses it too: {other}"
        else:
            fault, why = RUNTIME, f"onnx's reference evaluator takes it: {error.found or error}"
        node = self.graph.nodes[index]
        module = (self.graph.scopes[index] or ("",))[-1]
        values = ("nothing: it refuses", "a tensor", "a tensor")
        output = self.graph.made_by([index])[0]
        return Location(module, node.name, node.op_type, output, (), *values, float("inf"), fault, why)

    def _location(
        self, suspect: Suspect, index: int, fault: str, why: str, evaluator: Evaluator | None = None
    ) -> Location:
        node = self.graph.nodes[index]
        skipped = evaluator.skipped if evaluator is not None else {}
        notes = tuple(f"node {name} could not be evaluated ({reason})" for name, reason in skipped.items())
        folded = [call.module for call in self.matching.folded_into(self.points[suspect.inputs], suspect.call)]
        if folded and suspect.call.module:
            notes += (f"folded into it, without a node of its own: {', '.join(dict.fromkeys(folded))}",)
        stack = self.graph.scopes[index]
        # A fault of the exporter's, or of the optimizer's, is in a module as a whole.
        module = (stack or ("",))[-1] if fault == RUNTIME else suspect.call.module
        difference, output = suspect.difference, suspect.value
        values = off_values(suspect)
        return Location(
            module, node.name, node.op_type, output, difference.index, *values, difference.ratio, fault, why, notes
        )


def first(is_off: Callable[[int], bool], count: int) -> int:
    """By halves, a number from 1 to count for which it is so, and not for the number before.

    For 0 it is not so, and for count it is.
    """
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_off(middle) else (middle, high)
    return high
