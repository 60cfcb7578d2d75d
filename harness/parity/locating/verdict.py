"""Whether one node did what the graph says: its output on the device against its own inputs there, in float64."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ...model import Array
from ..comparison import ulp
from .evaluate import Evaluator

# A node that is off by more, in units of an element's own last place, is wrong by itself: it did not only add to what
# was off before. Whatever the model's tolerance is, which counts in another unit.
OFF_ULPS = 10.0


@dataclass(frozen=True)
class NodeError:
    """The worst element of a node's outputs.

    Attributes:
        ulps: how far it is off, in units of its own last place; infinity for integers, NaN and infinities.
    """

    ulps: float
    output: str = ""
    index: tuple[int, ...] = ()
    found: str = ""
    exact: str = ""

    def __str__(self) -> str:
        size = f", {self.ulps:.3g} units in the last place" if self.ulps != float("inf") else ""
        return f"it gave {self.found} where its own inputs make {self.exact}{size}"


def node_error(evaluator: Evaluator, index: int, values: Mapping[str, Array]) -> NodeError:
    """How far a node is off by itself, whatever was wrong before it.

    Args:
        values: the device's own, the node's inputs and outputs among them.
    """
    exact = evaluator.node(index, evaluator.completed(index, values))
    errors = [_error(name, values[name], array) for name, array in exact.items() if name in values]
    return max(errors, key=lambda error: error.ulps, default=NodeError(0.0))


def _error(name: str, found: Array, exact: Array) -> NodeError:
    if found.shape != exact.shape:
        return NodeError(np.inf, name, (), f"the shape {found.shape}", str(exact.shape))
    if not found.size:
        return NodeError(0.0, name)
    with np.errstate(all="ignore"):
        if found.dtype.kind == "f":
            rounded = exact.astype(found.dtype)
            same = (found == rounded) | (np.isnan(found) & np.isnan(rounded))
            finite = np.isfinite(found) & np.isfinite(rounded)
            errors = np.abs(found.astype(np.float64) - exact) / ulp(exact, found.dtype)
            ulps = np.where(same, 0.0, np.where(finite, errors, np.inf))
        else:
            ulps = np.where(found == exact, 0.0, np.inf)
    place = np.unravel_index(int(ulps.argmax()), ulps.shape)
    where = tuple(int(one) for one in place)
    return NodeError(float(ulps[where]), name, where, str(found[where]), str(exact[where]))
