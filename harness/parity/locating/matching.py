"""Which value of the graph is which module's output, and the first module that is off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...model import Array
from ..comparison import Difference, Expected
from .graph import Graph
from .points import Call, Points


@dataclass(frozen=True)
class Suspect:
    """A module's output that is off.

    Attributes:
        inputs: which set of inputs, from 0.
        value: the graph's name of it.
        answer: what was found for it.
    """

    inputs: int
    call: Call
    expected: Expected
    value: str
    difference: Difference
    answer: Array


class Matching:
    """Of each module the values of the graph that may be its outputs.

    A module's outputs are values that leave it. Where several of one shape do, any of them may be it: a module is only
    called wrong where all are. A module that is called several times is one scope in the graph: there any of its values.
    """

    def __init__(self, graph: Graph, calls: Sequence[Call]) -> None:
        self.graph = graph
        counts = Counter(call.module for call in calls)
        self.candidates: dict[str, list[str]] = {}
        for module, count in counts.items():
            nodes = graph.within(module) if module else []
            self.candidates[module] = graph.leaving(nodes) if count == 1 else graph.made_by(nodes)
        self.candidates[""] = list(graph.outputs)

    @property
    def values(self) -> list[str]:
        """All candidates, in the order of the graph."""
        wanted = {name for names in self.candidates.values() for name in names}
        return [name for name in self.graph.producers if name in wanted]

    def first_off(self, points: Points, values: Mapping[str, Array], inputs: int = 0) -> Suspect | None:
        """The first module, in the order in which they end, of which an output is off."""
        for call in points.calls:
            if (found := self.off(points, call, values, inputs)) is not None:
                return found
        return None

    def off(self, points: Points, call: Call, values: Mapping[str, Array], inputs: int = 0) -> Suspect | None:
        """The worst output of one call; None where none is off, or which values they are is not known."""
        found = []
        for index, expected in enumerate(call.outputs):
            names = [name for name in self._of(call, index, expected, values) if name in values]
            tried = [(points.difference(expected, values[name]), name) for name in names]
            if tried:
                difference, name = min(tried, key=lambda each: each[0].ratio)
                found.append(Suspect(inputs, call, expected, name, difference, values[name]))
        worst = max(found, key=lambda suspect: suspect.difference.ratio, default=None)
        return worst if worst is not None and points.is_off(worst.difference) else None

    def _of(self, call: Call, index: int, expected: Expected, values: Mapping[str, Array]) -> list[str]:
        names = self.candidates.get(call.module, [])
        if call.module == "":
            return names[index : index + 1]
        if len(call.outputs) == len(names) == 1:
            return names  # a wrong shape is wrong too
        return [
            name
            for name in names
            if name in values
            and values[name].shape == expected.eager.shape
            and values[name].dtype == expected.eager.dtype
        ]
