"""The rule applied to cells: who may be taken, who is taken, and in which order the others follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .elimination import Rows, Scores, Step, eliminate, first, leaders, ordered
from .standing import Standing


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """What the rule says of cells, each named by its row: its place in ``standings``.

    Attributes:
        within: how far from the best is as good as it, as a share.
        scores: the table that was ranked.
        able: the rows that may be taken.
        taken: the row to take; None where there is none.
        ties: the rows that nothing tells from it.
        order: the rows that are not out, best first; those without a limit behind all others.
        steps: of the elimination among those that may be taken; if there are none, among those without a limit.
    """

    standings: Sequence[Standing]
    within: float
    scores: Scores
    able: Rows
    taken: int | None
    ties: tuple[int, ...]
    order: tuple[int, ...]
    steps: tuple[Step, ...]

    @cached_property
    def dropped_by(self) -> dict[int, Step]:
        """Which step dropped a row, of those that one did."""
        return {row: step for step in self.steps for row in np.setdiff1d(step.before, step.kept).tolist()}

    def take_with(self, row: int, scores: Sequence[float] | Scores, *, may_be_taken: bool) -> int | None:
        """Apply the rule with one row changed; return the row that is taken.

        Args:
            row: the row.
            scores: what stands in it instead.
            may_be_taken: whether the cell may be taken then.
        """
        others = self.able[self.able != row]
        rows = np.sort(np.append(others, row)) if may_be_taken else others
        return self.take_among(rows, row, scores)

    def take_among(self, rows: Rows, row: int, scores: Sequence[float] | Scores) -> int | None:
        """Do the same where it is known already which rows may be taken."""
        kept = self.scores[row].copy()
        self.scores[row] = scores
        try:
            return first(self.scores, rows, self.within)
        finally:
            self.scores[row] = kept


def table_of(standings: Sequence[Standing], columns: int) -> Scores:
    """Return the scores of all cells as one table."""
    table = np.array([standing.scores for standing in standings], dtype=np.float64)
    return np.asfortranarray(table.reshape(len(standings), columns))  # the rule goes through it column by column


def rows_where(flags: Sequence[bool]) -> Rows:
    """Return the rows whose flag is set."""
    return np.flatnonzero(np.array(flags, dtype=bool))


def rank(standings: Sequence[Standing], columns: int, within: float) -> Ranking:
    """Apply the rule to cells, which stand in the order of their names."""
    scores = table_of(standings, columns)
    able = rows_where([standing.may_be_taken for standing in standings])
    others = rows_where([not standing.is_out and standing.has_no_limit for standing in standings])
    order, steps = _order(scores, able, within)
    others_order, others_steps = _order(scores, others, within)
    last = steps[-1].kept if steps else able
    winners = leaders(scores, last).tolist() if len(able) else []
    return Ranking(
        standings=standings,
        within=within,
        scores=scores,
        able=able,
        taken=winners[0] if winners else None,
        ties=tuple(winners[1:]),
        order=(*order, *others_order),
        steps=steps if len(able) else others_steps,
    )


def _order(scores: Scores, rows: Rows, within: float) -> tuple[tuple[int, ...], tuple[Step, ...]]:
    """Order rows: first those that no step dropped, then those that the last step dropped, and so on."""
    if not len(rows):
        return (), ()
    steps = tuple(eliminate(scores, rows, within))
    order = list(ordered(scores, steps[-1].kept if steps else rows))
    for step in reversed(steps):
        order += list(ordered(scores, np.setdiff1d(step.before, step.kept)))
    return tuple(map(int, order)), steps
