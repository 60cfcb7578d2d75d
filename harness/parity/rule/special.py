"""Elements that are NaN or infinite: where they may be, and the errors of the others beside them."""

from __future__ import annotations

import numpy as np

from ...model.model import Array
from .ulp import ulp


def alike(one: Array, other: Array) -> Array:
    """Tell, by element, where both are finite, both NaN, or the same infinity."""
    same: Array = (np.isfinite(one) & np.isfinite(other)) | (one == other) | (np.isnan(one) & np.isnan(other))
    return same


def drop_special(errors: Array, answer: Array, eager: Array) -> bool:
    """Set errors to 0 where the answer is NaN or infinite, if it is so where eager's output is, and in the same way.

    Args:
        errors: |answer - r|, float64[…] without gaps in memory.
        answer: one chunk of the backend's output.
        eager: the same of eager PyTorch's.

    Returns:
        False where it is not so: nothing is set then.
    """
    finite = np.isfinite(answer)
    special = (answer == eager) | (np.isnan(answer) & np.isnan(eager))
    if not ((finite == np.isfinite(eager)) & (finite | special)).all():
        return False
    # As whole numbers, for NaN × 0 is NaN; and without a branch for each element, which costs more than all else.
    bits = errors.view(np.int64)
    np.multiply(bits, finite, out=bits)
    return True


def special_ratios(answer: Array, eager: Array, exact: Array, scale: float) -> Array:
    """Return the error ratio of every element where some are NaN or infinite; infinity where one is not accepted."""
    rounded = exact.astype(eager.dtype)
    known = np.isfinite(rounded)
    ratios: Array = np.abs(answer - exact) / scale
    if (other := ~known & np.isfinite(eager)).any():
        errors = np.abs(answer[other].astype(np.float64) - eager[other])
        ratios[other] = errors / np.maximum(scale, ulp(eager[other], eager.dtype))
    ratios[~np.isfinite(answer)] = 0
    ratios[~(alike(answer, eager) | alike(answer, rounded))] = np.inf
    return ratios
