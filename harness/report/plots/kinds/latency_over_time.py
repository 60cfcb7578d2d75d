"""Latency over time: how each backend's inferences went, in the order in which they were taken.

One strip a backend, all on one scale. A column is so many inferences in a row: its bar goes from the fastest to the
slowest of them, and the line through all goes along their medians; nothing else of a column is left out than what lies
between. A fresh process begins where the strip is divided.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ....evidence.timed_entry import BoardState
from ....model.model import Array
from ...report import ReportCell
from ..colors import paint
from ..data import SectionData, named
from ..drawing import WIDTH, Frame, Layer, draw, strokes, texts
from ..durations import Durations
from ..plot import Plot
from ..scale import Axis, short, up_axis
from ..series import color, label, layer_name

PLACE = 20
TITLE = "Latency over time"
COLUMNS_DRAWN = 124
STRIPS = 8
LEFT, LENGTH = 40.0, WIDTH - 44.0
# Of a strip: what is written above it, and itself.
HEAD, GAP = 15.0, 9.0
HEIGHT, SMALLEST_STRIP, LARGEST_STRIP = 200.0, 42.0, 100.0
# More processes than that are not told from each other in a strip.
PROCESSES = 30
# Where a column has a release that was dropped: above its strip.
DROPPED_PX = -2.0
COLUMNS = (
    "backend",
    "process",
    "samples",
    "fastest",
    "median",
    "slowest",
    "dropped or failed",
    "the device before and after",
)


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Inferences in a row, many to a column.

    Attributes:
        x: the middle of each, as a share of all inferences; float64[m].
        ends: their fastest, median and slowest in milliseconds; float64[m, 3]. The median is a sample, too.
        borders: where another process begins, as a share.
    """

    x: Array
    ends: Array
    borders: tuple[float, ...]


def plot(data: SectionData) -> Plot | None:
    """Draw the latency of all cells that were timed; None where none was."""
    timed = data.durations
    if not timed:
        return None
    drawn = [each for each in timed if not each.problem]
    shown = drawn[:STRIPS]
    more = f"{len(drawn) - STRIPS} more backends are in the table alone." if len(drawn) > STRIPS else ""
    description = " ".join(filter(None, [*map(_seen, shown), more, *data.said_of(drawn)]))
    return Plot(
        name="latency_over_time",
        title=TITLE,
        description=description or "Nothing is drawn.",
        svg=_svg(shown) if shown else None,
        columns=COLUMNS,
        rows=tuple(row for each in drawn for row in _rows(each)),
        problem=data.problems(timed),
    )


def columns_of(processes: Sequence[Array], most: int = COLUMNS_DRAWN) -> Columns:
    """Cut inferences into columns of about as many each; none has two processes, unless there are very many.

    Args:
        processes: milliseconds, float64[n] of each process.
        most: about how many columns there may be; there is one for each process at least.
    """
    each = [values for values in processes if len(values)]
    if len(each) > PROCESSES:
        each = [np.concatenate(each)]
    total = sum(map(len, each))
    chunks = [
        chunk
        for values in each
        for chunk in np.array_split(values, min(max(round(most * len(values) / total), 1), len(values)))
    ]
    lengths = np.array([len(chunk) for chunk in chunks])
    middles = (np.cumsum(lengths) - lengths / 2) / total
    borders = np.cumsum([len(values) for values in each])[:-1] / total
    ends = np.array([_ends(chunk) for chunk in chunks])
    return Columns(x=middles, ends=ends, borders=tuple(borders.tolist()))


def _ends(values: Array) -> tuple[float, float, float]:
    middle = (len(values) - 1) // 2
    return float(values.min()), float(np.partition(values, middle)[middle]), float(values.max())


def _svg(drawn: Sequence[Durations]) -> str:
    columns = [columns_of(each.processes) for each in drawn]
    strip = min(max((HEIGHT + GAP) / len(drawn) - HEAD - GAP, SMALLEST_STRIP), LARGEST_STRIP)
    scale = up_axis([end for each in columns for end in each.ends[np.isfinite(each.ends)].tolist()], strip)
    height = len(drawn) * (HEAD + strip + GAP) - GAP
    x = Axis(low=0, high=1, length=LENGTH, is_log=False, ticks=())
    y = Axis(low=0, high=height, length=height, is_log=False, ticks=())
    layers = [layer for place, each in enumerate(drawn) for layer in _strip(place, each, columns[place], scale)]
    title = "ms, logarithmic" if scale.is_log else "ms"
    x_title = "in the order taken; │ a fresh process" if any(each.borders for each in columns) else "in the order taken"
    frame = Frame(x=x, y=y, left=LEFT, top=16, bottom=22)
    return draw(frame, layers, x_title=x_title, y_title=title, title=TITLE)


def _strip(place: int, each: Durations, columns: Columns, scale: Axis) -> Iterator[Layer]:
    top = place * (HEAD + scale.length + GAP) + HEAD
    number = each.number
    yield from _ground(number, top, scale, columns)
    x = (columns.x * LENGTH).tolist()
    pixels = [[top + scale.pixel(end) for end in ends] for ends in columns.ends.tolist()]
    bars = [[(at, low), (at, high)] for at, (low, _, high) in zip(x, map(_thickened, pixels), strict=True)]
    yield strokes(layer_name(number, "bars"), bars, stroke=color(number))
    if len(x) > 1:
        middle = [(at, end) for at, (_, end, _) in zip(x, pixels, strict=True)]
        yield strokes(layer_name(number, "medians"), [middle], stroke=paint("ink"), strokeWidth=1.2)
    lost = [at for at, end in zip(x, columns.ends[:, 2].tolist(), strict=True) if math.isinf(end)]
    if lost:
        above = [[(at, top + DROPPED_PX - 4), (at, top + DROPPED_PX)] for at in lost]
        yield strokes(layer_name(number, "dropped"), above, stroke=paint("limit"), strokeWidth=1.6)
    name = {**label(each.cell.name, 24), "x_px": 0, "y_px": top - 8}
    yield texts(number, [name], fill=color(number))
    said = {"text": _device_text(each.cell) or f"{each.count:,}", "x_px": LENGTH, "y_px": top - 8}
    yield texts(number, [said], align="right")


def _thickened(pixels: Sequence[float]) -> tuple[float, float, float]:
    """Return a column's ends, a little apart where they are the same: a line of no length cannot be seen."""
    low, middle, high = pixels
    return (low, middle, high) if low - high > 0.8 else (low + 0.4, middle, high - 0.4)


def _ground(number: int, top: float, scale: Axis, columns: Columns) -> Iterator[Layer]:
    """Yield a strip's scale, and where processes begin."""
    ends = [(scale.ticks[0], top + scale.length), (scale.ticks[-1], top + scale.pixel(scale.ticks[-1]))]
    written = [{"text": short(value), "x_px": -5, "y_px": at} for value, at in ends]
    lines = [[(0.0, at), (LENGTH, at)] for _, at in ends]
    grid = {"strokeWidth": 0.6, "strokeDash": [1, 3], "stroke": paint("grid")}
    yield strokes(layer_name(number, "grid"), lines, **grid)
    yield texts(number, written, align="right")
    if columns.borders:
        borders = [[(at * LENGTH, top - 2), (at * LENGTH, top + scale.length + 3)] for at in columns.borders]
        yield strokes(layer_name(number, "restarts"), borders, stroke=paint("ink-2"), strokeWidth=0.8)


def _device_text(cell: ReportCell) -> str:
    """Say how warm the device was and how fast it ran, before the samples and after them; "" where it did not say."""
    fingerprint = cell.entry.fingerprint
    states = (None, None) if fingerprint is None else (fingerprint.state_before, fingerprint.state_after)
    warm = [_highest(state.temperature_mc if state else [], 1000) for state in states]
    fast = [_lowest(state) for state in states]
    said = [_change(warm, "°C"), _change(fast, "MHz")]
    return ", ".join(filter(None, said))


def _highest(values: Sequence[int], unit: float) -> str:
    return f"{max(values) / unit:.0f}" if values else ""


def _lowest(state: BoardState | None) -> str:
    return f"{min(state.frequency_khz) / 1000:.0f}" if state and state.frequency_khz else ""


def _change(ends: Sequence[str], unit: str) -> str:
    before, after = ends
    if not before or not after:
        return f"{before or after} {unit}" if before or after else ""
    return f"{before} {unit}" if before == after else f"{before} → {after} {unit}"


def _seen(each: Durations) -> str:
    columns = columns_of(each.processes, 10)
    first, last = columns.ends[0, 1], columns.ends[-1, 1]
    slowest = int(np.argmax(each.values))
    place = f"after {slowest:,} of {each.count:,}"
    if math.isinf(each.values[slowest]):
        lost = int(np.isinf(each.values).sum())
        what = "has no answer to" if each.failed else "dropped"
        return f"{named(each.cell)} {what} {lost:,} of {each.count:,}, the first {place}."
    median = f"; its median begins at {short(first)} and ends at {short(last)} ms" if len(columns.x) > 1 else ""
    return f"{named(each.cell)}'s slowest, {short(each.values[slowest])} ms, came {place}{median}."


def _rows(each: Durations) -> Iterator[tuple[str, ...]]:
    device = _device_text(each.cell)
    for number, values in enumerate(each.processes[:PROCESSES], 1):
        if len(values):
            ends = [each.lost if math.isinf(end) else f"{end:.4g} ms" for end in _ends(values)]
            yield (each.cell.name, str(number), f"{len(values):,}", *ends, str(int(np.isinf(values).sum())), device)
