"""Numbers as a sentence shows them."""

from __future__ import annotations

import math

from ..evidence.entry import Figure
from .figures import as_number

_MOST_DIGITS = 17


def show(figure: Figure | None, digits: int = 4) -> str:
    """Format a figure for a person: so many significant digits, and never fewer than its whole ones."""
    number = as_number(figure)
    if number is None:
        return "–"
    if not math.isfinite(number):
        return str(number)
    if 1000 <= abs(number) < 1e15 and digits <= len(f"{abs(number):.0f}"):
        return f"{number:,.0f}"
    return f"{number:.{digits}g}"


def show_apart(first: Figure, second: Figure, digits: int = 4) -> tuple[str, str]:
    """Format two figures with as many digits as it takes to tell them apart, where they differ."""
    for count in range(digits, _MOST_DIGITS + 1):
        shown = show(first, count), show(second, count)
        if shown[0] != shown[1] or as_number(first) == as_number(second):
            break
    return shown


def with_unit(text: str, unit: str) -> str:
    """Put a unit behind a number."""
    return f"{text} {unit}" if unit else text
