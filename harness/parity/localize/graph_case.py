"""A mismatch in an ONNX graph, as all steps of its localization see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...errors import AgentFailure
from ...model.inputs import Arrays
from ...model.model import Array
from .evaluate import Evaluator
from .graph import Graph
from .location import RUNTIME, Clock, Location, Unlocated
from .match import Matching, Suspect, folded_norms
from .module_outputs import Points, points_of
from .modules import Modules
from .operators import off_values
from .probe import Prober, Values


@dataclass(frozen=True, kw_only=True)
class GraphCase:
    """An exported graph, the model that it was exported from, and inputs on which the two disagree.

    The steps (onnx, runtime_fault, exporter_fault, optimizer_fault, refusal) read it and never write to it, but for
    two tables of ``matching`` and ``prober`` that are filled as they are needed. There are as many ``points`` as
    ``sets``, in the same order, and at least one of each.

    Attributes:
        sets: the failing inputs that are looked at.
        points: what each module should give on each of them.
        matching: which values of the graph may be which module's outputs.
    """

    graph: Graph
    modules: Modules
    prober: Prober
    sets: Sequence[Arrays]
    clock: Clock
    points: Sequence[Points]
    matching: Matching

    @classmethod
    def prepare(cls, graph: Graph, modules: Modules, prober: Prober, sets: Sequence[Arrays], clock: Clock) -> GraphCase:
        """Run the model on the failing inputs, and match its modules with the graph.

        Args:
            graph: what the backend runs.
            modules: those of the model that it was exported from.
            prober: asks the device for values of the graph.
            sets: the failing inputs; those for whose values there is no room are left out.
            clock: ends the looking when its time is up.
        """
        points = points_of(modules, sets)
        order = [call.module for call in points[0].calls]
        norms = folded_norms(order, modules.norms, modules.weighted, lambda name: bool(graph.within(name)))
        graph.attribute(norms)
        return cls(
            graph=graph,
            modules=modules,
            prober=prober,
            sets=sets[: len(points)],
            clock=clock,
            points=points,
            matching=Matching(graph, points[0].calls),
        )

    def nodes_of(self, suspect: Suspect) -> list[int]:
        """List the nodes of the suspect's module that its value depends on, in order."""
        within = set(self.graph.within(suspect.call.module))
        return [index for index in self.graph.ancestors([suspect.value]) if index in within]

    def device_values(self, nodes: Sequence[int], arrays: Arrays) -> Values:
        """Ask the device for what some nodes give, and for what they use.

        Raises:
            Unlocated: the backend refuses an artifact that returns these values.
        """
        names = [*self.graph.entering(nodes), *self.graph.made_by(nodes)]
        try:
            values, _ = self.prober.inner_values(names, [arrays])
        except AgentFailure as error:
            raise Unlocated(f"the backend refuses to keep values: {error.found or error}") from error
        return values[0] | arrays

    def evaluate(
        self, suspect: Suspect, evaluator: Evaluator, given: Mapping[str, Array], *, wide: bool = True
    ) -> Array:
        """Compute the suspect's value on this host from given ones, in the type that eager's has.

        Args:
            suspect: what is wrong.
            evaluator: computes values of the graph on this host.
            given: the values to start from, by name.
            wide: compute in float64, whatever narrower floats the graph has.
        """
        value = evaluator.values([suspect.value], given, wide=wide)[suspect.value]
        dtype = suspect.expected.eager.dtype
        return value.astype(dtype) if value.dtype.kind == dtype.kind == "f" else value

    def is_off(self, suspect: Suspect, answer: Array) -> bool:
        """Tell whether an answer in the suspect's place is further off than the rule allows."""
        points = self.points[suspect.inputs]
        return points.is_off(points.difference(suspect.expected, answer))

    def location(
        self, suspect: Suspect, index: int, fault: str, why: str, evaluator: Evaluator | None = None
    ) -> Location:
        """Say that a suspect goes wrong at a node.

        Args:
            suspect: what is wrong.
            index: the node's.
            fault: who is to blame, one of the constants of ``location``.
            why: what shows that.
            evaluator: what was used on the way: nodes that it could not evaluate are noted.
        """
        node = self.graph.nodes[index]
        skipped = evaluator.skipped if evaluator is not None else {}
        notes = tuple(f"node {name} could not be evaluated ({reason})" for name, reason in skipped.items())
        folded = [call.module for call in self.matching.folded_into(self.points[suspect.inputs], suspect.call)]
        if folded and suspect.call.module:
            notes += (f"folded into it, without a node of its own: {', '.join(dict.fromkeys(folded))}",)
        stack = self.graph.scopes[index]
        found, eager, exact = off_values(suspect)
        return Location(
            # A fault of the exporter's, or of the optimizer's, is in a module as a whole.
            module=(stack or ("",))[-1] if fault == RUNTIME else suspect.call.module,
            node=node.name,
            operator=node.op_type,
            output=suspect.value,
            index=suspect.difference.index,
            found=found,
            eager=eager,
            exact=exact,
            ratio=suspect.difference.ratio,
            fault=fault,
            explanation=why,
            notes=notes,
        )
