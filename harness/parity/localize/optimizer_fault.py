"""A deviation that is gone once values are kept: the runtime's graph optimizations made it."""

from __future__ import annotations

from .bisection import bisect_first
from .graph_case import GraphCase
from .location import OPTIMIZER, Location, Unlocated
from .match import Suspect


def locate_optimized(case: GraphCase) -> Location:
    """Find the first module whose output alone is wrong when the graph ends there, though all is right when kept.

    Raises:
        Unlocated: the answers are right now, also where the graph ends early.
    """
    ends = [
        (call, name)
        for call in case.points[0].calls
        for name in case.matching.candidates.get(call.module, [])[-1:]
        if name in case.graph.producers and case.prober.is_sendable(name)
    ]
    suspects: dict[int, Suspect] = {}

    def is_off(count: int) -> bool:
        call, name = ends[count - 1]
        for index, answer in enumerate(case.prober.ending_in([name], case.sets) or []):
            points = case.points[index]
            if (same := points.call(call)) is not None:
                suspect = case.matching.off(points, same, answer, index)
                if suspect is not None:
                    suspects[count] = suspect
        return count in suspects

    if not ends or not is_off(len(ends)):
        raise Unlocated("on the device the answers are right now, with or without intermediate values")
    suspect = suspects[bisect_first(is_off, len(ends))]
    return optimized_at(case, suspect, "with intermediate values kept, it is right")


def optimized_at(case: GraphCase, suspect: Suspect, why: str) -> Location:
    """Blame the runtime's graph optimizations for a suspect."""
    index = case.graph.producers[suspect.value]
    why = f"{why}: the runtime's graph optimizations change it (try another optimization level)"
    return case.location(suspect, index, OPTIMIZER, why)
