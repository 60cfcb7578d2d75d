"""The rule applied to cells: who may be taken, who is taken, and in which order the others follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .elimination import Rows, Scores, Step, eliminate, first, ordered, tied
from .standing import Standing


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """What the rule says of cells, each named by its row: its place in ``standings``.

    Attributes:
        scores: the table that was ranked.
        taken: the row to take; None where there is none.
        ties: the rows that nothing tells from it.
        order: the rows that are not out, best first; those without a limit behind all others.
        steps: of the elimination among those that may be taken; if there are none, among those without a limit.
    """

    standings: Sequence[Standing]
    scores: Scores
    taken: int | None
    ties: tuple[int, ...]
    order: tuple[int, ...]
    steps: tuple[Step, ...]


def table_of(standings: Sequence[Standing], columns: int) -> Scores:
    """Return the scores of all cells as one table."""
    return np.array([standing.scores for standing in standings], dtype=np.float64).reshape(len(standings), columns)


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
    taken = first(scores, able, within)
    last = steps[-1].kept if steps else able
    return Ranking(
        standings=standings,
        scores=scores,
        taken=taken,
        ties=tuple(map(int, tied(scores, ordered(scores, last)))) if len(able) else (),
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
