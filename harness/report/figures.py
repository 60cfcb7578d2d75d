"""Numbers as every format shows them: values, bounds and limits of a check, each with its sign."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ..decision.figures import as_number
from ..evidence.entry import Figure
from ..evidence.schema import CheckEntry

# Counts beyond this are shown as other numbers are: nobody counts the digits.
LARGEST_WHOLE = 1e15
DASH = "–"


def shown(check: CheckEntry, figure: Figure | None, digits: int = 6) -> str:
    """Format a figure of a check, without its unit: a count with all its digits, others with so many significant ones.

    Args:
        check: whose figure it is.
        figure: a value, bound or limit; None gives "".
        digits: significant ones.
    """
    number = as_number(figure)
    if number is None:
        return ""
    return f"{number:,.0f}" if check.whole and abs(number) < LARGEST_WHOLE else f"{number:.{digits}g}"


def sign(check: CheckEntry) -> str:
    """Return the sign of a check's limit, and of the bound that has to keep it."""
    return "≥" if check.better == "higher" else "≤"


def other_sign(check: CheckEntry) -> str:
    """Return the sign of the bound that shows a limit to be broken."""
    return "≤" if check.better == "higher" else "≥"


def value_text(check: CheckEntry) -> str:
    """Format the estimate with three digits; "" where nothing was measured."""
    return shown(check, check.value, 3)


def bound_text(check: CheckEntry) -> str:
    """Format the bound that was judged, with its sign; "" where the value is exact, or has none.

    Of a FAIL with two bounds it is the one that broke the limit.
    """
    if check.verdict == "FAIL" and check.bound_low is not None:
        return f"{other_sign(check)} {shown(check, check.bound_low, 3)}"
    if check.confidence is not None and check.bound is not None:
        return f"{sign(check)} {shown(check, check.bound, 3)}"
    return ""


def limit_text(check: CheckEntry) -> str:
    """Format the limit with its sign; "" without one, or where it bounds nothing."""
    number = as_number(check.limit)
    return "" if number is None or not math.isfinite(number) else f"{sign(check)} {shown(check, number)}"


def count_text(check: CheckEntry) -> str:
    """Say how many samples there were where that says something: "306 tried"; "" elsewhere."""
    return f"{check.samples} {check.counts}" if check.counts and check.samples else ""


def unit_beside(metric: str, checks: Iterable[CheckEntry | None]) -> str:
    """Return the unit of a metric's checks for a heading; "" where the metric's name says it, or there is none."""
    unit = next((check.unit for check in checks if check is not None and check.unit), "")
    return "" if metric.endswith(f"_{unit.lower()}") else unit
