"""The node that the device computes otherwise than the graph says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...model.model import Array
from .bisection import bisect_first
from .evaluate import Evaluator
from .graph_case import GraphCase
from .location import EXPORTER, RUNTIME, Location
from .match import Suspect
from .node_error import OFF_ULPS, NodeError, node_error
from .node_repro import node_case
from .probe import Values


def locate_wrong_node(
    case: GraphCase,
    suspect: Suspect,
    evaluator: Evaluator,
    nodes: Sequence[int],
    start: Mapping[str, Array],
    values: Values,
) -> Location:
    """Bisect for the node whose value on the device makes the suspect wrong: with those before it alone it is right.

    Args:
        case: the mismatch.
        suspect: what is wrong.
        evaluator: computes values of the graph on this host.
        nodes: those that are looked at, in order.
        start: values from which the suspect's comes out right in float64.
        values: what the device gave for the nodes and for what they use.
    """

    def is_off(count: int) -> bool:
        made = {name: values[name] for name in case.graph.made_by(nodes[:count]) if name in values}
        return case.is_off(suspect, case.evaluate(suspect, evaluator, {**start, **made}))

    index = nodes[bisect_first(is_off, len(nodes)) - 1]
    error = node_error(evaluator, index, values)
    fault, why = _blame(case, suspect, evaluator, start, error)
    repro = node_case(evaluator, case.graph, index, values) if error.ulps > OFF_ULPS else None
    return replace(case.location(suspect, index, fault, why, evaluator), case=repro)


def _blame(
    case: GraphCase, suspect: Suspect, evaluator: Evaluator, start: Mapping[str, Array], error: NodeError
) -> tuple[str, str]:
    """Return (fault, why) for a node that makes the difference on the device, and not in float64."""
    if error.is_off:
        return RUNTIME, str(error)
    if case.is_off(suspect, case.evaluate(suspect, evaluator, start, wide=False)):
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
