"""Whether one node did what the graph says: its output on the device against its own inputs there, in float64."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ...model.model import Array
from ..rule.ulp import ulp
from .evaluate import Evaluator

# A node that is off by more, in units of an element's own last place, is wrong by itself, not only because its inputs
# were. It does not depend on the model's tolerance, which counts in another unit.
OFF_ULPS = 10.0


@dataclass(frozen=True, kw_only=True)
class NodeError:
    """The worst element of a node's outputs.

    Attributes:
        ulps: how far it is off, in units of its own last place; infinity for integers, NaN and infinities.
        excess: how far, as a multiple of what a right node may be off by.
    """

    ulps: float
    output: str = ""
    index: tuple[int, ...] = ()
    found: str = ""
    exact: str = ""
    excess: float = 0.0

    @property
    def is_off(self) -> bool:
        """Whether the node is wrong by itself."""
        return self.excess > 1

    def __str__(self) -> str:
        size = f", {self.ulps:.3g} units in the last place" if self.ulps != float("inf") else ""
        return f"it gave {self.found} where its own inputs make {self.exact}{size}"


def node_error(evaluator: Evaluator, index: int, values: Mapping[str, Array]) -> NodeError:
    """Return how far a node is off by itself, whatever was wrong before it.

    Args:
        evaluator: computes values of the graph on this host.
        index: the node's number.
        values: the device's own, the node's inputs and outputs among them.
    """
    from .allowance import allowance  # torch: imported where there is something to locate, not by every run

    known = evaluator.completed(index, values)
    exact = evaluator.node(index, known)
    # Of several outputs the first is what the node is for: the others are statistics, or a mask.
    allowed = allowance(evaluator.graph.nodes[index], evaluator.inputs(index, known))
    errors = [
        _error(name, values[name], array, 0.0 if place else allowed)
        for place, (name, array) in enumerate(exact.items())
        if name in values
    ]
    return max(errors, key=lambda error: error.excess, default=NodeError(ulps=0.0))


def _error(name: str, found: Array, exact: Array, allowed: float) -> NodeError:
    if found.shape != exact.shape:
        return NodeError(
            ulps=np.inf, output=name, found=f"the shape {found.shape}", exact=str(exact.shape), excess=np.inf
        )
    if not found.size:
        return NodeError(ulps=0.0, output=name)
    with np.errstate(all="ignore"):
        if found.dtype.kind == "f":
            rounded = exact.astype(found.dtype)
            same = (found == rounded) | (np.isnan(found) & np.isnan(rounded))
            finite = np.isfinite(found) & np.isfinite(rounded)
            units = np.where(np.isfinite(exact), ulp(exact, found.dtype), 1.0)
            errors = np.where(same, 0.0, np.where(finite, np.abs(found.astype(np.float64) - exact), np.inf))
        else:
            units = np.ones(found.shape)
            errors = np.where(found == exact, 0.0, np.inf)
        excess = errors / np.maximum(OFF_ULPS * units, allowed)
    place = np.unravel_index(int(excess.argmax()), excess.shape)
    where = tuple(int(one) for one in place)
    ulps = float(errors[where] / units[where])
    return NodeError(
        ulps=ulps,
        output=name,
        index=where,
        found=str(found[where]),
        exact=str(exact[where]),
        excess=float(excess[where]),
    )
