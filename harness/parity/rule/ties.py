"""Ties: of keys that float32 cannot tell apart, any may come first, and all that is gathered by them follows.

Where a backend's answer is off, and operators that pick saw keys that are equal or as good as equal, the model itself
is run again with these ties broken in other ways, in its own types and in float64. If the answer agrees with one of
these runs, by the rule for any other output, it is right. Nothing is permitted beside: what agrees with no run in which
every operator picked validly is off.

A pick is valid where the key at its index is, in float64, within the tolerance of the key that belongs at its place:
times what float32 is off on keys of that size (indices.with_scale). That is what an output of indices is judged by.

Which way a backend took is guessed, and every guess is then run: the backend's own indices where it returns them; the
order of the answer's rows; that of float64's own keys; equal ones by their index (ONNX's TopK and ArgMax take the
lowest); and at last each small group of ties by itself, by what that does to the answer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from ...errors import HilgateError
from ...model.model import Array
from .comparison import Difference, Expected
from .indices import Picked
from .picks import HIGHEST, LOWEST, Breaks, Watched, slices, unsliced
from .tie_groups import Site, rows_order, sites
from .tie_runs import Runs, is_valid, orders

# The limits of the search for one input's ties: seconds of computing, and runs of the model.
TIES_S = 2.0
RUNS = 256
# For a slow model instead so many times the time of its first run, but no longer than this.
SLOW_RUNS = 100
SLOW_S = 20.0
# The others count computing, so that on a busy host as many runs fit in; this limits the wall's clock.
WALL_S = 120.0
# How many groups of tied keys are tried one by one.
SITES = 64
# Where all groups together can be picked in at most so many ways, each is tried.
TOGETHER = 64


@dataclass(frozen=True)
class Tie:
    """An answer that agrees with the model when ties are broken another way.

    Attributes:
        calls: where the ties are, as in "topk of module edges".
    """

    difference: Difference
    expected: list[Expected]
    calls: tuple[str, ...]


class Ties:
    """The ties of one input, and the search for the way in which a backend broke them.

    A guess is only ever accepted after a run of the model in both types in which every pick is valid, and whose outputs
    the answer agrees with: guesses decide how long it takes to find such a run, never whether it is right.

    Args:
        names: the backend's, of its answers.
        limit: the largest error ratio that is allowed.
        enough: the error ratio at which the answer agrees.
        base: the model's run in its own types, with its own picks.
        until: when to give up, in seconds of ``runs.cpu_s()``.
    """

    def __init__(
        self,
        *,
        runs: Runs,
        names: Sequence[str],
        answers: Sequence[Array],
        limit: float,
        enough: float,
        base: Watched,
        until: float,
    ) -> None:
        self.runs = runs
        self.names = names
        self.answers = answers
        self.limit = limit
        self.enough = enough
        self.base = base
        self._ends = time.monotonic() + WALL_S
        self._left = RUNS
        self._until = until
        self._tried: set[bytes] = set()
        self._shapes = {_shapes(base)}  # of the outputs, as the ties are broken
        self._near: list[tuple[float, Watched, list[Expected]]] = []

    @classmethod
    def watch(
        cls, runs: Runs, names: Sequence[str], answers: Sequence[Array], limit: float, enough: float | None = None
    ) -> Ties:
        """Run the model once, watched, to learn what its operators pick.

        Args:
            runs: of the model on this input.
            names: the backend's, of its answers.
            answers: the backend's outputs.
            limit: the largest error ratio that is allowed.
            enough: the error ratio at which the answer agrees; the limit, where it is not given.

        Raises:
            Exception: whatever the model raises when it is watched.
        """
        start = runs.cpu_s()
        base = runs.eager(Breaks())
        return cls(
            runs=runs,
            names=names,
            answers=answers,
            limit=limit,
            enough=limit if enough is None else enough,
            base=base,
            # A float64 run takes several times as long: a slow model gets its first guesses, too.
            until=start + max(TIES_S, min(SLOW_RUNS * (runs.cpu_s() - start), SLOW_S)),
        )

    def find(self) -> Tie | None:
        """Search for the run that the answer agrees with; None where there is none."""
        if list(self.names) != list(self.base.outputs) or len(self.answers) != len(self.names):
            return None
        if not self.base.calls or (self._aligned is None) or not any(map(self._has_ties, range(len(self.base.calls)))):
            return None
        for breaks in self._guesses():
            if self._is_over():
                break
            if (found := self._verified(breaks)) is not None:
                return found
        for _, eager, expected in sorted(self._near, key=lambda one: one[0])[:3]:
            if (found := self._agreeing(eager, self.runs.widened(expected, eager))) is not None:
                return found
        return None

    def _is_over(self) -> bool:
        return self._left <= 0 or self.runs.cpu_s() > self._until or time.monotonic() > self._ends

    @cached_property
    def _exact(self) -> Watched | None:
        """The float64 run with its own picks; None where the model does not run so."""
        return self._try(lambda: self.runs.exact(Breaks()))

    @cached_property
    def _aligned(self) -> Watched | None:
        """The float64 run with eager's picks; None where the model takes no such picks."""
        return self._try(lambda: self.runs.exact(orders(self.base)))

    @cached_property
    def _keys(self) -> list[Picked | None]:
        """By call, float64's keys with the error that counts as 1; None where the two runs picked from other things."""
        assert self._aligned is not None
        pairs = zip(self.base.calls, self._aligned.calls, strict=True)
        return [self.runs.scaled(near.keys, far.keys) for near, far in pairs]

    @cached_property
    def _sites(self) -> list[list[Site]]:
        """By call, its groups of keys that cannot be told apart."""
        found = []
        for number, (call, keys) in enumerate(zip(self.base.calls, self._keys, strict=True)):
            found.append(list(sites(number, call, keys, self.limit)) if keys is not None else [])
        return found

    def _has_ties(self, number: int) -> bool:
        return bool(self._sites[number])

    def _guesses(self) -> Iterator[Breaks]:
        yield Breaks()
        yield from self._by_outputs()
        yield from self._by_rows()
        if (exact := self._exact) is not None and len(exact.calls) == len(self.base.calls):
            yield orders(exact)
        yield from (Breaks(others=LOWEST), Breaks(others=HIGHEST))
        near = {number: self._sorted(number) for number, each in enumerate(self._sites) if each}
        yield Breaks(near, LOWEST)
        yield from self._by_effect()

    def _by_outputs(self) -> Iterator[Breaks]:
        """Guess the picks that the backend returns itself, as outputs."""
        found = {}
        for name, answer in zip(self.names, self.answers, strict=True):
            if (number := self.base.places.get(name)) is not None:
                own = self.base.calls[number].indices
                if answer.size == own.size and answer.dtype.kind in "iu":
                    found[number] = answer.reshape(own.shape).astype(np.int64)
        if found:
            yield from (Breaks(found), Breaks(found, LOWEST))

    def _sorted(self, number: int) -> Array:
        """Return a call's picks, with keys that cannot be told apart in the order of their indices."""
        return self._changed(
            number, [(site, np.sort(site.sources)[: len(site.places)]) for site in self._sites[number]]
        )

    def _changed(self, number: int, picks: Sequence[tuple[Site, Array]]) -> Array:
        call = self.base.calls[number]
        _, rows = slices(call.keys, call.indices)
        rows = rows.copy()
        for site, way in picks:
            rows[site.slice, site.places] = way
        return unsliced(rows, call.keys)

    def _by_rows(self) -> Iterator[Breaks]:
        """Guess picks by which the reference's rows come in the order of the answer's."""
        expected = self._expected(self.base, self._aligned)
        if expected is None:
            return
        together: dict[int, Array] = {}
        for number in reversed(range(len(self.base.calls))):
            if not self._sites[number] or (keys := self._keys[number]) is None:
                continue
            order = rows_order(self.base.calls[number], keys, expected, self.answers, self.limit)
            if order is not None:
                together[number] = order
                yield Breaks({number: order})
                yield Breaks({number: order}, LOWEST)
        if len(together) > 1:
            yield Breaks(together)

    def _by_effect(self) -> Iterator[Breaks]:
        """Guess all ways together, where they are few; else change each group by itself.

        A change that brings the answer nearer is kept, and of a group of many keys another pair is tried.
        """
        places = [site for each in self._sites for site in each][:SITES]
        chosen = [site.sources[: len(site.places)] for site in places]
        every = [[own, *site.ways()] for site, own in zip(places, chosen, strict=True)]
        if math.prod(map(len, every)) <= TOGETHER:
            yield from (self._chosen(places, ways) for ways in product(*every))
            return
        # With saturated scores most picks follow the index, and a few keys lie where the backend rounds otherwise.
        starts = [chosen, *(self._by_index(places, others) for others in (LOWEST, HIGHEST))]
        costs = [self._cost(self._chosen(places, start)) if start else np.inf for start in starts]
        best, before = min(costs), np.inf
        chosen = starts[costs.index(best)]
        while best < before:
            before = best
            for index, site in enumerate(places):
                for way in site.ways(chosen[index]):
                    if self._is_over():
                        return
                    breaks = self._chosen(places, [*chosen[:index], way, *chosen[index + 1 :]])
                    if (cost := self._cost(breaks)) < best:
                        best, chosen[index] = cost, way
                        yield breaks

    def _by_index(self, places: Sequence[Site], others: str) -> list[Array]:
        """Return what is picked at some groups if equal keys come by their index; nothing where calls are others."""
        run = self._try(lambda: self.runs.eager(Breaks(others=others)))
        if run is None or len(run.calls) != len(self.base.calls):
            return []
        rows = [slices(call.keys, call.indices)[1] for call in run.calls]
        return [rows[site.call][site.slice, site.places] for site in places]

    def _chosen(self, places: Sequence[Site], picks: Sequence[Array]) -> Breaks:
        pairs = list(zip(places, picks, strict=True))
        numbers = dict.fromkeys(site.call for site in places)
        return Breaks(
            {number: self._changed(number, [one for one in pairs if one[0].call == number]) for number in numbers}
        )

    def _cost(self, breaks: Breaks) -> float:
        """Return roughly how far the answer is from a run: a number to compare with others."""
        self._left -= 1
        if (eager := self._try(lambda: self.runs.eager(breaks))) is None:
            return np.inf
        return sum(map(_distance, eager.outputs.values(), self.answers))

    def _verified(self, breaks: Breaks) -> Tie | None:
        """Return the tie by which the answer agrees with a run, if all its picks are valid."""
        self._left -= 2
        if (eager := self._try(lambda: self.runs.eager(breaks))) is None:
            return None
        mark = b"".join(call.indices.tobytes() for call in eager.calls)
        if mark in self._tried:
            return None
        self._tried.add(mark)
        exact = self._try(lambda: self.runs.exact(orders(eager)))
        if (
            exact is None
            or not is_valid(self.runs, eager, exact, self.limit)
            or (expected := self._expected(eager, exact)) is None
        ):
            return None
        self._shapes.add(_shapes(eager))
        return self._agreeing(eager, expected)

    @property
    def decide_sizes(self) -> bool:
        """Whether ties decide how large an output is, and the answer has another size, which they explain.

        Which of hundreds of ways to break them a backend took need not be known then: suppression keeps other boxes,
        and float32 does not say how many (issue 15, point 13).
        """
        return len(self._shapes) > 1 and tuple(answer.shape for answer in self.answers) != _shapes(self.base)

    def _agreeing(self, eager: Watched, expected: list[Expected]) -> Tie | None:
        difference = self.runs.compare(expected, self.names, self.answers)
        if difference.ratio <= self.enough:
            return Tie(difference, expected, tuple(dict.fromkeys(self._places(eager))))
        if difference.ratio < np.inf:
            self._near.append((difference.ratio, eager, expected))
        return None

    def _places(self, eager: Watched) -> Iterator[str]:
        """Name the calls whose picks are others than eager's own."""
        for number, call in enumerate(eager.calls):
            if number >= len(self.base.calls) or (call.indices.tobytes() != self.base.calls[number].indices.tobytes()):
                yield str(call)

    def _expected(self, eager: Watched, exact: Watched | None) -> list[Expected] | None:
        return None if exact is None else self.runs.expected(eager, exact)

    def _try(self, run: Callable[[], Watched]) -> Watched | None:
        """Run the model; return None where it takes no such picks, whatever it raises then.

        Raises:
            HilgateError: the process that had the module is gone.
        """
        try:
            return run()
        except HilgateError:
            raise
        except Exception:  # noqa: BLE001
            return None


def _shapes(run: Watched) -> tuple[tuple[int, ...], ...]:
    return tuple(array.shape for array in run.outputs.values())


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
