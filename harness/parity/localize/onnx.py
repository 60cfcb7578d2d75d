"""Fault localization in an ONNX graph.

The first module that is off on the device, with the values between modules kept, is looked into. Its nodes are computed
in float64 from the device's own inputs to it. Where that is right, the device's values are put in again node by node
(by bisection): the node whose value makes the module wrong is the one. Where it is wrong, so is the graph, unless what
was given to it is: computing the same from the graph's inputs decides that. A deviation that is gone once values are
kept is the optimizer's: then graphs that end early are tried, until one of them is wrong.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from ...errors import AgentFailure
from .evaluate import Evaluator
from .exporter_fault import locate_wrong_export
from .graph import Graph
from .graph_case import GraphCase
from .location import Location
from .match import Suspect
from .module_outputs import HELD_BYTES
from .optimizer_fault import locate_optimized, optimized_at
from .probe import Prober, Values, weights_apart, work_folder
from .refusal import locate_refusal
from .runtime_fault import locate_wrong_node
from .task import Task


def find_fault(task: Task) -> Location:
    """Find the node, and the module, at which a backend leaves the reference.

    Raises:
        Unlocated: there is no such place to be found.
    """
    modules = task.modules()
    with work_folder(task.artifact) as folder:
        graph = Graph(weights_apart(task.artifact, folder), modules.names, modules.unnamed)
        prober = Prober(graph, task.probe, clock=task.clock, folder=folder, arrays=task.sets[0])
        return locate_in_graph(GraphCase.prepare(graph, modules, prober, task.sets, task.clock))


def locate_in_graph(case: GraphCase) -> Location:
    """Take the steps that the module's docstring describes.

    Raises:
        Unlocated: there is no such place to be found.
    """
    outputs: list[list[Values]] = [[] for _ in case.sets]
    suspect, values = None, [Values() for _ in case.sets]
    for modules in _groups(case):
        names = {name for module in modules for name in case.matching.candidates[module]}
        try:
            values, more = case.prober.inner_values([name for name in case.graph.producers if name in names], case.sets)
        except AgentFailure as error:
            return locate_refusal(case, error)
        outputs = [before + others for before, others in zip(outputs, more, strict=True)]
        if (suspect := _first_off(case, values, modules)) is not None:
            break
    if suspect is None or all(_is_right(case, index, each) for index, each in enumerate(outputs)):
        return locate_optimized(case)
    return _look_into(case, suspect, values[suspect.inputs])


def _groups(case: GraphCase) -> Iterator[list[str]]:
    """Group the modules, in the order in which they end, by how many values that may be theirs there is room for."""
    room = HELD_BYTES // len(case.sets)
    group: list[str] = []
    names: set[str] = set()
    for module in dict.fromkeys(call.module for points in case.points for call in points.calls):
        more = names.union(case.matching.candidates.setdefault(module, []))
        if group and sum(map(case.prober.bytes, more)) > room:
            yield group
            group, more = [], set(case.matching.candidates[module])
        group, names = [*group, module], more
    if group:
        yield group


def _first_off(case: GraphCase, values: Sequence[Values], modules: Collection[str]) -> Suspect | None:
    """Find the module that is off and ends first, over all sets of inputs."""
    each_set = [
        case.matching.first_off(points, values[index], index, modules) for index, points in enumerate(case.points)
    ]
    order = {(call.module, call.number): place for place, call in enumerate(case.points[0].calls)}
    suspects = [suspect for suspect in each_set if suspect is not None]
    return min(suspects, key=lambda each: order.get((each.call.module, each.call.number), len(order)), default=None)


def _is_right(case: GraphCase, index: int, outputs: Sequence[Values]) -> bool:
    """Tell whether any artifact with values kept gives the model's right answer.

    Args:
        case: the mismatch.
        index: the number of the set of inputs.
        outputs: what each of these artifacts gave.
    """
    points = case.points[index]
    root = points.calls[-1]
    return any(case.matching.off(points, root, each) is None for each in outputs)


def _look_into(case: GraphCase, suspect: Suspect, values: Values) -> Location:
    """Find the place within a module that is off."""
    arrays = case.sets[suspect.inputs]
    nodes = case.nodes_of(suspect)
    values = dict(values) | case.device_values(nodes, arrays)
    if not case.is_off(suspect, values[suspect.value]):
        return optimized_at(case, suspect, "once the values within the module are kept too, it is right")
    evaluator = Evaluator(case.graph, case.clock, values)
    start = {name: values[name] for name in case.graph.entering(nodes) if name in values} | arrays
    if case.is_off(suspect, case.evaluate(suspect, evaluator, start)):
        if case.is_off(suspect, case.evaluate(suspect, evaluator, arrays)):
            return locate_wrong_export(case, suspect, evaluator, values)
        # What the module was given is wrong already: all nodes that its value depends on are looked at.
        nodes = case.graph.ancestors([suspect.value])
        values |= case.device_values(nodes, arrays)
        evaluator.known.update(values)
        start = arrays
    return locate_wrong_node(case, suspect, evaluator, nodes, start, values)
