"""When the first part of each answer came, as the device reports it of a streaming endpoint: checked."""

from __future__ import annotations

import numpy as np

from ..agent.failure import NEVER
from ..model.model import Array
from .failed_calls import which_ended

# In the account of a measuring call: how long each call's first part took, in nanoseconds, int64[n]; NEVER for a call
# that failed, and for a release that was dropped.
FIRST_PARTS = "first_parts"


def why_unlike(first_parts: Array, measured: Array, codes: Array | None) -> str:
    """Say why these cannot be the times of these calls' first parts; "" if they can.

    Args:
        first_parts: the device's.
        measured: durations, int64[n], or releases, int64[n, 3].
        codes: of failed calls, uint8[n]; None where none failed.
    """
    if first_parts.dtype != np.dtype("<i8") or first_parts.shape != measured.shape[:1]:
        return "they are of another type, or number"
    took = measured if measured.ndim == 1 else measured @ [0, -1, 1]
    came = which_ended(measured)
    if codes is not None:
        came &= codes == 0
    if (first_parts[~came] != NEVER).any():
        return "a call that was not answered has one"
    if (first_parts[came] < 0).any() or (first_parts[came] > took[came]).any():
        return "one is missing, or took longer than its call"
    return ""
