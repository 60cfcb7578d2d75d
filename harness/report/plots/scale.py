"""Axes: what they span, where their ticks are, and where on one a value lies."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

# From this ratio of the largest to the smallest on, a linear axis would press the smallest into its line.
SPREAD_FOR_LOG = 30.0
# Beyond these nothing was measured, and arithmetic leaves the numbers: they are drawn at an axis's end.
SMALLEST, LARGEST = 1e-290, 1e290
RAISED = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


@dataclass(frozen=True, kw_only=True)
class Axis:
    """An axis.

    Attributes:
        low: the value at its beginning.
        high: the value at its end; greater than low.
        length: in pixels.
        is_log: whether it is logarithmic; low is then above zero.
        ticks: values that are written at it.
        labels: what is written there, where it is not the value.
        is_reversed: whether it begins at its last pixel, as one does that goes upwards.
    """

    low: float
    high: float
    length: float
    is_log: bool
    ticks: tuple[float, ...]
    labels: tuple[str, ...] = ()
    is_reversed: bool = False

    @property
    def scale(self) -> dict[str, Any]:
        """The same as Vega-Lite has it."""
        pixels = [self.length, 0] if self.is_reversed else [0, self.length]
        kind = "log" if self.is_log else "linear"
        return {"type": kind, "domain": [self.low, self.high], "range": pixels, "nice": False, "zero": False}

    def pixel(self, value: float) -> float:
        """Return where a value lies, in pixels; one beyond the axis at its end."""
        value = min(max(value, self.low), self.high)
        if self.is_log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.length * (1 - share if self.is_reversed else share)

    def within(self, value: float) -> float:
        """Return a value that lies on the axis: itself, or the end that is next to it."""
        return min(max(value, self.low), self.high)

    def written(self) -> list[tuple[float, str]]:
        """Return each tick and what is written there."""
        return list(zip(self.ticks, self.labels or map(short, self.ticks), strict=True))


def up_axis(values: Iterable[float], length: float, *, log: bool | None = None) -> Axis:
    """Make an axis that goes upwards and holds all values that are finite and no absurdity.

    Args:
        values: some of them; those below zero count as zero.
        length: in pixels.
        log: whether it is logarithmic; None to decide by how far apart the values are.
    """
    positive = [value for value in values if SMALLEST < value < LARGEST]
    if not positive and log:
        positive = [1.0, 10.0]
    if not positive:
        return Axis(low=0.0, high=1.0, length=length, is_log=False, ticks=(0.0, 1.0), is_reversed=True)
    least, most = min(positive), max(positive)
    if log is None:
        log = most / least > SPREAD_FOR_LOG
    ticks, end = _log_ticks(least, most) if log else (linear := _linear_ticks(most), linear[-1])
    return Axis(low=ticks[0], high=end, length=length, is_log=log, ticks=_thinned(ticks), is_reversed=True)


def short(value: float) -> str:
    """Write a number in few signs, such as 0.02, 350, 10⁶, 2.5·10⁶."""
    if value == 0 or not math.isfinite(value) or 1e-3 <= abs(value) < 1e4:
        return f"{value:.4g}"
    digits, _, power = f"{value:.2e}".partition("e")
    raised = f"10{str(int(power)).translate(RAISED)}"
    return raised if float(digits) == 1 else f"{float(digits):g}·{raised}"


def spread(places: list[float], gap: float, low: float, high: float) -> list[float]:
    """Move labels apart, each as little as can be done from above to below.

    Args:
        places: where each belongs, in pixels.
        gap: the least distance between two.
        low: the first place that may be taken.
        high: the last one; too many labels go beyond it.

    Returns:
        Where each is, in the order of ``places``.
    """
    order = sorted(range(len(places)), key=lambda index: (places[index], index))
    moved = dict.fromkeys(order, 0.0)
    last = low - gap
    for index in order:
        last = moved[index] = max(places[index], last + gap)
    following = high + gap
    for index in reversed(order):  # what was pushed out below goes up again
        following = moved[index] = min(moved[index], following - gap)
    last = low - gap
    for index in order:
        last = moved[index] = max(moved[index], last + gap)
    return [moved[index] for index in range(len(places))]


def _linear_ticks(most: float) -> tuple[float, ...]:
    rough = most / 4
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next((unit * factor for factor in (1, 2, 2.5, 5) if unit * factor >= rough * 0.999), unit * 10)
    count = max(math.ceil(most / step - 1e-9), 1)
    return tuple(step * number for number in range(count + 1))


def _log_ticks(least: float, most: float) -> tuple[tuple[float, ...], float]:
    """Return 1, 2, 5, 10 … around the values, whole powers alone where there are many; and where the axis ends."""
    first, last = math.floor(math.log10(least)), math.ceil(math.log10(most))
    fine = [factor * 10.0**power for power in range(first, last + 1) for factor in (1.0, 2.0, 5.0)]
    ticks = fine if last - first <= 2 else fine[::3]
    begin = max((tick for tick in ticks if tick <= least * 1.0000001), default=ticks[0])
    end = min((tick for tick in fine if tick >= most * 0.9999999 and tick > begin), default=begin * 10)
    return tuple(tick for tick in ticks if begin <= tick <= end), end


def _thinned(ticks: tuple[float, ...]) -> tuple[float, ...]:
    """Return at most seven of the ticks, at equal distances, from the first on."""
    every = -(-len(ticks) // 7)
    return ticks[::every]
