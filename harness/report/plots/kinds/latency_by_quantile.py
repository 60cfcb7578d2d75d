"""Latency by quantile: how slow one inference in 2, in 10, in 100 … is, up to the slowest.

The axis along is 1 / (1 − q), logarithmic, as HdrHistogram has it: of a quantile it is the tail that matters. Every
corner of a line is a sample: of n sorted samples the k-th is the q-quantile for (k − 1) / n < q ≤ k / n, as
``harness.checks.quantiles.estimate`` has it, so it is drawn from n / (n − k + 1) to n / (n − k). The slowest ones
are all drawn; of the others as many as can be told apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from ....model.model import Array
from ..colors import paint
from ..data import SectionData, named, number_of
from ..drawing import WIDTH, Frame, Layer, draw, end_labels, line, points, room_for, rules, texts
from ..durations import QUANTILES, SLOWEST, Durations
from ..plot import Plot
from ..scale import Axis, short, up_axis
from ..series import color, layer_name, stroke

PLACE = 10
TITLE = "Latency by quantile"
HEIGHT = 164
# Where the share that was dropped is drawn, above all that can be said in milliseconds.
DROPPED_PX = -22.0
SLOWEST_DRAWN = 100
# Of the faster ones, at equal distances along the axis.
OTHERS_DRAWN = 130
COLUMNS = ("backend", "samples", "fastest", "p50", "p90", "p99", "p99.9", "slowest", "ten slowest")


def plot(data: SectionData) -> Plot | None:
    """Draw the latency of all cells that were timed; None where none was."""
    timed = data.durations
    if not timed:
        return None
    drawn = [each for each in timed if not each.problem]
    more = f"{len(drawn) - 6} more are in the table." if len(drawn) > 6 else ""
    said = [*map(_seen, drawn[:6]), more, *_limits_seen(data), *data.said_of(drawn)]
    description = " ".join(filter(None, said))
    return Plot(
        name="latency_by_quantile",
        title=TITLE,
        description=description or "Nothing is drawn.",
        svg=_svg(drawn) if drawn else None,
        columns=COLUMNS,
        rows=tuple(map(_row, drawn)),
        problem=data.problems(timed),
    )


def ranks(count: int) -> Array:
    """Return which order statistics are drawn, from 1 to count, int64[m], m ≤ 250.

    They are the slowest ones, those of the quantiles that have limits with their neighbours, and others at equal
    distances along the axis.
    """
    slowest = np.arange(max(count - SLOWEST_DRAWN, 0) + 1, count + 1)
    along = count + 1 - count / np.geomspace(1, count, OTHERS_DRAWN)
    judged = [rank_of(count, quantile) + more for quantile in QUANTILES.values() for more in (0, 1)]
    wanted = np.concatenate([slowest, np.rint(along), judged, [1]]).astype(np.int64)
    kept: Array = np.unique(np.clip(wanted, 1, count))
    return kept


def rank_of(count: int, quantile: float) -> int:
    """Return which order statistic a quantile is, from 1 to count: harness.checks.quantiles.estimate takes the same."""
    return max(math.ceil(round(count * quantile, 6)), 1)


def _svg(drawn: Sequence[Durations]) -> str:
    ordered = [each.ordered for each in drawn]
    limits = sorted({limit for each in drawn for limit in _limits(each)})
    finite = [float(end) for values in ordered for end in (values[0], values[np.isfinite(values)][-1:].max(initial=0))]
    bounds = [bound for each in drawn for _, _, *ends in _bounds(each) for bound in ends]
    frame = _frame(drawn, [*finite, *bounds, *(limit for _, limit in limits)], limits)
    layers = list(_limit_layers(frame, limits))
    if any(np.isinf(values).any() for values in ordered):
        text = " / ".join(dict.fromkeys(each.lost for each in drawn if np.isinf(each.values).any()))
        layers.append(texts(None, [{"text": text, "x_px": -frame.left, "y_px": DROPPED_PX}]))
    ends = []
    for each, values in zip(drawn, ordered, strict=True):
        layers += _lines(frame, each.number, values)
        layers += _bound_layers(each)
        ends.append((each.number, each.cell.name, _end(frame, values)))
    layers += end_labels(frame, ends)
    title = "ms, logarithmic" if frame.y.is_log else "ms"
    return draw(frame, layers, x_title="one inference in …", y_title=title, title=TITLE)


def _frame(drawn: Sequence[Durations], values: Sequence[float], limits: Sequence[tuple[float, float]]) -> Frame:
    right = room_for([each.cell.name for each in drawn])
    counts = [float(len(each.values)) for each in drawn]
    bounded = [x for each in drawn for _, x, *_ in _bounds(each)]
    farthest = max([10.0, *counts, *bounded, *(x for x, _ in limits if math.isfinite(x))])
    powers = range(math.floor(math.log10(farthest)) + 1)
    labels = tuple(short(10.0**power) for power in powers)
    x = Axis(
        low=1,
        high=farthest,
        length=WIDTH - 40 - right,
        is_log=True,
        ticks=tuple(10.0**p for p in powers),
        labels=labels,
    )
    is_any_dropped = any(np.isinf(each.values).any() for each in drawn)
    return Frame(x=x, y=up_axis(values, HEIGHT), top=46 if is_any_dropped else 22)


def corners_of(values: Array) -> list[tuple[float, float]]:
    """Return the corners of the line through some order statistics: one in how many, and how long it took.

    Between neighbours it is a step, as it truly is; where others were left out, a straight line from one to the next.

    Args:
        values: sorted, float64[n]; those that are infinite have no corner.
    """
    count, kept = len(values), ranks(len(values))
    corners: list[tuple[float, float]] = []
    before = 0
    for rank, value in zip(kept.tolist(), values[kept - 1].tolist(), strict=True):
        x = count / (count - rank + 1)
        if math.isinf(value):
            return [*corners, *((count / int(np.isinf(values).sum()), last) for _, last in corners[-1:])]
        if rank == before + 1 and corners and (value != corners[-1][1] or rank == count):
            corners.append((x, corners[-1][1]))
        if not corners or value != corners[-1][1] or rank != before + 1:
            corners.append((x, value))
        before = rank
    return corners


def _lines(frame: Frame, number: int, values: Array) -> Iterator[Layer]:
    """Yield the line of what came to its end, its slowest, and above all the share that was dropped."""
    count, dropped = len(values), int(np.isinf(values).sum())
    corners = [(x, frame.y.within(value)) for x, value in corners_of(values)]
    if corners:
        yield line(layer_name(number, "line"), corners, **stroke(number))
    if not dropped:
        yield points(layer_name(number, "slowest"), [{"x": corners[-1][0], "y": corners[-1][1]}], **_dot(number))
    else:
        row = {"x": count / dropped, "x2": float(count), "y_px": DROPPED_PX}
        yield rules(layer_name(number, "dropped"), [row], strokeWidth=3, **stroke(number))
    if count < frame.x.high:  # to the name, which stands at the right
        row = {"x": float(count), "x2": frame.x.high, "y_px": _end(frame, values)}
        yield rules(layer_name(number, "lead"), [row], stroke=color(number), strokeWidth=0.7, strokeDash=[1, 3])


def _dot(number: int) -> dict[str, object]:
    return {"fill": color(number), "stroke": None, "filled": True, "size": 16}


def _end(frame: Frame, values: Array) -> float:
    return frame.y.pixel(float(values[-1])) if math.isfinite(values[-1]) else DROPPED_PX


def _limits(each: Durations) -> Iterator[tuple[float, float]]:
    """Yield the limits: one in how many, and milliseconds."""
    for metric, x in _places():
        check = each.cell.check(metric)
        limit = number_of(None if check is None else check.limit)
        if limit is not None and math.isfinite(limit) and limit >= 0:
            yield x, limit


def _places() -> list[tuple[str, float]]:
    return [*((metric, round(1 / (1 - q), 6)) for metric, q in QUANTILES.items()), (SLOWEST, math.inf)]


def _bounds(each: Durations) -> Iterator[tuple[str, float, float, float]]:
    """Yield of each judged quantile its metric, one in how many, and both bounds in milliseconds."""
    for metric, x in _places():
        check = each.cell.check(metric)
        if check is None or not math.isfinite(x) or not _is_drawn(each, (check.model_extra or {}).get("content")):
            continue
        high = number_of(check.bound)
        low = number_of(check.bound_low)
        value = number_of(check.value)
        found = [end for end in (low, value, high) if end is not None and math.isfinite(end) and end >= 0]
        if found and (low is not None or high is not None):
            yield metric, x, min(found), max(found)


def _is_drawn(each: Durations, content: object) -> bool:
    return not each.content or content == each.content


def _bound_layers(each: Durations) -> list[Layer]:
    rows = [{"x": x, "y": low, "y2": high} for _, x, low, high in _bounds(each)]
    if not rows:
        return []
    ends = [{"x": row["x"], "y": row[key]} for row in rows for key in ("y", "y2")]
    style = {"shape": "stroke", "size": 40, "stroke": color(each.number), "strokeWidth": 1.2}
    return [
        rules(layer_name(each.number, "bounds"), rows, stroke=color(each.number), strokeWidth=1),
        points(layer_name(each.number, "ends"), ends, **style),
    ]


def _limit_layers(frame: Frame, limits: Sequence[tuple[float, float]]) -> Iterator[Layer]:
    """Yield each limit as a ceiling: whoever keeps it passes below its right end."""
    if not limits:
        return
    ends = [(frame.x.within(x), frame.y.within(limit)) for x, limit in limits]
    rows = [{"x": 1, "x2": x, "y": y} for x, y in ends]
    yield rules("limits", rows, stroke=paint("limit"), strokeWidth=1.2)
    corners = [{"x": x, "y": y} for x, y in ends]
    tick = {"shape": "m0,0v-1", "size": 64, "stroke": paint("limit"), "strokeWidth": 1.2}
    yield points("limit_ends", corners, **tick)
    said = [
        {"x_px": 2, "y_px": frame.y.pixel(y) - 7, "text": f"limit {short(limit)} at {_quantile(x)}"}
        for (x, limit), (_, y) in zip(limits, ends, strict=True)
    ]
    yield texts(None, said, fill=paint("limit"))


def _quantile(x: float) -> str:
    return "all" if math.isinf(x) else f"p{100 * (1 - 1 / x):.4g}"


def _at(values: Array, quantile: float) -> float:
    return float(values[rank_of(len(values), quantile) - 1])


def _ms(value: float, lost: str = "dropped") -> str:
    return lost if math.isinf(value) else f"{value:.4g} ms"


def _seen(each: Durations) -> str:
    values = each.ordered
    slowest, median = float(values[-1]), _at(values, 0.5)
    if math.isinf(slowest):
        lost = int(np.isinf(values).sum())
        what = (
            f"dropped {lost:,} of {len(values):,}"
            if not each.failed
            else f"has no answer to {lost:,} of {len(values):,}"
        )
        return f"{named(each.cell)} {what}; its median is {_ms(median, each.lost)}."
    ratio = slowest / median if median > 0 else 0.0
    times = f", {ratio:,.{0 if ratio >= 10 else 1}f} × its median" if ratio and len(values) > 1 else ""
    return f"{named(each.cell)}'s slowest of {len(values):,} takes {_ms(slowest)}{times}."


def _limits_seen(data: SectionData) -> Iterator[str]:
    said = {"PASS": "kept by", "FAIL": "broken by", "INCONCLUSIVE": "open for"}
    for metric, x in _places():
        found: dict[float, dict[str, list[str]]] = {}
        for cell in data.section.cells:
            check = cell.check(metric)
            limit = number_of(None if check is None else check.limit)
            if check is not None and limit is not None and check.verdict in said:
                found.setdefault(limit, {}).setdefault(said[check.verdict], []).append(named(cell))
        for limit, by_verdict in found.items():
            each = (f"{verdict} {_listed(names, len(data.section.cells))}" for verdict, names in by_verdict.items())
            yield f"The limit of {short(limit)} ms on {_quantile(x)} is {'; '.join(each)}."


def _listed(names: Sequence[str], cells: int) -> str:
    return f"all {cells}" if len(names) == cells > 2 else ", ".join(names)


def _row(each: Durations) -> tuple[str, ...]:
    values = each.ordered
    shown = [values[0], *(_at(values, quantile) for quantile in QUANTILES.values()), values[-1]]
    slowest = ", ".join(_ms(float(value), each.lost) for value in values[: -min(len(values), 10) - 1 : -1])
    return (each.cell.name, f"{len(values):,}", *(_ms(float(value), each.lost) for value in shown), slowest)
