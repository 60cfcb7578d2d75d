"""Units in the last place: the smallest error that a float32 program can promise."""

from __future__ import annotations

import numpy as np

from ...model.model import Array

# float32's smallest normal number: many a device takes anything below it for zero.
SMALLEST = float(np.finfo(np.float32).tiny)


def ulp(values: Array, dtype: np.dtype[np.floating]) -> Array:
    """Return an ulp of each element, in the type or in float32, whichever is coarser; at least SMALLEST."""
    narrow = dtype if dtype.itemsize < 4 else np.dtype(np.float32)
    largest = np.nextafter(np.finfo(narrow).max, narrow.type(0))  # the next one's spacing would be infinity
    sizes = np.minimum(np.abs(values.astype(np.float64)), float(largest)).astype(narrow)
    ulps: Array = np.maximum(np.spacing(sizes).astype(np.float64), SMALLEST)
    return ulps
