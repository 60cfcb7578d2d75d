"""The rule run again and again on a table in which one cell is another."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from ..checks.check import Verdict
from ..evidence.schema import CellEntry, CheckEntry
from .elimination import Rows
from .figures import Better, as_number, better_of, keeps
from .moving import Moved, move
from .ranking import Ranking
from .standing import Standing


@dataclass(frozen=True, kw_only=True)
class Mover:
    """One figure of one cell that can be moved, and the decision for each place of it.

    Attributes:
        row: the cell's.
        check: whose figure it is.
        start: what it is now; infinite, in the direction that is worse, where it has no bound.
        column: of the metric among the preferred ones; None if it is none of them.
    """

    ranking: Ranking
    row: int
    check: CheckEntry
    better: Better
    start: float
    column: int | None
    with_it: Rows
    without_it: Rows

    @property
    def cell(self) -> CellEntry:
        """The cell."""
        return self.ranking.standings[self.row].entry

    def move(self, *, up: bool, most: float = math.inf) -> Moved | None:
        """Move the figure in one direction until the decision is another; see ``moving.move``.

        A figure without a bound comes from far beyond everything that is known, and how far it moves is counted from
        its estimate: a bound there would take no better device, only more samples.
        """
        if math.isfinite(self.start):
            scale = abs(self.start) or self._scale()
            return move(self.decide, self.ranking.taken, self.start, scale, up=up, most=most)
        scale, sign = self._scale(), 1 if self.better == "lower" else -1
        far = sign * 2.5 * scale
        if not scale or up != (sign < 0):
            return None
        value = as_number(self.check.value)
        estimate = value if value is not None and math.isfinite(value) and value else far
        if math.isfinite(most) and self.decide(estimate - sign * abs(estimate) * most / 100) == self.ranking.taken:
            return None
        there = move(self.decide, self.ranking.taken, far, scale, up=up)
        if there is None:
            return None
        return replace(there, percent=max(sign * (estimate - there.figure) / abs(estimate) * 100, 0.0))

    def _scale(self) -> float:
        """Return the largest size that a figure of the metric has, of this cell or of another."""
        known = [as_number(self.check.value), as_number(self.check.limit)]
        sizes = [abs(number) for number in known if number is not None and math.isfinite(number)]
        if self.column is not None:
            others = self.ranking.scores[:, self.column]
            sizes += [float(size) for size in np.abs(others[np.isfinite(others)])]
        return max(sizes, default=0.0)

    def decide(self, figure: float) -> int | None:
        """Return the row that is taken with the figure in that place."""
        limit = as_number(self.check.limit)
        is_able = limit is None or keeps(figure, limit, self.better)
        scores = self.ranking.scores[self.row].copy()
        if self.column is not None:
            scores[self.column] = figure if self.better == "lower" else -figure
        return self.ranking.take_among(self.with_it if is_able else self.without_it, self.row, scores)


@dataclass(kw_only=True)
class Movers:
    """Makes the movers of a ranking's cells."""

    ranking: Ranking
    columns: dict[str, int]
    best_of: set[int] = field(init=False)

    def __post_init__(self) -> None:
        """Note who was the best in any metric."""
        ranking = self.ranking
        steps = ranking.steps if ranking.taken is not None else ()
        self.best_of = {int(r) for s in steps for r in s.before[ranking.scores[s.before, s.column] == s.best]}

    def ways_of(self, row: int) -> Iterator[tuple[Mover, bool]]:
        """Yield what can be moved in a cell that is not taken, and in which direction (whether up).

        For the better always; for the worse only what is the best in something, for nothing else keeps others out.
        What stands behind the metric that dropped the cell was never looked at.
        """
        for mover in self.of(row):
            is_out = self.ranking.standings[row].is_out
            dropped = self.ranking.dropped_by.get(row)
            if not is_out and (mover.column is None or (dropped is not None and mover.column > dropped.column)):
                continue
            yield mover, mover.better == "higher"
            if row in self.best_of:
                yield mover, mover.better == "lower"

    def of(self, row: int) -> list[Mover]:
        """List what can be moved in a cell: if one check puts it out, that; if nothing does, what it is compared by."""
        standing = self.ranking.standings[row]
        if not standing.is_out and not standing.may_be_taken:
            return []
        checks = standing.entry.checks
        if standing.is_out:
            only = standing.problems[0].check if len(standing.problems) == 1 else None
            checks = [only] if only is not None and is_matter_of_number(only) else []
        names = [check.metric for check in standing.entry.checks]
        movers = (self._mover(row, check, standing) for check in checks if names.count(check.metric) == 1)
        return [mover for mover in movers if mover is not None]

    def _mover(self, row: int, check: CheckEntry, standing: Standing) -> Mover | None:
        better, column = better_of(check), self.columns.get(check.metric)
        if better is None or check.metric == "parity" or check.verdict is Verdict.NOT_APPLICABLE:
            return None
        if column is None and check.limit is None:
            return None
        if column is not None and math.isnan(standing.scores[column]) and not standing.is_out:
            return None
        bound = as_number(check.bound)
        is_known = bound is not None and math.isfinite(bound)
        if is_known and column is not None and not standing.is_out:
            is_known = math.isfinite(standing.scores[column])
        worst = math.inf if better == "lower" else -math.inf
        others = self.ranking.able[self.ranking.able != row]
        return Mover(
            ranking=self.ranking,
            row=row,
            check=check,
            better=better,
            start=bound if is_known and bound is not None else worst,
            column=column,
            with_it=np.sort(np.append(others, row)),
            without_it=others,
        )


def is_matter_of_number(check: CheckEntry) -> bool:
    """Tell whether a check that puts its cell out would pass if its bound alone were another."""
    bound, limit, better = as_number(check.bound), as_number(check.limit), better_of(check)
    if limit is None or better is None or check.metric == "parity" or not math.isfinite(limit):
        return False
    if bound is not None and math.isfinite(bound):
        return not keeps(bound, limit, better)
    return check.verdict is Verdict.INCONCLUSIVE
