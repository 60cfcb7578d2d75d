"""Rows matched one to one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...model.model import Array
from .comparison import Expected

# Beyond so many rows of one slice that are out of place they are not matched: time and memory grow with their square.
MOST_ROWS = 2048


def matching(allowed: Array) -> Array:
    """Match as many rows as can be: a maximum bipartite matching by augmenting paths (Kuhn's algorithm).

    Exact: where each row has a partner of its own in any way, this finds one. Nearest partners come first, so that
    rows which are mostly in place cost little.

    Args:
        allowed: bool[m, n], whether row i of one side may be row j of the other.

    Returns:
        For each row of one side its partner, −1 where it has none: int64[m].
    """
    partners = np.full(allowed.shape[0], -1, np.int64)
    taken = np.full(allowed.shape[1], -1, np.int64)
    choices = [np.flatnonzero(row) for row in allowed]
    choices = [each[np.argsort(np.abs(each - index), kind="stable")] for index, each in enumerate(choices)]
    for start in range(len(choices)):
        _augment(start, choices, partners, taken)
    return partners


def bottleneck(distances: Array) -> Array | None:
    """Match all rows so that the largest distance is as small as can be; None where some have no partner at all.

    Bisection over the distances that there are: where the rows match at one of them they match at any larger.

    Args:
        distances: float64[n, n]; infinity where two rows cannot be partners.
    """
    own = np.diagonal(distances)
    least = max(distances.min(axis=1).max(initial=0.0), distances.min(axis=0).max(initial=0.0))
    if least == np.inf:
        return None
    if own.max(initial=0.0) <= least:
        return np.arange(len(distances))
    sizes = np.unique(distances[np.isfinite(distances) & (distances >= least)])
    low, high, best = 0, len(sizes) - 1, None
    middle = 0  # mostly the least will do
    while low <= high:
        partners = matching(distances <= sizes[middle])
        if (partners >= 0).all():
            best, high = partners, middle - 1
        else:
            low = middle + 1
        middle = (low + high) // 2
    return best


def _augment(start: int, choices: Sequence[Array], partners: Array, taken: Array) -> None:
    """Find a partner for a row by the shortest path along which others can change theirs."""
    came: dict[int, int] = {}  # by a row of the other side, who looked at it first
    waiting = [start]
    for one in waiting:
        for other in map(int, choices[one]):
            if other in came:
                continue
            came[other] = one
            if taken[other] >= 0:
                waiting.append(int(taken[other]))
                continue
            _change_along(came, other, start, partners, taken)
            return


def _change_along(came: Mapping[int, int], last: int, start: int, partners: Array, taken: Array) -> None:
    """Change partners back along a path: each gives up its own for the one that it came to."""
    giver, other = came[last], last
    while True:
        before = int(partners[giver])
        partners[giver], taken[other] = other, giver
        if giver == start:
            return
        giver, other = came[before], before


def pairwise(expected: Expected, found: Array, eager: Array, exact: Array, limit: float) -> Array:
    """Return how far each row of an answer is from each of the reference's: float64[m, n].

    It is at most 1 where the one may be the other.

    Args:
        expected: what the whole output should be, which says what error counts as 1.
        found: [m, f], the answer's rows.
        eager: [n, f], the reference's.
        exact: [n, f], float64's.
        limit: how many times that error a row may be off.
    """
    largest = np.zeros((len(found), len(eager)))
    for column in range(found.shape[1]):
        columns = (found[:, column, None], eager[None, :, column], exact[None, :, column])
        np.maximum(largest, tolerance_ratios(expected, *columns, limit), out=largest)
    return largest


def tolerance_ratios(expected: Expected, found: Array, eager: Array, exact: Array, limit: float) -> Array:
    """Return each element's error divided by its tolerance (at most 1 passes); infinity where that is not finite.

    The arguments are those of ``pairwise``, of any shapes that broadcast.
    """
    if eager.dtype.kind != "f":
        return np.where((found == eager) | (found == exact), 0.0, np.inf)
    with np.errstate(all="ignore"):
        rounded = exact.astype(eager.dtype)
        scale = expected.closeness.allowed(eager) if expected.closeness is not None else expected.scale
        ratios = np.abs(found.astype(np.float64) - exact) / (scale * limit)
        same = (found == eager) | (found == rounded) | (np.isnan(found) & (np.isnan(eager) | np.isnan(rounded)))
        return np.where(same, 0.0, np.where(np.isfinite(ratios), ratios, np.inf))
