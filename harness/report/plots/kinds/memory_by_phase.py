"""Memory by phase: the process before the runtime, with it, with the model, after an inference, at its peak."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from ....evidence.schema import CheckEntry
from ..colors import paint
from ..data import SectionData, named, number_of
from ..drawing import WIDTH, Frame, Layer, draw, end_labels, line, points, room_for, rules, texts
from ..plot import Plot
from ..scale import Axis, short, up_axis
from ..series import color, layer_name, stroke

PLACE = 30
METRIC = "memory_peak_mib"
TITLE = "Memory by phase"
HEIGHT = 164
LEFT = 40
# As after_mib has them (docs/evidence.md), and as they are written at the axis.
PHASES = {"before_runtime": "before", "runtime": "runtime", "model": "model", "first": "inference"}
PEAK = "peak"


@dataclass(frozen=True, kw_only=True)
class Phases:
    """What a cell's process took.

    Attributes:
        number: the cell's place in its section.
        name: the backend.
        steps: the phase's place and MiB, of those that the evidence has; the peak comes last.
        check: the metric's check.
    """

    number: int
    name: str
    short_name: str
    steps: tuple[tuple[int, float], ...]
    check: CheckEntry


def plot(data: SectionData) -> Plot | None:
    """Draw the memory of all cells that measured it; None where none did."""
    cells = list(_measured(data))
    if not cells:
        return None
    limits = sorted({limit for each in cells if (limit := _limit(each)) is not None})
    return Plot(
        name="memory_by_phase",
        title=TITLE,
        description=" ".join(_seen(cells, limits)),
        svg=_svg(cells, limits),
        columns=("backend", *PHASES.values(), PEAK, "limit"),
        rows=tuple(map(_row, cells)),
    )


def _measured(data: SectionData) -> Iterator[Phases]:
    for number, cell in enumerate(data.section.cells):
        check = cell.check(METRIC)
        peak = number_of(None if check is None else check.value)
        if check is None or peak is None or not 0 <= peak < math.inf:
            continue
        after = (check.model_extra or {}).get("after_mib")
        found = [(place, _mib(after, phase)) for place, phase in enumerate(PHASES)]
        steps = tuple((place, mib) for place, mib in [*found, (len(PHASES), peak)] if mib is not None)
        yield Phases(number=number, name=cell.name, short_name=named(cell), steps=steps, check=check)


def _mib(after: object, phase: str) -> float | None:
    value = after.get(phase) if isinstance(after, dict) else None
    if type(value) not in (int, float):
        return None
    number = number_of(value)
    return number if number is not None and 0 <= number < math.inf else None


def _limit(each: Phases) -> float | None:
    limit = number_of(each.check.limit)
    return limit if limit is not None and 0 <= limit < math.inf else None


def _svg(cells: list[Phases], limits: list[float]) -> str:
    right = room_for([each.name for each in cells])
    last = len(PHASES)
    x = Axis(low=0, high=last, length=WIDTH - LEFT - right, is_log=False, ticks=())
    frame = Frame(x=x, y=up_axis([*(mib for each in cells for _, mib in each.steps), *limits], HEIGHT, log=False))
    layers = [*_phase_names(frame), *(layer for limit in limits for layer in _limit_layers(frame, limit))]
    for each in cells:
        steps = [(float(place), mib) for place, mib in each.steps]
        layers.append(line(layer_name(each.number, "line"), steps, **stroke(each.number)))
        dots = [{"x": place, "y": mib} for place, mib in steps]
        style = {"fill": color(each.number), "stroke": None, "filled": True, "size": 18}
        layers.append(points(layer_name(each.number, "dots"), dots, **style))
    layers += end_labels(frame, [(each.number, each.name, frame.y.pixel(each.steps[-1][1])) for each in cells])
    return draw(frame, layers, x_title="", y_title="MiB", title=TITLE)


def _phase_names(frame: Frame) -> Iterator[Layer]:
    """Write the phases below, every other one lower, for they are wider than what is between them."""
    names = [*PHASES.values(), PEAK]
    rows = [
        {"x": place, "y_px": frame.y.length + (12 if place % 2 == 0 else 25), "text": name}
        for place, name in enumerate(names)
    ]
    yield texts(None, rows, align="center")


def _limit_layers(frame: Frame, limit: float) -> Iterator[Layer]:
    yield rules("limit", [{"y": limit}], stroke=paint("limit"), strokeWidth=1.2)
    said = {"text": f"limit {short(limit)}", "x_px": 2, "y_px": frame.y.pixel(limit) - 7}
    yield texts(None, [said], fill=paint("limit"))


def _seen(cells: list[Phases], limits: list[float]) -> Iterator[str]:
    ordered = sorted(cells, key=lambda each: each.steps[-1][1])
    least, most = ordered[0], ordered[-1]
    if len(cells) > 1:
        yield f"{least.short_name} takes least, {short(least.steps[-1][1])} MiB at its peak"
        yield f"and {most.short_name} most, {short(most.steps[-1][1])} MiB."
    else:
        yield f"{most.short_name} takes {short(most.steps[-1][1])} MiB at its peak."
    growths = [
        (after - before, each.short_name, place)
        for each in cells
        for (_, before), (place, after) in zip(each.steps, each.steps[1:], strict=False)
    ]
    if growths and (largest := max(growths))[0] > 0:
        growth, name, place = largest
        where = [*PHASES.values(), PEAK][place]
        yield f"The largest step is {name}'s, {short(growth)} MiB up to the phase “{where}”."
    for limit in limits:
        over = [each.short_name for each in cells if _limit(each) == limit and each.steps[-1][1] > limit]
        yield f"The limit of {short(limit)} MiB is exceeded by {', '.join(over) or 'none'}."


def _row(each: Phases) -> tuple[str, ...]:
    mib = dict(each.steps)
    limit = _limit(each)
    shown = [f"{mib[place]:.4g} MiB" if place in mib else "" for place in range(len(PHASES) + 1)]
    return (each.name, *shown, "" if limit is None else f"≤ {limit:g} MiB")
