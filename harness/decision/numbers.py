"""Numbers as a sentence shows them."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from ..evidence.entry import Figure
from .figures import Better, as_number

_MOST_DIGITS = 17
# Beyond these a figure is no measurement.
_SMALLEST, _LARGEST = 1e-12, 1e15


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


def show_needed(number: float, better: Better, digits: int = 4) -> str:
    """Format a figure that must be reached so that what is printed does reach it: rounded to the better side.

    Digits before the point are all shown: a number is needed, and not its size.
    """
    if not math.isfinite(number) or not _SMALLEST < abs(number) < _LARGEST:
        return show(number, _MOST_DIGITS)
    exponent = min(math.floor(math.log10(abs(number))) - digits + 1, 0)
    rounding = ROUND_FLOOR if better == "lower" else ROUND_CEILING
    rounded = Decimal(number).quantize(Decimal(1).scaleb(exponent), rounding)
    # A limit of 0.3 is a little less than 0.3 as a double: what is meant is what a person wrote.
    shortest = Decimal(repr(number))
    exact = shortest if -int(shortest.as_tuple().exponent) <= -exponent else rounded
    text = f"{exact:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def with_unit(text: str, unit: str) -> str:
    """Put a unit behind a number."""
    return f"{text} {unit}" if unit else text
