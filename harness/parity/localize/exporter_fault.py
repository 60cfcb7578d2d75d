"""Where a graph begins to compute something else than the model, also in float64."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...model.model import Array
from ..rule.comparison import Expected
from .evaluate import Evaluator
from .graph_case import GraphCase
from .location import EXPORTER, Location, Unlocated
from .match import Suspect
from .module_outputs import Call, Points
from .operators import first_unlike, is_like, operator_values
from .probe import Values


def locate_wrong_export(case: GraphCase, suspect: Suspect, evaluator: Evaluator, device: Values) -> Location:
    """Find the first module that is off in float64 too, and its first node that is like nothing of PyTorch's.

    Args:
        case: the mismatch.
        suspect: what is wrong.
        evaluator: computes values of the graph on this host.
        device: what the device gave; the message shows its numbers.
    """
    arrays, points = case.sets[suspect.inputs], case.points[suspect.inputs]
    produced = set(case.graph.made_by(case.graph.ancestors([suspect.value])))
    names = [name for name in case.matching.values if name in produced]
    # Rounded to the types that the device gives: only those can be compared.
    exact = {
        name: array.astype(case.prober.dtype(name, array.dtype)) if array.dtype.kind == "f" else array
        for name, array in evaluator.each(names, arrays)
    }
    first_off = case.matching.first_off(points, exact, suspect.inputs) or suspect
    known = operator_values(case.modules.wide, first_off.call.module, first_off.call.number, arrays)
    if not _is_given_right(case, first_off, evaluator, known):
        missing = _missing_module(case, first_off, evaluator, sorted(produced), exact)
        if missing is not None:
            return missing
    shown = case.matching.off(points, first_off.call, device, suspect.inputs) or first_off
    index = _unlike_node(case, first_off, evaluator, known)
    why = "onnx's reference evaluator is as far off: from this node on nothing is like what PyTorch computes there"
    return case.location(shown, index, EXPORTER, why + _warnings(case), evaluator)


def _is_given_right(case: GraphCase, suspect: Suspect, evaluator: Evaluator, known: Sequence[Array]) -> bool:
    """Tell whether all that the suspect's nodes are given is among what PyTorch's module is given, or computes."""
    nodes = case.nodes_of(suspect)
    entering = [name for name in case.graph.entering(nodes) if case.graph.producers[name] in case.graph.varying]
    given = evaluator.each(entering, case.sets[suspect.inputs])
    return all(array.dtype.kind != "f" or is_like(array, known) for _, array in given)


def _missing_module(
    case: GraphCase, suspect: Suspect, evaluator: Evaluator, made: Sequence[str], exact: Values
) -> Location | None:
    """Find a module before the suspect of which the file has no node, and no value that is what it gives.

    One that is folded into another (a norm into a convolution) has no node either, but its value is there. Those
    behind the last module that is right come first.

    Args:
        case: the mismatch.
        suspect: what is wrong.
        evaluator: computes values of the graph on this host.
        made: the values of the graph that the suspect depends on.
        exact: values of modules in float64, as the device has them.
    """
    points = case.points[suspect.inputs]
    before = points.calls[: points.calls.index(suspect.call)]
    last = max((place for place, call in enumerate(before) if _is_right(case, points, call, exact)), default=-1)
    for call in [*before[last + 1 :], *reversed(before[: last + 1])]:
        if not call.module or case.graph.within(call.module):
            continue
        for expected in call.outputs:
            if expected.exact.size and not _is_in_file(case, expected, suspect.inputs, evaluator, made):
                return _left_out(case, call, expected)
    return None


def _left_out(case: GraphCase, call: Call, expected: Expected) -> Location:
    """Say that a module is not in the file."""
    index = (0,) * expected.exact.ndim
    why = "no node of it is in the file: the exporter kept a way through it that returns its input"
    return Location(
        module=call.module,
        node="",
        operator="",
        output=call.module,
        index=index,
        found="nothing",
        eager=str(expected.eager[index]),
        exact=str(expected.exact[index]),
        ratio=float("inf"),
        fault=EXPORTER,
        explanation=why + _warnings(case),
    )


def _is_right(case: GraphCase, points: Points, call: Call, values: Values) -> bool:
    """Tell whether values that may be a call's outputs are known, and none is off."""
    there = any(name in values for name in case.matching.candidates.get(call.module, []))
    return there and case.matching.off(points, call, values) is None


def _is_in_file(case: GraphCase, expected: Expected, inputs: int, evaluator: Evaluator, made: Sequence[str]) -> bool:
    """Tell whether a value, an input or a constant of the file is what an output should be, by the rule of the check.

    Args:
        case: the mismatch.
        expected: what the output should be.
        inputs: the number of the set of inputs.
        evaluator: computes values of the graph on this host.
        made: the values of the file that are looked at.
    """
    points, arrays = case.points[inputs], case.sets[inputs]

    def is_it(array: Array) -> bool:
        if array.shape != expected.exact.shape or array.dtype.kind != expected.exact.dtype.kind:
            return is_like(expected.exact, [array])
        return not points.is_off(points.difference(expected, array.astype(expected.eager.dtype)))

    if any(is_it(array) for array in arrays.values()) or any(map(is_it, case.graph.constants(expected.exact.size))):
        return True
    return any(isinstance(array, np.ndarray) and is_it(array) for _, array in evaluator.each(made, arrays))


def _unlike_node(case: GraphCase, suspect: Suspect, evaluator: Evaluator, known: Sequence[Array]) -> int:
    """Find the first node of a wrongly exported module that is like nothing of PyTorch's; else the one at its end."""
    if suspect.value not in case.graph.producers:
        raise Unlocated(f"the graph gives {suspect.value} without a node that makes it")
    nodes = case.nodes_of(suspect)
    values = evaluator.values(case.graph.made_by(nodes), case.sets[suspect.inputs])
    index = first_unlike(case.graph, nodes, values, known)
    return case.graph.producers[suspect.value] if index is None else index


def _warnings(case: GraphCase) -> str:
    """Quote what the exporter warned of, as when a trace takes one branch only."""
    warnings = [text.partition(". ")[0] for text in case.graph.artifact.warnings if "TracerWarning" in text]
    return "".join(f"; the exporter warned: {text}" for text in warnings)
