"""The first two preferred metrics against each other: which backends nothing beats in both, and which is taken.

A backend is on the Pareto front when no other one that may be taken is as good in both metrics, and better in one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ....evidence.entry import Figure
from ....evidence.schema import CheckEntry
from ..colors import paint
from ..data import SectionData, named, number_of
from ..drawing import WIDTH, Frame, Layer, draw, end_labels, line, points, room_for, rules, texts
from ..plot import Plot
from ..scale import Axis, short, up_axis
from ..series import color, layer_name

PLACE = 40
HEIGHT = 164
LEFT = 40


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A cell with both metrics.

    Attributes:
        number: the cell's place in its section.
        is_out: whether a check puts it out, whatever it costs.
        at: what was judged of both metrics.
    """

    number: int
    name: str
    short_name: str
    is_out: bool
    at: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two metrics, the candidates that have them, and the limits on them.

    Attributes:
        metrics: both names, the first one along.
        units: both units.
        is_higher_better: of both.
        limits: of both, those that were set.
        without: the names of cells that lack one of them.
    """

    metrics: tuple[str, str]
    units: tuple[str, str]
    is_higher_better: tuple[bool, bool]
    candidates: tuple[Candidate, ...]
    limits: tuple[tuple[float, ...], tuple[float, ...]]
    without: tuple[str, ...]


def plot(data: SectionData) -> Plot | None:
    """Draw the first two preferred metrics that the evidence has; None where it has no two, or of one cell only."""
    pair = _pair(data)
    if pair is None or len(pair.candidates) < 2:
        return None
    front = pareto_front(pair)
    taken = data.section.decision.taken
    return Plot(
        name="preferred",
        title=_title(pair),
        description=" ".join(_seen(pair, front, taken)),
        svg=_svg(pair, front, taken),
        columns=("backend", *pair.metrics, "Pareto front", "decision"),
        rows=tuple(_row(each, pair, front, taken) for each in pair.candidates),
    )


def pareto_front(pair: Pair) -> list[Candidate]:
    """Return the candidates that no other one beats, the best in the first metric first.

    Those that are out neither are on it nor beat another.
    """
    fair = [each for each in pair.candidates if not each.is_out]
    signs = [-1 if higher else 1 for higher in pair.is_higher_better]
    costs = {each.number: tuple(sign * at for sign, at in zip(signs, each.at, strict=True)) for each in fair}

    def is_beaten(one: Candidate) -> bool:
        cost = costs[one.number]
        return any(
            other != cost and all(mine >= theirs for mine, theirs in zip(cost, other, strict=True))
            for other in costs.values()
        )

    return sorted((each for each in fair if not is_beaten(each)), key=lambda each: costs[each.number])


def _title(pair: Pair) -> str:
    return f"{pair.metrics[1]} against {pair.metrics[0]}"


def _pair(data: SectionData) -> Pair | None:
    cells = data.section.cells
    had = [
        metric
        for metric in data.section.decision.prefer
        if sum(_judged(cell.check(metric)) is not None for cell in cells) > 1
    ]
    if len(had) < 2:
        return None
    one, other = had[:2]
    candidates, without = [], []
    for number, cell in enumerate(cells):
        first, second = (_judged(cell.check(metric)) for metric in (one, other))
        if first is None or second is None:
            without.append(named(cell))
            continue
        is_out = cell.name not in data.section.decision.order
        candidates.append(
            Candidate(number=number, name=cell.name, short_name=named(cell), is_out=is_out, at=(first, second))
        )
    checks = [[check for cell in cells if (check := cell.check(metric)) is not None] for metric in (one, other)]
    limits = [sorted({limit for check in each if (limit := _finite(check.limit)) is not None}) for each in checks]
    return Pair(
        metrics=(one, other),
        units=(checks[0][0].unit, checks[1][0].unit),
        is_higher_better=(checks[0][0].better == "higher", checks[1][0].better == "higher"),
        candidates=tuple(candidates),
        limits=(tuple(limits[0]), tuple(limits[1])),
        without=tuple(without),
    )


def _judged(check: CheckEntry | None) -> float | None:
    """Return the bound, by which backends are ranked; the value where there is none."""
    if check is None:
        return None
    bound = _finite(check.bound)
    return bound if bound is not None else _finite(check.value)


def _finite(figure: Figure | None) -> float | None:
    number = number_of(figure)
    return number if number is not None and 0 <= number < math.inf else None


def _svg(pair: Pair, front: Sequence[Candidate], taken: str | None) -> str:
    right = room_for([each.name for each in pair.candidates])
    firsts = [*(each.at[0] for each in pair.candidates), *pair.limits[0]]
    up = up_axis(firsts, WIDTH - LEFT - right)
    x = Axis(low=up.low, high=up.high, length=up.length, is_log=up.is_log, ticks=up.ticks[:: 1 + len(up.ticks) // 5])
    y = up_axis([*(each.at[1] for each in pair.candidates), *pair.limits[1]], HEIGHT)
    frame = Frame(x=x, y=y, top=34)
    layers = [*_ground(pair, front), *_limit_texts(frame, pair)]
    for each in pair.candidates:
        layers += _marks(frame, each, each.name == taken)
    layers += end_labels(frame, [(each.number, each.name, y.pixel(each.at[1])) for each in pair.candidates])
    titles = [
        f"{metric}{', logarithmic' if axis.is_log else ''}" for metric, axis in zip(pair.metrics, (x, y), strict=True)
    ]
    return draw(frame, layers, x_title=titles[0], y_title=titles[1], title=_title(pair))


def _ground(pair: Pair, front: Sequence[Candidate]) -> Iterator[Layer]:
    style = {"stroke": paint("limit"), "strokeWidth": 1.2}
    if pair.limits[0]:
        yield rules("limits_along", [{"x": limit} for limit in pair.limits[0]], **style)
    if pair.limits[1]:
        yield rules("limits_up", [{"y": limit} for limit in pair.limits[1]], **style)
    if len(front) > 1:
        yield line("front", [each.at for each in front], stroke=paint("ink-2"), strokeWidth=0.8, strokeDash=[4, 2])


def _limit_texts(frame: Frame, pair: Pair) -> Iterator[Layer]:
    """Say which lines are limits: beside the lowest of each metric, on whichever side there is room."""
    fill = paint("limit")
    for limit in pair.limits[0][:1]:
        at = frame.x.pixel(limit)
        align, step = ("right", -3) if at > frame.x.length / 2 else ("left", 3)
        yield texts(None, [{"text": f"limit {short(limit)}", "x_px": at + step, "y_px": -7}], align=align, fill=fill)
    for limit in pair.limits[1][:1]:
        yield texts(None, [{"text": f"limit {short(limit)}", "x_px": 2, "y_px": frame.y.pixel(limit) - 7}], fill=fill)


def _marks(frame: Frame, each: Candidate, is_taken: bool) -> Iterator[Layer]:
    row = {"x": each.at[0], "y": each.at[1]}
    lead = {"x": each.at[0], "x2": frame.x.high, "y": each.at[1]}
    yield rules(layer_name(each.number, "lead"), [lead], stroke=color(each.number), strokeWidth=0.7, strokeDash=[1, 3])
    filled = {"fill": color(each.number), "stroke": None, "filled": True}
    hollow = {"stroke": color(each.number), "strokeWidth": 1.5, "filled": False, "shape": "cross"}
    yield points(layer_name(each.number, "point"), [row], size=34, **(hollow if each.is_out else filled))
    if is_taken:
        ring = {"filled": False, "stroke": color(each.number), "strokeWidth": 1.5}
        yield points(layer_name(each.number, "ring"), [row], size=130, **ring)


def _seen(pair: Pair, front: Sequence[Candidate], taken: str | None) -> Iterator[str]:
    words = ["higher" if higher else "lower" for higher in pair.is_higher_better]
    better = (
        f"{words[0]} is better in both" if words[0] == words[1] else f"{words[0]} is better along, {words[1]} upwards"
    )
    names = ", ".join(each.short_name for each in front)
    if front:
        yield f"No backend that is not out beats {names} in both ({better}): the Pareto front."
    else:
        yield "All backends are out."
    found = next((each for each in pair.candidates if each.name == taken), None)
    if found is not None:
        where = "on it" if found in front else "not on it, for others are better by less than counts"
        yield f"{found.short_name}, ringed, is taken; it is {where}."
    if out := [each.short_name for each in pair.candidates if each.is_out]:
        yield f"Drawn as a cross, for a check puts it out: {', '.join(out)}."
    if pair.without:
        yield f"Not drawn, for it lacks one of the two: {', '.join(pair.without[:6])}."


def _row(each: Candidate, pair: Pair, front: Sequence[Candidate], taken: str | None) -> tuple[str, ...]:
    shown = [f"{short(at)} {unit}".strip() for at, unit in zip(each.at, pair.units, strict=True)]
    decided = "out" if each.is_out else "taken" if each.name == taken else ""
    return (each.name, *shown, "yes" if each in front else "no", decided)
