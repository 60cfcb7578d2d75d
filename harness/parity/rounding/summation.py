"""How far a float32 sum may be off, in whatever order a runtime adds.

With random roundings an error stays within a small multiple of

    √n · 2⁻²⁴ · Σ|x|      (Higham and Mary, A New Approach to Probabilistic Rounding Error Analysis,
                           SIAM J. Sci. Comput. 41, 2019, doi 10.1137/18M1226312)

whatever the order; Σ|x| and not the result, for sums that cancel. That much may count as 1 (issue 15), but only equal,
or nearly equal, numbers need a tolerance's 30 times of it: added one after the other, all their roundings err one way.
On others 4 times is plenty (λ times the bound is exceeded with a probability of 2·exp(−λ²/2)), and more would only hide
wrong models. So the numbers are added one after the other in float32 here, and it is seen how far that goes astray.
"""

from __future__ import annotations

import numpy as np

from ...model.model import Array

# float32's unit roundoff: the largest relative error of one addition. Half types are added in float32, too.
UNIT = 2.0**-24
# This part of the bound counts as 1 on any numbers; so does this part of the error of adding one after the other, up to
# the whole bound.
PART = 1 / 8
# How many numbers are added at a time: three copies of them, in float64, are in memory.
BLOCK = 1 << 20


def rounding(terms: Array, *, running: bool = False) -> Array:
    """Bound the error that counts as 1 for float32 sums over the last axis.

    Args:
        terms: float64[…, n], what is added; NaN and infinities count for nothing.
        running: bound the running sums, one for each term.

    Returns:
        float64[…]; of running sums float64[…, n].
    """
    shape = terms.shape if running else terms.shape[:-1]
    if not terms.size:
        return np.zeros(shape)
    count = terms.shape[-1]
    rows = terms.reshape(-1, count)
    step = max(BLOCK // count, 1)
    parts = [_bounds(rows[start : start + step], running) for start in range(0, len(rows), step)]
    return np.concatenate(parts).reshape(shape)


def _bounds(rows: Array, running: bool) -> Array:
    with np.errstate(all="ignore"):
        narrow = np.nan_to_num(rows.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
        # numpy accumulates one after the other; its sums are pairwise.
        astray = np.abs(np.cumsum(narrow, 1, dtype=np.float32) - np.cumsum(narrow, 1, dtype=np.float64))
        counts = np.arange(1, narrow.shape[1] + 1)
        # The largest error on the way, not the last: that roundings happen to cancel at the end helps no other order.
        if running:
            sizes, astray = np.cumsum(np.abs(narrow), 1, dtype=np.float64), np.maximum.accumulate(astray, 1)
        else:
            sizes, astray, counts = np.abs(narrow).sum(1, dtype=np.float64), astray.max(1), counts[-1:]
        return counted(counts, sizes, astray)


def counted(counts: Array, sizes: Array, astray: Array) -> Array:
    """Return the errors of sums that count as 1: at least PART of the bound, at most all of it.

    Args:
        counts: how many numbers each adds.
        sizes: Σ|x|.
        astray: how far off they are when added one after the other.
    """
    with np.errstate(all="ignore"):
        bound = np.sqrt(counts) * UNIT * sizes
        least = np.minimum(np.maximum(bound * PART, UNIT * sizes), bound)
        result: Array = np.clip(np.nan_to_num(astray, nan=np.inf) * PART, least, bound)
    return result
