"""One input's ties: what the model picked on it, in both types, and what may still be spent on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cached_property

from ...errors import HilgateError
from ...model.model import Array
from .comparison import Expected
from .indices import Picked
from .picks import Breaks, Watched, slices, unsliced
from .tie_groups import Site
from .tie_groups import sites as tie_sites
from .tie_runs import Runs, orders

# The limits of the search for one input's ties: seconds of computing, and runs of the model.
TIES_S = 2.0
RUNS = 256
# For a slow model instead so many times the time of its first run, but no longer than this.
SLOW_RUNS = 100
SLOW_S = 20.0
# The others count computing, so that on a busy host as many runs fit in; this limits the wall's clock.
WALL_S = 120.0


class TieCase:
    """An answer that is off on one input, and the model's own picks there.

    Its runs of the model are made when they are first needed. ``left`` and the clocks say how many more may be made.

    Args:
        runs: of the model on this input.
        names: the backend's, of its answers.
        answers: the backend's outputs.
        limit: the largest error ratio that is allowed.
        base: the model's run in its own types, with its own picks.
        until: when to give up, in seconds of ``runs.cpu_s()``.
        ends: when to give up, in seconds of time.monotonic().

    Attributes:
        left: how many more runs of the model may be made.
    """

    def __init__(
        self,
        *,
        runs: Runs,
        names: Sequence[str],
        answers: Sequence[Array],
        limit: float,
        base: Watched,
        until: float,
        ends: float,
    ) -> None:
        self.runs = runs
        self.names = names
        self.answers = answers
        self.limit = limit
        self.base = base
        self.left = RUNS
        self._until = until
        self._ends = ends

    @classmethod
    def watch(cls, runs: Runs, names: Sequence[str], answers: Sequence[Array], limit: float) -> TieCase:
        """Run the model once, watched, to learn what its operators pick; the time counts from here.

        Raises:
            Exception: whatever the model raises when it is watched.
        """
        ends = time.monotonic() + WALL_S
        start = runs.cpu_s()
        base = runs.eager(Breaks())
        # A float64 run takes several times as long: a slow model gets its first guesses, too.
        until = start + max(TIES_S, min(SLOW_RUNS * (runs.cpu_s() - start), SLOW_S))
        return cls(runs=runs, names=names, answers=answers, limit=limit, base=base, until=until, ends=ends)

    def is_over(self) -> bool:
        """Tell whether no more runs may be made."""
        return self.left <= 0 or self.runs.cpu_s() > self._until or time.monotonic() > self._ends

    @cached_property
    def exact(self) -> Watched | None:
        """The float64 run with its own picks; None where the model does not run so."""
        return self.try_run(lambda: self.runs.exact(Breaks()))

    @cached_property
    def aligned(self) -> Watched | None:
        """The float64 run with eager's picks; None where the model takes no such picks."""
        return self.try_run(lambda: self.runs.exact(orders(self.base)))

    @cached_property
    def keys(self) -> list[Picked | None]:
        """By call, float64's keys with the error that counts as 1; None where the two runs picked from other things."""
        assert self.aligned is not None
        pairs = zip(self.base.calls, self.aligned.calls, strict=True)
        return [self.runs.scaled(near.keys, far.keys) for near, far in pairs]

    @cached_property
    def sites(self) -> list[list[Site]]:
        """By call, its groups of keys that cannot be told apart."""
        result = []
        for number, (call, keys) in enumerate(zip(self.base.calls, self.keys, strict=True)):
            result.append(list(tie_sites(number, call, keys, self.limit)) if keys is not None else [])
        return result

    def changed(self, number: int, picks: Sequence[tuple[Site, Array]]) -> Array:
        """Return a call's picks, with others at some groups."""
        call = self.base.calls[number]
        _, rows = slices(call.keys, call.indices)
        rows = rows.copy()
        for site, way in picks:
            rows[site.slice, site.places] = way
        return unsliced(rows, call.keys)

    def expected(self, eager: Watched, exact: Watched | None) -> list[Expected] | None:
        """Return what the outputs should be by two runs; None where one is missing, or has other shapes."""
        return None if exact is None else self.runs.expected(eager, exact)

    def try_run(self, run: Callable[[], Watched]) -> Watched | None:
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
