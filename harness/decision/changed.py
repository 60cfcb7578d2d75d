"""Changed evidence: a cell as it would be if one figure were another, or if checks that put it out passed."""

from __future__ import annotations

import math
from collections.abc import Collection

from ..checks.check import Verdict, overall
from ..evidence.schema import CellEntry, CheckEntry
from .figures import as_number, better_of, keeps


def moved(cell: CellEntry, metric: str, figure: float) -> CellEntry:
    """Return the cell as it would be if that were both estimate and bound of a metric, judged by the same limit."""
    return _with_checks(cell, [_moved(check, figure) if check.metric == metric else check for check in cell.checks])


def mended(cell: CellEntry, metrics: Collection[str]) -> CellEntry:
    """Return the cell as it would be if its checks of these metrics passed, as narrowly as they can."""
    return _with_checks(cell, [_mended(check) if check.metric in metrics else check for check in cell.checks])


def can_be_mended(check: CheckEntry) -> bool:
    """Tell whether anybody knows what a check would be if it passed: it has a limit, or at least a figure."""
    limit = as_number(check.limit)
    return check.value is not None if limit is None else not math.isnan(limit)


def _with_checks(cell: CellEntry, checks: list[CheckEntry]) -> CellEntry:
    return cell.model_copy(update={"checks": checks, "verdict": overall([check.verdict for check in checks])})


def _moved(check: CheckEntry, figure: float) -> CheckEntry:
    limit, better = as_number(check.limit), better_of(check)
    if limit is None or better is None:
        verdict = Verdict.MEASURED
    else:
        verdict = Verdict.PASS if keeps(figure, limit, better) else Verdict.FAIL
    low = None if check.bound_low is None else figure
    return check.model_copy(
        update={"value": figure, "bound": figure, "bound_low": low, "verdict": verdict, "reason": ""}
    )


def _mended(check: CheckEntry) -> CheckEntry:
    bound, limit, better = as_number(check.bound), as_number(check.limit), better_of(check)
    if limit is None:
        return check.model_copy(update={"verdict": Verdict.MEASURED, "reason": ""})
    stays = bound is not None and better is not None and check.value is not None and keeps(bound, limit, better)
    narrow = {} if stays else {"value": check.limit, "bound": check.limit}
    return check.model_copy(update={**narrow, "bound_low": None, "verdict": Verdict.PASS, "reason": ""})
