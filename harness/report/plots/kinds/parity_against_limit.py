"""Parity: each backend's worst error, as a multiple of what float32 itself is off, against its limit.

The axis is logarithmic. What it cannot hold is written beyond its ends: 0 at the left, ∞ at the right.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ....evidence.schema import CheckEntry
from ..colors import paint
from ..data import SectionData, named, number_of
from ..drawing import WIDTH, Frame, Layer, draw, points, room_for, strokes, texts
from ..plot import Plot
from ..scale import Axis, short, up_axis
from ..series import color, label, layer_name

PLACE = 50
METRIC = "parity"
TITLE = "Parity against its limit"
ROW, ROWS = 19.0, 14
# Beyond the ends of the axis, in pixels.
BEYOND = 14.0


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A cell's error ratio, 0 to infinity, and its limit; None where there is none."""

    number: int
    name: str
    short_name: str
    value: float
    limit: float | None
    check: CheckEntry


def plot(data: SectionData) -> Plot | None:
    """Draw the error ratio of all cells that were compared; None where none was."""
    found = list(_ratios(data))
    if not found:
        return None
    shown = found[:ROWS]
    return Plot(
        name="parity_against_limit",
        title=TITLE,
        description=" ".join(_seen(found)),
        svg=_svg(shown),
        columns=("backend", "error ratio", "limit", "verdict", "inputs tried"),
        rows=tuple(map(_row, found)),
    )


def _ratios(data: SectionData) -> Iterator[Ratio]:
    for number, cell in enumerate(data.section.cells):
        check = cell.check(METRIC)
        value = number_of(None if check is None else check.value)
        if check is not None and value is not None and value >= 0:
            limit = number_of(check.limit)
            limit = limit if limit is not None and 0 < limit < math.inf else None
            yield Ratio(number=number, name=cell.name, short_name=named(cell), value=value, limit=limit, check=check)


def _svg(shown: Sequence[Ratio]) -> str:
    left = room_for([each.name for each in shown]) + BEYOND
    limits = sorted({each.limit for each in shown if each.limit is not None})
    finite = [each.value for each in shown if 0 < each.value < math.inf]
    up = up_axis([*finite, *limits] or [1.0, 10.0], WIDTH - left - BEYOND - 12, log=True)
    x = Axis(low=up.low, high=up.high, length=up.length, is_log=True, ticks=up.ticks[:: 1 + len(up.ticks) // 5])
    height = len(shown) * ROW
    y = Axis(low=0, high=height, length=height, is_log=False, ticks=())
    frame = Frame(x=x, y=y, left=left, top=20)
    layers = [layer for limit in limits for layer in _limit(frame, limit)]
    for place, each in enumerate(shown):
        layers += _marks(frame, each, (place + 0.5) * ROW)
    return draw(frame, layers, x_title="error, × what float32 is off", y_title="", title=TITLE)


def _limit(frame: Frame, limit: float) -> Iterator[Layer]:
    at = frame.x.pixel(limit)
    yield strokes("limit", [[(at, -3), (at, frame.y.length)]], stroke=paint("limit"), strokeWidth=1.2)
    align = "right" if at > frame.x.length / 2 else "left"
    said = {"text": f"limit {short(limit)}", "x_px": at + (3 if align == "right" else -3), "y_px": -11}
    yield texts(None, [said], fill=paint("limit"), align=align)


def _marks(frame: Frame, each: Ratio, y: float) -> Iterator[Layer]:
    name = {**label(each.name), "x_px": -BEYOND - 8, "y_px": y}
    yield texts(each.number, [name], fill=color(each.number), align="right")
    grid = {"stroke": paint("grid"), "strokeWidth": 0.6, "strokeDash": [1, 3]}
    yield strokes(layer_name(each.number, "grid"), [[(0, y), (frame.x.length, y)]], **grid)
    if 0 < each.value < math.inf:
        row = {"x_px": frame.x.pixel(each.value), "y_px": y}
        yield points(
            layer_name(each.number, "point"), [row], fill=color(each.number), stroke=None, filled=True, size=40
        )
        return
    at, sign = (-BEYOND + 3, "0") if each.value == 0 else (frame.x.length + BEYOND - 6, "∞")
    said = {"text": sign, "x_px": at, "y_px": y}
    yield texts(each.number, [said], fill=color(each.number), align="center", size=14)


def _seen(found: Sequence[Ratio]) -> Iterator[str]:
    worst = max(found, key=lambda each: each.value)
    best = min(found, key=lambda each: each.value)
    if math.isinf(worst.value):
        endless = ", ".join(each.short_name for each in found if math.isinf(each.value))
        yield f"The error of {endless} is infinite: an answer is wrong where eager PyTorch's is exact, or is no number."
    elif len(found) > 1:
        yield f"{best.short_name} is nearest to the model, {_times(best.value)} what float32 itself is off;"
        yield f"{worst.short_name} farthest, {_times(worst.value)}."
    else:
        yield f"{worst.short_name}'s worst error is {_times(worst.value)} what float32 itself is off."
    limited = [each for each in found if each.limit is not None]
    over = [each.short_name for each in limited if each.limit is not None and each.value > each.limit]
    if limited:
        yield f"Over their limit: {', '.join(over)}." if over else "None is over its limit."
    if len(found) > ROWS:
        yield f"{len(found) - ROWS} more backends are in the table alone."


def _times(value: float) -> str:
    return f"{short(value)} ×"


def _row(each: Ratio) -> tuple[str, ...]:
    ratio = "∞" if math.isinf(each.value) else f"{each.value:.4g}"
    limit = "" if each.limit is None else f"≤ {each.limit:g}"
    return (each.name, ratio, limit, str(each.check.verdict), f"{each.check.samples:,}")
