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

from ....evidence.entry import Figure
from ....model.model import Array
from ..colors import paint
from ..data import SectionData, number_of
from ..drawing import WIDTH, Frame, Layer, draw, end_labels, line, points, room_for, rules, texts
from ..durations import QUANTILES, SLOWEST, Durations
from ..plot import Plot
from ..scale import Axis, short, up_axis
from ..series import color, layer_name, stroke

PLACE = 10
TITLE = "Latency by quantile"
HEIGHT = 164
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
    description = " ".join([*map(_seen, drawn[:6]), *_limits_seen(data), *data.said_of(drawn)])
    return Plot(
        name="latency_by_quantile",
        title=TITLE,
        description=description or "Nothing is drawn.",
        svg=_svg(drawn, description) if drawn else None,
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
    judged = [math.ceil(count * quantile - 1e-9) + more for quantile in QUANTILES.values() for more in (0, 1)]
    wanted = np.concatenate([slowest, np.rint(along), judged, [1]]).astype(np.int64)
    kept: Array = np.unique(np.clip(wanted, 1, count))
    return kept


def _svg(drawn: Sequence[Durations], description: str) -> str:
    ordered = [np.sort(each.values) for each in drawn]
    limits = sorted({limit for each in drawn for limit in _limits(each)})
    finite = [value for values in ordered for value in values[np.isfinite(values)][[0, -1]].tolist()]
    bounds = [bound for each in drawn for _, _, *ends in _bounds(each) for bound in ends]
    frame = _frame(drawn, [*finite, *bounds, *(limit for _, limit in limits)], limits)
    layers = list(_limit_layers(frame, limits))
    ends = []
    for each, values in zip(drawn, ordered, strict=True):
        layers += _lines(frame, each.number, values)
        layers += _bound_layers(each)
        ends.append((each.number, each.cell.name, _end(frame, values)))
    layers += end_labels(frame, ends)
    title = "ms, logarithmic" if frame.y.is_log else "ms"
    return draw(frame, layers, x_title="one inference in …", y_title=title, description=description)


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
    return Frame(x=x, y=up_axis(values, HEIGHT))


def _lines(frame: Frame, number: int, values: Array) -> Iterator[Layer]:
    """Yield the line of what came to its end, its slowest, and above all the share that was dropped."""
    count, kept = len(values), ranks(len(values))
    x = count / (count - kept + 1.0)
    y = values[kept - 1]
    is_there = np.isfinite(y)
    corners = [(float(at), frame.y.within(float(value))) for at, value in zip(x[is_there], y[is_there], strict=True)]
    if corners and not is_there.all():  # up to where the first one is that was dropped
        corners.append((float(x[~is_there][0]), corners[-1][1]))
    if corners:
        yield line(layer_name(number, "line"), corners, interpolate="step-after", **stroke(number))
    if is_there.all():
        yield points(layer_name(number, "slowest"), [{"x": corners[-1][0], "y": corners[-1][1]}], **_dot(number))
    else:
        row = {"x": float(x[~is_there][0]), "x2": float(count), "y_px": -6}
        yield _above(number, row)
        yield texts("dropped", [{"text": "dropped", "x_px": -5, "y_px": -6}], align="right")


def _above(number: int, row: dict[str, float]) -> Layer:
    layer = rules(layer_name(number, "dropped"), [row], strokeWidth=3, **stroke(number))
    layer["encoding"]["y"] = {"field": "y_px", "type": "quantitative", "scale": None}
    return layer


def _dot(number: int) -> dict[str, object]:
    return {"fill": color(number), "stroke": None, "filled": True, "size": 16, "opacity": 1}


def _end(frame: Frame, values: Array) -> float:
    return frame.y.pixel(float(values[-1])) if math.isfinite(values[-1]) else -6.0


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
    style = {"shape": "stroke", "size": 40, "stroke": color(each.number), "strokeWidth": 1.2, "opacity": 1}
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
    tick = {"shape": "m0,0v-1", "size": 64, "stroke": paint("limit"), "strokeWidth": 1.2, "opacity": 1}
    yield points("limit_ends", corners, **tick)
    said = [
        {"x_px": 2, "y_px": frame.y.pixel(y) - 7, "text": f"limit {short(limit)} at {_quantile(x)}"}
        for (x, limit), (_, y) in zip(limits, ends, strict=True)
    ]
    yield texts("limit_texts", said, fill=paint("limit"))


def _quantile(x: float) -> str:
    return "all" if math.isinf(x) else f"p{100 * (1 - 1 / x):.4g}"


def _at(values: Array, quantile: float) -> float:
    return float(np.quantile(values, quantile, method="inverted_cdf"))


def _ms(value: float) -> str:
    return "dropped" if math.isinf(value) else f"{value:.4g} ms"


def _seen(each: Durations) -> str:
    values = each.values
    slowest, median = float(values.max()), _at(values, 0.5)
    if math.isinf(slowest):
        lost = int(np.isinf(values).sum())
        return f"{each.cell.name} dropped {lost:,} of {len(values):,}; its median is {_ms(median)}."
    times = f", {slowest / median:.2g} × its median" if median > 0 and len(values) > 1 else ""
    return f"{each.cell.name}'s slowest of {len(values):,} takes {_ms(slowest)}{times}."


def _limits_seen(data: SectionData) -> Iterator[str]:
    said = {"PASS": "kept by", "FAIL": "broken by", "INCONCLUSIVE": "open for"}
    for metric, x in _places():
        by_limit: dict[Figure, dict[str, list[str]]] = {}
        for cell in data.section.cells:
            check = cell.check(metric)
            if check is not None and check.limit is not None and str(check.verdict) in said:
                by_limit.setdefault(check.limit, {}).setdefault(said[str(check.verdict)], []).append(cell.name)
        for limit, by_verdict in by_limit.items():
            each = "; ".join(f"{verdict} {', '.join(names)}" for verdict, names in by_verdict.items())
            yield f"The limit of {limit:g} ms on {_quantile(x)} is {each}." if not isinstance(limit, str) else ""


def _row(each: Durations) -> tuple[str, ...]:
    values = np.sort(each.values)
    shown = [values[0], *(_at(values, quantile) for quantile in QUANTILES.values()), values[-1]]
    slowest = ", ".join(_ms(float(value)) for value in values[: -min(len(values), 10) - 1 : -1])
    return (each.cell.name, f"{len(values):,}", *(_ms(float(value)) for value in shown), slowest)
