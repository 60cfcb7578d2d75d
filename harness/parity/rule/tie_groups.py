"""Groups of keys that float32 cannot tell apart, and in which order an answer's rows have them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from ...model.model import Array
from .comparison import Expected
from .indices import Picked
from .picks import NMS, Call, slices, unsliced
from .rows import MOST_ROWS, matching, pairwise, tolerance_ratios

# Up to so many keys of one group are tried in every order.
FEW = 3
# Of larger groups, so many pairs are exchanged, the nearest first.
MOST_WAYS = 32


@dataclass(frozen=True)
class Site:
    """A group of keys that cannot be told apart, of which some were picked.

    Attributes:
        call: its number.
        slice: which of the keys that are picked together.
        places: of the picks, int[p].
        sources: the indices of all these keys, those that were picked first, in order: int[s], s ≥ p.
    """

    call: int
    slice: int
    places: Array
    sources: Array

    def ways(self, now: Array | None = None) -> list[Array]:
        """Return other picks for its places: all that there are of few, else with one key left out, or two exchanged.

        Args:
            now: what is picked now, where that is not what was picked first.
        """
        count = len(self.places)
        own = self.sources[:count] if now is None else now
        if len(self.sources) <= FEW:
            result = [np.array(way[:count]) for way in permutations(self.sources.tolist())]
        else:
            sources = np.concatenate([own, np.setdiff1d(self.sources, own)])
            # A backend that rounds one key otherwise leaves it out, and all behind it come up.
            result = [np.delete(sources, at)[:count] for at in range(count) if count < len(sources)]
            pairs = [(at, other) for at in range(count) for other in range(at + 1, len(sources))]
            for at, other in sorted(pairs, key=lambda pair: pair[1] - pair[0])[:MOST_WAYS]:
                way = sources.copy()
                way[at], way[other] = way[other], way[at]
                result.append(way[:count])
        return [way for way in {way.tobytes(): way for way in result}.values() if (way != own).any()]


def sites(number: int, call: Call, keys: Picked, limit: float) -> Iterator[Site]:
    """Yield the groups of one call: sorted by key, each neighbour cannot be told from the next.

    Args:
        number: the call's.
        call: what was picked.
        keys: float64's, with the error that counts as 1.
        limit: so many of these errors keys may be apart and not be told apart.
    """
    values, chosen = slices(keys, call.indices)
    for index, row in enumerate(values):
        order = np.argsort(row, kind="stable")
        near = keys.ratios(row[order][1:], row[order][:-1]) <= limit
        if not near.any():
            continue
        group = np.empty(len(row), np.int64)
        group[order] = np.concatenate([[0], np.cumsum(~near)])
        counts = np.bincount(group)
        own = group[chosen[index]]
        for one in dict.fromkeys(own[counts[own] > 1].tolist()):
            places = np.flatnonzero(own == one)
            picked = chosen[index][places]
            others = np.setdiff1d(np.flatnonzero(group == one), picked)
            yield Site(number, index, places, np.concatenate([picked, others]))


def rows_order(
    call: Call, keys: Picked, expected: Sequence[Expected], answers: Sequence[Array], limit: float
) -> Array | None:
    """Return a call's picks in the order of the answer's rows; None where no output has such rows, or all are in place.

    An output has such rows where its shape begins with that of the picks (of nms, of the boxes that it kept), or is cut
    off before the last of them.
    """
    axis = keys.axis or 0
    given = call.kept if call.operator == NMS else call.indices
    if given.ndim <= axis or given.size != np.prod(given.shape[: axis + 1]):
        return None
    pairs = [pair for pair in zip(expected, answers, strict=True) if _has_rows(*pair, given, axis)]
    if not pairs:
        return None
    count = min(one.eager.shape[axis] for one, _ in pairs)
    pairs = [pair for pair in pairs if pair[0].eager.shape[axis] == count]
    values, chosen = slices(keys, call.indices)
    kept = given.reshape(-1, given.shape[axis])[:, :count]
    result = chosen.copy()
    for index in range(len(kept)):
        order = _slice_order(values[index][kept[index]], keys, pairs, (len(kept), index), limit)
        if order is not None:
            result[index, np.isin(chosen[index], kept[index])] = kept[index][order]
    return None if (result == chosen).all() else unsliced(result, keys)


def _slice_order(
    here: Array, keys: Picked, pairs: Sequence[tuple[Expected, Array]], at: tuple[int, int], limit: float
) -> Array | None:
    """Find, for each row of the answer, the reference's that it is; None where all are in place, or too many are not.

    Args:
        here: the key of each row.
        keys: float64's, with the error that counts as 1.
        pairs: the outputs that have such rows, each with its answer.
        at: how many slices there are, and which this is.
        limit: how many of the errors that count as 1 a row may be off.
    """
    number, index = at
    rows = [
        [each.reshape(number, len(here), -1)[index] for each in (answer, one.eager, one.exact)] for one, answer in pairs
    ]

    def distances(places: Array, others: Array) -> Array:
        each = (
            pairwise(one, found[places], eager[others], exact[others], limit)
            for (one, _), (found, eager, exact) in zip(pairs, rows, strict=True)
        )
        largest: Array = np.max(list(each), axis=0)
        return largest

    moved = np.flatnonzero(np.max([_in_place(*each, limit) for each in zip(pairs, rows, strict=True)], axis=0) > 1)
    if not 1 < len(moved) <= MOST_ROWS:
        return None
    near: Array = keys.ratios(*np.broadcast_arrays(here[moved], here[moved][:, None])) <= limit
    order = np.arange(len(here))
    order[moved] = moved[_nearest(np.where(near, distances(moved, moved), np.inf))]
    return order


def _in_place(pair: tuple[Expected, Array], rows: Sequence[Array], limit: float) -> Array:
    """Return how far each row is from the one at its own place."""
    found, eager, exact = rows
    largest: Array = (
        tolerance_ratios(pair[0], found, eager, exact, limit).reshape(len(found), -1).max(axis=1, initial=0.0)
    )
    return largest


def _has_rows(one: Expected, answer: Array, given: Array, axis: int) -> bool:
    shape = one.eager.shape
    begins = len(shape) > axis and shape[:axis] == given.shape[:axis] and 1 < shape[axis] <= given.shape[axis]
    return begins and answer.shape == shape and answer.dtype == one.eager.dtype


def _nearest(distances: Array) -> Array:
    """Find a partner for each row: in a way that all may be, else the nearest that are left."""
    partners = matching(distances <= 1)
    if (partners >= 0).all():
        return partners
    result = np.full(len(distances), -1, np.int64)
    free = np.ones(len(distances), bool)
    for place in np.argsort(distances, axis=None, kind="stable"):
        row, column = divmod(int(place), len(distances))
        if result[row] < 0 and free[column]:
            result[row], free[column] = column, False
    return result
