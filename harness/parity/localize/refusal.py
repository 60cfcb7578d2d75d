"""The node with which a backend refuses a graph, or inputs, that the model takes."""

from __future__ import annotations

from ...errors import AgentFailure
from .bisection import bisect_first
from .evaluate import Evaluator
from .graph_case import GraphCase
from .location import EXPORTER, RUNTIME, Location, TimeUp, Unlocated


def locate_refusal(case: GraphCase, error: AgentFailure) -> Location:
    """Bisect for the first node with which the backend refuses the graph.

    Args:
        case: the mismatch.
        error: what the backend said.

    Raises:
        Unlocated: it refuses intermediate values only.
    """
    nodes = sorted(case.graph.varying)

    def is_refused(count: int) -> bool:
        ends = [name for name in case.graph.leaving(nodes[:count]) if case.prober.is_sendable(name)]
        return case.prober.ending_in(ends, case.sets) is None

    if not nodes or not is_refused(len(nodes)):
        raise Unlocated(f"the backend refuses its intermediate values: {error.found or error}")
    index = nodes[bisect_first(is_refused, len(nodes)) - 1]
    fault, why = _blame(case, index, error)
    node = case.graph.nodes[index]
    return Location(
        module=(case.graph.scopes[index] or ("",))[-1],
        node=node.name,
        operator=node.op_type,
        output=case.graph.made_by([index])[0],
        index=(),
        found="nothing: it refuses",
        eager="a tensor",
        exact="a tensor",
        ratio=float("inf"),
        fault=fault,
        explanation=why,
    )


def _blame(case: GraphCase, index: int, error: AgentFailure) -> tuple[str, str]:
    """Return (fault, why): the exporter where onnx's reference evaluator refuses the node too, else the runtime.

    Raises:
        TimeUp: there is no more time.
    """
    evaluator = Evaluator(case.graph, case.clock, {})
    try:
        for arrays in case.sets:
            evaluator.values(case.graph.made_by([index]), arrays, wide=False)
    except TimeUp:
        raise
    except Unlocated as other:
        return EXPORTER, f"onnx's reference evaluator refuses it too: {other}"
    return RUNTIME, f"onnx's reference evaluator takes it: {error.found or error}"
