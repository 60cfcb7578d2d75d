"""Which value of the graph is which module's output, and the first module that is off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from ...model.model import Array
from ..rule.comparison import Difference, Expected
from .graph import Graph
from .module_outputs import Call, Points


@dataclass(frozen=True, kw_only=True)
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


def folded_norms(
    modules: Sequence[str], norms: Collection[str], weighted: Collection[str], there: Callable[[str], bool]
) -> dict[str, str]:
    """Find the norms that took the nodes of the modules before them, and those modules: NORM: MODULE.

    Args:
        modules: in the order in which their calls end.
        norms: of these the batch norms.
        weighted: of these those with weights.
        there: whether a module has nodes.
    """
    result = {}
    for place, norm in enumerate(modules):
        if norm not in norms or not there(norm):
            continue
        for before in reversed(modules[:place]):
            if there(before):
                break
            if before in weighted:
                result[norm] = before
                break
    return result


class Matching:
    """The values of the graph that may be each module's outputs.

    A module's outputs are values that leave it. Where several of one shape do, any of them may be it: a module is only
    called wrong where all are. A module that is called several times is one scope in the graph: there it may be any of
    its values. An exporter that folds a module into the one before it (a norm into a convolution) leaves it no nodes:
    then the one before may give what that one should.
    """

    def __init__(self, graph: Graph, calls: Sequence[Call]) -> None:
        self.graph = graph
        counts = Counter(call.module for call in calls)
        self.candidates: dict[str, list[str]] = {}
        for module, count in counts.items():
            nodes = graph.within(module) if module else []
            self.candidates[module] = graph.leaving(nodes) if count == 1 else graph.made_by(nodes)
        self.candidates[""] = list(graph.outputs)

    def folded_into(self, points: Points, call: Call) -> list[Call]:
        """List the calls after this one that have no nodes of their own: they may be folded into its last."""
        own = set(self.candidates[call.module])
        result = []
        for other in points.calls[points.calls.index(call) + 1 :]:
            candidates = self.candidates.get(other.module, [])
            if not own or not own.issuperset(candidates):
                break
            if not candidates:
                result.append(other)
        return result

    @property
    def values(self) -> list[str]:
        """All candidates, in the order of the graph."""
        wanted = {name for names in self.candidates.values() for name in names}
        return [name for name in self.graph.producers if name in wanted]

    def first_off(
        self, points: Points, values: Mapping[str, Array], inputs: int = 0, only: Collection[str] | None = None
    ) -> Suspect | None:
        """Find the first module, in the order in which they end, of which an output is off.

        Args:
            points: what the modules should give.
            values: what was found, by the graph's names.
            inputs: the number of the set of inputs.
            only: the modules to look at; all without it.
        """
        for call in points.calls:
            if only is not None and call.module not in only:
                continue
            if (suspect := self.off(points, call, values, inputs)) is not None:
                return suspect
        return None

    def off(self, points: Points, call: Call, values: Mapping[str, Array], inputs: int = 0) -> Suspect | None:
        """Find the worst output of one call; None where none is off, or it is not known which values they are."""

        def suspect(expected: Expected, name: str, *, widened: bool = False) -> Suspect:
            difference = points.difference(expected, values[name], widened=widened)
            return Suspect(
                inputs=inputs,
                call=call,
                expected=expected,
                value=name,
                difference=difference,
                answer=values[name],
            )

        found = []
        for wanted, names in self._alike(call, values):
            # The side with fewer decides: an output that nobody uses has no value, and not every value is an output.
            outputs = [[(one, name) for name in names] for one in wanted]
            made = [[(one, name) for one in wanted] for name in names]
            for pairs in outputs if len(wanted) <= len(names) else made:
                tried = [suspect(*pair) for pair in pairs]
                if all(points.is_off(each.difference) for each in tried):
                    folded = [one for other in self.folded_into(points, call) for one in other.outputs]
                    tried += [suspect(one, name) for one in folded for name in dict.fromkeys(pair[1] for pair in pairs)]
                if all(points.is_off(each.difference) for each in tried):  # the wider rule takes more runs of the model
                    tried = [suspect(each.expected, each.value, widened=True) for each in tried]
                found.append(min(tried, key=lambda each: each.difference.ratio))
        worst = max(found, key=lambda each: each.difference.ratio, default=None)
        return worst if worst is not None and points.is_off(worst.difference) else None

    def _alike(self, call: Call, values: Mapping[str, Array]) -> list[tuple[list[Expected], list[str]]]:
        """Group a call's outputs with the values that may be them: those of one shape and type."""
        names = [name for name in self.candidates.get(call.module, []) if name in values]
        if not names:
            return []
        if call.module == "":
            order = {name: place for place, name in enumerate(self.graph.outputs)}
            return [([call.outputs[order[name]]], [name]) for name in names if order[name] < len(call.outputs)]
        if len(call.outputs) == len(names) == 1:
            return [(list(call.outputs), names)]  # a wrong shape is wrong too
        forms: dict[object, tuple[list[Expected], list[str]]] = {}
        for expected in call.outputs:
            forms.setdefault((expected.eager.shape, expected.eager.dtype), ([], []))[0].append(expected)
        for name in names:
            if (group := forms.get((values[name].shape, values[name].dtype))) is not None:
                group[1].append(name)
        return [group for group in forms.values() if group[1]]
