"""The rule: eliminate by one preferred metric after the other, order what is left exactly.

``scores`` is a table with a row for each cell and a column for each metric, the lower the better; rows stand in the
order of the cells' names. NaN says that there is no value, infinity that nothing vouches for it. The rule is this
file alone, and small numbers of runs of it on changed tables are how "what would change it" is found.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
Rows = NDArray[np.intp]


class Skip(Enum):
    """Why a metric decided nothing."""

    NO_VALUE = "no value"
    NO_BOUND = "no bound"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One metric applied to the rows that were left before it.

    Attributes:
        column: which metric.
        before: the rows that were left before it.
        kept: those left behind it.
        best: the best score among ``before``; NaN if skipped.
        most: the worst score that was still kept; NaN if skipped.
        skip: why it decided nothing; None where it did.
    """

    column: int
    before: Rows
    kept: Rows
    best: float = np.nan
    most: float = np.nan
    skip: Skip | None = None


def eliminate(scores: Scores, rows: Rows, within: float) -> Iterator[Step]:
    """Keep by each metric the rows within a share of the best, and go on with these.

    Args:
        scores: the table.
        rows: which of its rows take part; at least one.
        within: 0.05 keeps what is within 5 % of the best. Of a best of 0 that is 0 alone; of a negative one the share
            is taken of its size, so that the threshold is never better than the best.

    A metric of which one of the rows has no value is skipped, and so is one of which none has a bound. Where some have
    one, those without are dropped: doubt must not win. Where one row is left, there is nothing more to compare.
    """
    for column in range(scores.shape[1]):
        if len(rows) == 1:
            return
        found = scores[rows, column]
        best = found.min()  # NaN if any is NaN
        if not np.isfinite(best):
            skip = Skip.NO_VALUE if np.isnan(best) else Skip.NO_BOUND
            yield Step(column=column, before=rows, kept=rows, skip=skip)
            continue
        most = min(best + abs(best) * within, np.finfo(np.float64).max)
        kept = rows[found <= most]
        yield Step(column=column, before=rows, kept=kept, best=float(best), most=float(most))
        rows = kept


def ordered(scores: Scores, rows: Rows) -> Rows:
    """Order rows by exact scores, one metric after the other, then by name.

    Metrics of which all of the rows have a value come first. Among what they cannot tell apart the others count too,
    where no value is worse than any: else a row could win by its name over one that is better in all that both have.
    """
    if len(rows) < 2:
        return rows
    return rows[np.lexsort((rows, *reversed(_keys(scores, rows))))]


def tied(scores: Scores, rows: Rows) -> Rows:
    """Return the rows that nothing tells from the first; rows as ``ordered`` returns them, the first not included."""
    keys = _keys(scores, rows)
    same = np.all([key == key[0] for key in keys], axis=0) if keys else np.ones(len(rows), bool)
    return rows[same][1:]


def first(scores: Scores, rows: Rows, within: float) -> int | None:
    """Return the row that wins; None where there is none."""
    if not len(rows):
        return None
    for step in eliminate(scores, rows, within):
        rows = step.kept
    return int(ordered(scores, rows)[0])


def _keys(scores: Scores, rows: Rows) -> list[NDArray[Any]]:
    columns = list(scores[rows].T)
    partial = [bool(np.isnan(column).any()) for column in columns]
    full = [column for column, lacks in zip(columns, partial, strict=True) if not lacks]
    return full + [np.where(np.isnan(c), np.inf, c) for c, lacks in zip(columns, partial, strict=True) if lacks]
