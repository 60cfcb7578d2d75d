"""One figure moved until the decision changes: where that is, to as few digits as say it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal

# How far a figure is moved at a time, in percent of what it is, before the place is looked for more closely.
_FURTHER = (0.5, 1, 2, 5, 10, 20, 50, 80, 90, 95, 98, 99, 99.9, 99.99)
_FURTHER_UP = (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10_000)
_DIGITS = (3, 4, 5, 6, 8, 10, 12, 15)
# Beyond these a figure is no measurement.
_SMALLEST, _LARGEST = 1e-12, 1e15

Outcome = Callable[[float], int | None]


@dataclass(frozen=True, kw_only=True)
class Moved:
    """Where the decision changes.

    Attributes:
        text: the figure, as it is to be printed: all its digits count. There the decision is another, and one unit of
            its last digit nearer to what the figure is now it is not.
        percent: how far that is, of what the figure is now; infinite where it is 0.
        taken: the row that is taken then.
        start: where the figure was moved from.
    """

    text: str
    percent: float
    taken: int | None
    start: float

    @property
    def figure(self) -> float:
        """The figure that is printed."""
        return float(self.text)

    @property
    def just_short(self) -> float:
        """The figure one unit of the last digit nearer to the start."""
        number = Decimal(self.text)
        unit = Decimal(1).scaleb(int(number.as_tuple().exponent))
        return float(number + unit if self.start > self.figure else number - unit)


def move(
    outcome: Outcome, before: int | None, start: float, scale: float, *, up: bool, most: float = math.inf
) -> Moved | None:
    """Move a figure in one direction until the outcome is another than at its start.

    Args:
        outcome: decides with that figure in place; it is run some ten to thirty times.
        before: the outcome now.
        start: what the figure is now.
        scale: what the steps are a share of, and what a percentage is of where ``start`` is 0.
        up: the direction.
        most: how many percent it may move at most.

    Returns:
        Where the outcome is first another; None where that is nowhere within reach, or where already the figure as it
        is would change it, in a cell that nothing vouches for.
    """
    if math.isfinite(most) and outcome(_at(start, scale, most, up=up)) == before:
        return None
    if outcome(start) != before:
        return None
    last = start
    for point in _points(start, scale, most, up=up):
        if outcome(point) != before:
            return _closer(outcome, start, last, point)
        last = point
    return None


def _at(start: float, scale: float, percent: float, *, up: bool) -> float:
    return start + (1 if up else -1) * scale * percent / 100


def _points(start: float, scale: float, most: float, *, up: bool) -> Iterator[float]:
    """Yield figures further and further from the start. One that is positive stays so: no time is below 0."""
    shrinks = start > 0 and not up
    for percent in _FURTHER if shrinks else _FURTHER_UP:
        yield _at(start, scale, min(percent, most), up=up)
        if percent >= most:
            return


def _closer(outcome: Outcome, start: float, last: float, point: float) -> Moved | None:
    """Bisect between a figure that changes nothing and one that does; take as few digits as tell them apart."""
    if not _SMALLEST <= abs(point) <= _LARGEST:
        return None
    for digits in _DIGITS:
        # Never by more than one: the last digit that is printed must be the one that counts.
        exponent = min(math.floor(math.log10(abs(point))) - digits + 1, 0)
        if (found := _on_grid(outcome, last, point, exponent)) is not None:
            taken, figure = outcome(float(found)), float(found)
            percent = abs(figure - start) / abs(start) * 100 if start else math.inf
            return Moved(text=f"{found:f}", percent=percent, taken=taken, start=start)
    return None


def _on_grid(outcome: Outcome, last: float, point: float, exponent: int) -> Decimal | None:
    """Find the multiple of a power of ten at which the outcome is another, and at the multiple before it is not."""
    sign = 1 if point > last else -1
    unit = Decimal(1).scaleb(exponent)
    near = _outward(Decimal(last) / unit, sign)
    far = _outward(Decimal(point) / unit, sign)
    before = outcome(last)
    if outcome(float(near * unit)) != before or outcome(float(far * unit)) == before:
        return None  # too coarse: no multiple lies between, or none beyond
    while abs(far - near) > 1:
        middle = (near + far) // 2
        if outcome(float(middle * unit)) == before:
            near = middle
        else:
            far = middle
    return far * unit


def _outward(number: Decimal, sign: int) -> int:
    return math.ceil(number) if sign > 0 else math.floor(number)
