"""Guesses of the way in which a backend broke ties; a run of the model decides whether a guess is right (see ties)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np

from ...model.model import Array
from .picks import HIGHEST, LOWEST, Breaks, slices
from .tie_case import TieCase
from .tie_groups import Site, rows_order
from .tie_runs import orders

# How many groups of tied keys are tried one by one.
SITES = 64
# Where all groups together can be picked in at most so many ways, each is tried.
TOGETHER = 64


def guesses(case: TieCase) -> Iterator[Breaks]:
    """Guess the ways in which a backend may have broken ties, the likeliest first."""
    yield Breaks()
    yield from _by_outputs(case)
    yield from _by_rows(case)
    if (exact := case.exact) is not None and len(exact.calls) == len(case.base.calls):
        yield orders(exact)
    yield from (Breaks(others=LOWEST), Breaks(others=HIGHEST))
    near = {number: _sorted(case, number) for number, each in enumerate(case.sites) if each}
    yield Breaks(near, LOWEST)
    yield from _by_effect(case)


def _by_outputs(case: TieCase) -> Iterator[Breaks]:
    """Guess the picks that the backend returns itself, as outputs."""
    found = {}
    for name, answer in zip(case.names, case.answers, strict=True):
        if (number := case.base.places.get(name)) is not None:
            own = case.base.calls[number].indices
            if answer.size == own.size and answer.dtype.kind in "iu":
                found[number] = answer.reshape(own.shape).astype(np.int64)
    if found:
        yield from (Breaks(found), Breaks(found, LOWEST))


def _sorted(case: TieCase, number: int) -> Array:
    """Return a call's picks, with keys that cannot be told apart in the order of their indices."""
    return case.changed(number, [(site, np.sort(site.sources)[: len(site.places)]) for site in case.sites[number]])


def _by_rows(case: TieCase) -> Iterator[Breaks]:
    """Guess picks by which the reference's rows come in the order of the answer's."""
    expected = case.expected(case.base, case.aligned)
    if expected is None:
        return
    together: dict[int, Array] = {}
    for number in reversed(range(len(case.base.calls))):
        if not case.sites[number] or (keys := case.keys[number]) is None:
            continue
        order = rows_order(case.base.calls[number], keys, expected, case.answers, case.limit)
        if order is not None:
            together[number] = order
            yield Breaks({number: order})
            yield Breaks({number: order}, LOWEST)
    if len(together) > 1:
        yield Breaks(together)


def _by_effect(case: TieCase) -> Iterator[Breaks]:
    """Guess all ways together, where they are few; else change each group by itself.

    A change that brings the answer nearer is kept, and of a group of many keys another pair is tried.
    """
    places = [site for each in case.sites for site in each][:SITES]
    chosen = [site.sources[: len(site.places)] for site in places]
    every = [[own, *site.ways()] for site, own in zip(places, chosen, strict=True)]
    if math.prod(map(len, every)) <= TOGETHER:
        yield from (_chosen(case, places, ways) for ways in product(*every))
        return
    # With saturated scores most picks follow the index, and a few keys lie where the backend rounds otherwise.
    starts = [chosen, *(_by_index(case, places, others) for others in (LOWEST, HIGHEST))]
    costs = [_cost(case, _chosen(case, places, start)) if start else np.inf for start in starts]
    best, before = min(costs), np.inf
    chosen = starts[costs.index(best)]
    while best < before:
        before = best
        for index, site in enumerate(places):
            for way in site.ways(chosen[index]):
                if case.is_over():
                    return
                breaks = _chosen(case, places, [*chosen[:index], way, *chosen[index + 1 :]])
                if (cost := _cost(case, breaks)) < best:
                    best, chosen[index] = cost, way
                    yield breaks


def _by_index(case: TieCase, places: Sequence[Site], others: str) -> list[Array]:
    """Return what is picked at some groups if equal keys come by their index; nothing where calls are others."""
    run = case.try_run(lambda: case.runs.eager(Breaks(others=others)))
    if run is None or len(run.calls) != len(case.base.calls):
        return []
    rows = [slices(call.keys, call.indices)[1] for call in run.calls]
    return [rows[site.call][site.slice, site.places] for site in places]


def _chosen(case: TieCase, places: Sequence[Site], picks: Sequence[Array]) -> Breaks:
    """Return the breaks by which these groups are picked so."""
    pairs = list(zip(places, picks, strict=True))
    numbers = dict.fromkeys(site.call for site in places)
    return Breaks({number: case.changed(number, [one for one in pairs if one[0].call == number]) for number in numbers})


def _cost(case: TieCase, breaks: Breaks) -> float:
    """Return roughly how far the answer is from a run: a number to compare with others."""
    case.left -= 1
    if (eager := case.try_run(lambda: case.runs.eager(breaks))) is None:
        return np.inf
    return sum(map(_distance, eager.outputs.values(), case.answers))


def _distance(one: Array, answer: Array) -> float:
    """Sum how far two arrays are apart, each element from 0 to 1; infinity where they have other shapes."""
    if one.shape != answer.shape or one.dtype != answer.dtype:
        return float("inf")
    if one.dtype.kind != "f":
        return float(np.count_nonzero(one != answer))
    with np.errstate(all="ignore"):
        errors = np.abs(one.astype(np.float64) - answer)
        size = np.abs(one).max(initial=1e-30, where=np.isfinite(one))
        ratios = errors / (errors + 1e-5 * size)
    same = (one == answer) | (np.isnan(one) & np.isnan(answer))
    return float(np.where(same, 0.0, np.nan_to_num(ratios, nan=1.0)).sum())
