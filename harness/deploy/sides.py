"""Which side answered each inference of a cell with a fallback, as the device reports it: checked.

The numbers are those of harness.agent.sides: 0 for the far end; from 1 on how the far end's call failed that the device
then answered; and one beyond for an inference of which nobody asked the far end, for it had missed an earlier one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..agent.failure import NEVER
from ..agent.sides import DROPPED, FAR, UNASKED
from ..model.model import Array
from .failed_calls import which_ended

# In the account of a measuring call: which side answered each inference, int64[n]; NEVER for one that was dropped.
SIDES = "sides"


def read_sides(sides: Array, measured: Array) -> tuple[Array, str]:
    """Return the sides that a device reports, int64[n], and why they cannot be true; "" if they can.

    Args:
        sides: the device's tensor.
        measured: durations, int64[n], or releases, int64[n, 3].
    """
    if sides.dtype != np.uint8 or sides.shape != measured.shape[:1]:
        return np.empty(0, np.int64), "they are of another type, or number"
    read = np.where(sides == DROPPED, NEVER, sides.astype(np.int64))
    problem = why_sides_unlike(read, measured)
    ran = read[read != NEVER]
    if not problem and ((ran[:-1] == FAR) & (ran[1:] == UNASKED)).any():
        problem = "the far end was not asked, where it had answered just before"
    return read, problem


def why_sides_unlike(sides: Array, measured: Array) -> str:
    """Say why these cannot be the sides that answered these inferences; "" if they can.

    Args:
        sides: int64[n]; NEVER for a release that was dropped.
        measured: durations, int64[n], or releases, int64[n, 3].
    """
    if sides.shape != measured.shape[:1]:
        return f"there are {len(sides)}, of {len(measured)} inferences"
    ran = which_ended(measured)
    if (sides[~ran] != NEVER).any():
        return "somebody answered a release that was dropped"
    if ran.any() and not FAR <= sides[ran].min() <= sides[ran].max() <= UNASKED:
        return f"they are numbers from {FAR} to {UNASKED}, and some are {sides[ran].min()} or {sides[ran].max()}"
    return ""


def far_spans(spans: Array, account: Mapping[str, Any]) -> Array:
    """Return how long each inference took that another computer answered: those alone end when timeout_ms are over.

    Args:
        spans: of all of them, int64[n].
        account: of the measuring call.
    """
    sides = account.get(SIDES)
    return spans if sides is None else spans[np.asarray(sides) == FAR]
