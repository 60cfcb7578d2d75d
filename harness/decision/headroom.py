"""How far what is taken is from each of its limits."""

from __future__ import annotations

import math

from ..checks.check import Verdict
from ..evidence.decision_entry import HeadroomEntry
from ..evidence.schema import CellEntry, CheckEntry
from .figures import as_number, better_of


def headroom_of(cell: CellEntry) -> list[HeadroomEntry]:
    """List, for each limit that a cell keeps, its bound and what is left of the limit; in the evidence's order."""
    return [entry for check in cell.checks if (entry := _of_check(check)) is not None]


def _of_check(check: CheckEntry) -> HeadroomEntry | None:
    if check.verdict is not Verdict.PASS or check.bound is None or check.limit is None:
        return None
    return HeadroomEntry(metric=check.metric, bound=check.bound, limit=check.limit, percent=_percent_left(check))


def _percent_left(check: CheckEntry) -> float | None:
    """Return how many percent of the limit are left; None for a limit of 0, and where nobody knows a direction."""
    bound, limit, better = as_number(check.bound), as_number(check.limit), better_of(check)
    if not limit or bound is None or better is None or not math.isfinite(limit):
        return None
    left = limit - bound if better == "lower" else bound - limit
    percent = left / abs(limit) * 100
    return percent if math.isfinite(percent) else None
