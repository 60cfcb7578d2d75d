"""Drawing: marks on two axes, as a Vega-Lite specification, made an SVG by vl-convert and cleaned.

A plot is as wide as the narrowest screen that is served, 320 pixels without the page's margins, and is never shrunk:
so its text stays readable. Axes are marks as any others, for Vega's own would hide labels by the width of fonts that
this machine happens to have.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...printable import printable
from .cleaning import clean, tag
from .colors import paint
from .scale import Axis, spread
from .series import color, label, shortened

WIDTH = 300
TEXT_PX = 11
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
# What a sign takes on average, in pixels: for margins, not for what must be exact.
SIGN_PX = 6.6
LINE_PX = 12

Layer = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Where a plot's axes lie.

    Attributes:
        x: the axis along.
        y: the axis upwards.
        left: pixels left of the axes; top, bottom: above and below them. What is right of them is what WIDTH leaves.
    """

    x: Axis
    y: Axis
    left: float = 40
    top: float = 22
    bottom: float = 34

    @property
    def right(self) -> float:
        """Pixels right of the axes."""
        return WIDTH - self.left - self.x.length


def room_for(names: Sequence[str]) -> float:
    """Return how many pixels names take that stand at the right of a plot."""
    return min(max((len(shortened(name)) for name in names), default=0) * SIGN_PX + 8, 107)


def line(name: str, points: Sequence[tuple[float, float]], **mark: Any) -> Layer:
    """Make a layer of one line through points, (x, y) each."""
    rows = [{"x": x, "y": y, "i": place} for place, (x, y) in enumerate(points)]
    order = {"field": "i", "type": "quantitative"}
    return {
        "name": name,
        "data": {"values": rows},
        "mark": {"type": "line", "aria": False, "fill": None, "strokeWidth": 1.5, "strokeJoin": "round", **mark},
        "encoding": {"x": _field("x"), "y": _field("y"), "order": order},
    }


def strokes(name: str, lines: Sequence[Sequence[tuple[float, float]]], **mark: Any) -> Layer:
    """Make a layer of many lines that is one path: as many elements as lines cost a page.

    Args:
        name: the layer's.
        lines: points, in pixels along, and on the axis upwards: Vega sees where a line ends by a scale alone.
        mark: further properties.
    """
    rows: list[dict[str, float | None]] = []
    for points in lines:
        rows += [{"x": x, "y": y, "i": len(rows) + place} for place, (x, y) in enumerate(points)]
        rows.append({"x": points[-1][0], "y": None, "i": len(rows)})
    pixels = {"type": "quantitative", "scale": None}
    order = {"field": "i", "type": "quantitative"}
    style = {"type": "line", "aria": False, "fill": None, "invalid": "break-paths-filter-domains", "strokeWidth": 1}
    encoding = {"x": {"field": "x", **pixels}, "y": _field("y"), "order": order}
    return {"name": name, "data": {"values": rows[:-1]}, "mark": {**style, **mark}, "encoding": encoding}


def rules(name: str, rows: Rows, **mark: Any) -> Layer:
    """Make a layer of straight lines, each from (x, y) to (x2, y2); what is not in the rows goes through all.

    With ``y_px``, and ``y2_px`` where it is another, they lie at pixels.
    """
    has = frozenset(rows[0] if rows else ())
    encoding: dict[str, Any] = {key: _field(key) for key in ("x", "y") if key in has}
    if "y_px" in has:
        encoding["y"] = {"field": "y_px", "type": "quantitative", "scale": None}
    encoding |= {key[:2]: {"field": key} for key in ("x2", "y2", "y2_px") if key in has}
    return {
        "name": name,
        "data": {"values": list(rows)},
        "mark": {"type": "rule", "aria": False, **mark},
        "encoding": encoding,
    }


def points(name: str, rows: Rows, **mark: Any) -> Layer:
    """Make a layer of points at ``x`` and ``y``, or in pixels at ``x_px`` and ``y_px``."""
    style = {"type": "point", "aria": False, "opacity": 1}
    encoding = {axis: _place(axis, rows) for axis in "xy"}
    return {"name": name, "data": {"values": list(rows)}, "mark": {**style, **mark}, "encoding": encoding}


def texts(cell: int | None, rows: Rows, *, align: str = "left", fill: str = "", size: int = TEXT_PX) -> Layer:
    """Make a layer of texts: ``text`` at ``x`` and ``y``, or in pixels at ``x_px`` and ``y_px``.

    Args:
        cell: the number of the cell that they are of; None of what belongs to all.
        rows: all with the same keys. ``whole`` is what a shortened text stands for.
        align: on which side of the place the text is: it begins at "left", ends at "right", or "center".
        fill: its colour.
        size: of its signs, in pixels.
    """
    more = {"fill": fill or paint("ink-2")}
    # An SVG is XML, which may not hold everything: an escape, for one, would end the drawing.
    shown = [{key: printable(each) if isinstance(each, str) else each for key, each in row.items()} for row in rows]
    tagged = [{**row, **more, "tag": tag(cell, str(row.get("whole", "")))} for row in shown]
    places = {axis: _place(axis, rows) for axis in "xy"}
    given = {"fill": {"field": "fill", "scale": None}, "description": {"field": "tag"}}
    mark = {"type": "text", "fontSize": size, "align": align, "baseline": "middle"}
    encoding = {"text": {"field": "text"}, **places, **given}
    return {"data": {"values": tagged}, "mark": mark, "encoding": encoding}


def end_labels(frame: Frame, ends: Sequence[tuple[int, str, float]]) -> list[Layer]:
    """Write names right of the axes, each as near to its line's end as the others let it be.

    Args:
        frame: the plot's.
        ends: of each the cell's number, its name, and where its line ends on the axis upwards, in pixels.
    """
    fitting = ends[: int(frame.y.length // LINE_PX)]
    places = spread([at for _, _, at in fitting], LINE_PX, min([0.0, *(at for _, _, at in fitting)]), frame.y.length)
    layers = []
    for (number, name, _), place in zip(fitting, places, strict=True):
        row = {**label(name), "x_px": frame.x.length + 7, "y_px": place}
        layers.append(texts(number, [row], fill=color(number)))
    return layers


def draw(frame: Frame, layers: Sequence[Layer], *, x_title: str, y_title: str, title: str) -> str:
    """Draw a plot.

    Args:
        frame: where its axes lie.
        layers: what is drawn, the first below all others.
        x_title: what the axis along shows.
        y_title: what the axis upwards shows, and in which unit.
        title: what it shows, for who cannot see it.

    Returns:
        An ``<svg>`` element.

    Raises:
        ValueError: Vega cannot draw it.
    """
    import vl_convert  # 0.4 s and 84 MB, which nobody needs who draws nothing

    axes = [*_y_axis(frame, y_title), *_x_axis(frame, x_title)]
    spec = {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "width": frame.x.length,
        "height": frame.y.length,
        "autosize": {"type": "none"},
        "padding": {"left": frame.left, "right": frame.right, "top": frame.top, "bottom": frame.bottom},
        "background": None,
        "config": {"view": {"stroke": None}, "font": FONT},
        "resolve": {"scale": {"x": "shared", "y": "shared"}},
        "layer": _merged([*axes, *layers]),
    }
    _set_scales(spec["layer"], frame)
    return clean(vl_convert.vegalite_to_svg(spec, allowed_base_urls=[]), title)


def _merged(layers: Sequence[Layer]) -> list[Layer]:
    """Make one layer of all texts that are placed alike, above all others: each layer costs Vega some milliseconds."""
    drawn = [layer for layer in layers if layer["mark"]["type"] != "text"]
    alike: dict[str, Layer] = {}
    for layer in layers:
        if layer["mark"]["type"] == "text":
            first = alike.setdefault(json.dumps([layer["mark"], layer["encoding"]]), layer)
            if first is not layer:
                first["data"]["values"] += layer["data"]["values"]
    return [*drawn, *({**layer, "name": f"texts_{place}"} for place, layer in enumerate(alike.values()))]


def _field(name: str) -> dict[str, Any]:
    return {"field": name, "type": "quantitative", "axis": None}


def _place(axis: str, rows: Rows) -> dict[str, Any]:
    if rows and f"{axis}_px" in rows[0]:
        return {"field": f"{axis}_px", "type": "quantitative", "scale": None}
    return _field(axis)


def _set_scales(layers: Any, frame: Frame) -> None:
    for layer in layers:
        for key, axis in (("x", frame.x), ("y", frame.y)):
            channel = layer["encoding"].get(key)
            if channel is not None and "scale" not in channel:
                channel["scale"] = axis.scale


def _y_axis(frame: Frame, title: str) -> list[Layer]:
    written = frame.y.written()
    ticks = [{"y": value, "text": text, "x_px": -5} for value, text in written]
    head = {"text": title, "x_px": -frame.left, "y_px": 8 - frame.top}
    grid = {"strokeWidth": 0.6, "strokeDash": [1, 3], "stroke": paint("grid")}
    shown = [rules("grid", [{"y": value} for value, _ in written], **grid), texts(None, ticks, align="right")]
    return [*(shown if written else ()), *([texts(None, [head])] if title else ())]


def _x_axis(frame: Frame, title: str) -> list[Layer]:
    written = frame.x.written()
    below = frame.y.length
    ticks = [{"x": value, "text": text, "y_px": below + 12} for value, text in written]
    head = {"text": title, "x_px": frame.x.length, "y_px": below + (26 if written else 11)}
    marks = [{"x": value, "y_px": below, "y2_px": below + 4} for value, _ in written]
    shown = [rules("x_marks", marks, stroke=paint("grid"), strokeWidth=1), texts(None, ticks, align="center")]
    return [*(shown if written else ()), *([texts(None, [head], align="right")] if title else ())]
