"""The rule: eliminate by one preferred metric after the other, order what is left exactly.

``scores`` is a table with a row for each cell and a column for each metric, the lower the better; rows stand in the
order of the cells' names. NaN says that there is no value, infinity that nothing vouches for it. The rule is this
file alone, and small numbers of runs of it on changed tables are how "what would change it" is found.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
Rows = NDArray[np.intp]

_LARGEST = sys.float_info.max


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
        found = scores[:, column][rows]
        best = float(found.min())  # NaN if any is NaN
        if not math.isfinite(best):
            skip = Skip.NO_VALUE if math.isnan(best) else Skip.NO_BOUND
            yield Step(column=column, before=rows, kept=rows, skip=skip)
            continue
        most = min(best + abs(best) * within, _LARGEST)
        kept = rows[found <= most]
        yield Step(column=column, before=rows, kept=kept, best=best, most=most)
        rows = kept


def ordered(scores: Scores, rows: Rows) -> Rows:
    """Order rows by exact scores, one metric after the other, then by name.

    Metrics of which all of the rows have a value come first. Among what they cannot tell apart the others count too,
    where no value is worse than any: else a row could win by its name over one that is better in all that both have.
    """
    if len(rows) < 2:
        return rows
    columns = scores[rows].T
    partial = np.isnan(columns).any(axis=1)
    keys = (*columns[~partial], *_worst_if_none(columns[partial]))
    return rows[np.lexsort((rows, *reversed(keys)))]


def leaders(scores: Scores, rows: Rows) -> Rows:
    """Return the rows that ``ordered`` puts first, and that nothing but their names tells apart."""
    columns = scores[rows].T
    partial = np.isnan(columns).any(axis=1)
    left = np.arange(len(rows))
    for column in (*columns[~partial], *_worst_if_none(columns[partial])):
        if len(left) == 1:
            break
        found = column[left]
        left = left[found == found.min()]
    return rows[left]


def first(scores: Scores, rows: Rows, within: float) -> int | None:
    """Return the row that wins; None where there is none."""
    if not len(rows):
        return None
    for step in eliminate(scores, rows, within):
        rows = step.kept
    return int(leaders(scores, rows)[0])


def _worst_if_none(columns: Scores) -> Scores:
    return np.where(np.isnan(columns), np.inf, columns)
