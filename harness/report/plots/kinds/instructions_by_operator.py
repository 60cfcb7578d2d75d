"""Instructions by operator: where each backend's instructions go, as the runtime's own profiler has it (--profile)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..colors import paint
from ..data import SectionData, named
from ..drawing import WIDTH, Frame, Layer, draw, strokes, texts
from ..plot import Plot
from ..scale import Axis
from ..series import color, label, layer_name, shortened

PLACE = 60
METRIC = "instructions_per_inference"
TITLE = "Instructions by operator"
# Of a backend, the most costly ones; of a section, so many backends.
SHOWN, BACKENDS = 5, 6
# In the table.
LISTED = 20
HEAD, ROW, GAP = 16.0, 14.0, 6.0
LEFT = 112.0


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A cell's operators of one kind taken together, the most costly first: (operator, calls, share)."""

    number: int
    name: str
    short_name: str
    operators: tuple[tuple[str, int, float], ...]


def plot(data: SectionData) -> Plot | None:
    """Draw the profiles of all cells that have one; None where none has."""
    profiles = list(_profiles(data))
    if not profiles:
        return None
    shown = profiles[:BACKENDS]
    more = f"{len(profiles) - BACKENDS} more backends are in the table alone." if len(profiles) > BACKENDS else ""
    return Plot(
        name="instructions_by_operator",
        title=TITLE,
        description=" ".join(filter(None, [*map(_seen, shown), more])),
        svg=_svg(shown),
        columns=("backend", "operator", "calls", "share of its instructions"),
        rows=tuple(row for each in profiles for row in _rows(each)),
    )


def _profiles(data: SectionData) -> Iterator[Profile]:
    for number, cell in enumerate(data.section.cells):
        check = cell.check(METRIC)
        listed = None if check is None else (check.model_extra or {}).get("operators")
        kinds: dict[str, tuple[int, float]] = {}
        for entry in listed if isinstance(listed, list) else ():
            if not isinstance(entry, dict):
                continue
            kind, calls, share = entry.get("operator"), entry.get("calls"), entry.get("share")
            if isinstance(kind, str) and isinstance(share, int | float) and 0 <= share <= 1:
                before = kinds.get(kind, (0, 0.0))
                kinds[kind] = before[0] + (calls if type(calls) is int else 0), before[1] + float(share)
        if kinds:
            ordered = sorted(
                ((kind, *counted) for kind, counted in kinds.items()), key=lambda each: (-each[2], each[0])
            )
            yield Profile(number=number, name=cell.name, short_name=named(cell), operators=tuple(ordered))


def _svg(shown: Sequence[Profile]) -> str:
    heights = [HEAD + ROW * min(len(each.operators), SHOWN) + GAP for each in shown]
    height = sum(heights) - GAP
    most = max(share for each in shown for *_, share in each.operators[:1])
    top = next(end for end in (0.1, 0.2, 0.5, 1.0, math.inf) if most <= end)
    top = most if math.isinf(top) else top
    length = WIDTH - LEFT - 40
    ticks = (0.0, top / 2, top)
    x = Axis(
        low=0, high=top, length=length, is_log=False, ticks=ticks, labels=tuple(f"{100 * tick:g} %" for tick in ticks)
    )
    frame = Frame(x=x, y=Axis(low=0, high=height, length=height, is_log=False, ticks=()), left=LEFT, top=6)
    layers = [layer for place, each in enumerate(shown) for layer in _bars(frame, each, sum(heights[:place]))]
    return draw(frame, layers, x_title="share of its instructions", y_title="", title=TITLE)


def _bars(frame: Frame, each: Profile, top: float) -> Iterator[Layer]:
    name = {**label(each.name, 30), "x_px": -LEFT, "y_px": top + HEAD / 2}
    yield texts(each.number, [name], fill=color(each.number))
    shown = each.operators[:SHOWN]
    rows = [(place, top + HEAD + ROW * (place + 0.5)) for place in range(len(shown))]
    lines = [[(0.0, y), (max(frame.x.pixel(shown[place][2]), 0.5), y)] for place, y in rows]
    yield strokes(layer_name(each.number, "bars"), lines, stroke=color(each.number), strokeWidth=7)
    kinds = [{**label(shown[place][0], 16), "x_px": -5, "y_px": y} for place, y in rows]
    yield texts(each.number, kinds, align="right", fill=paint("ink"))
    shares = [
        {"text": f"{100 * shown[place][2]:.2g} %", "x_px": line[1][0] + 4, "y_px": line[1][1]}
        for (place, _), line in zip(rows, lines, strict=True)
    ]
    yield texts(each.number, shares)


def _seen(each: Profile) -> str:
    kind, calls, share = each.operators[0]
    return f"{each.short_name} spends {100 * share:.3g} % in {shortened(kind, 40)} ({calls:,} calls)."


def _rows(each: Profile) -> Iterator[tuple[str, ...]]:
    for kind, calls, share in each.operators[:LISTED]:
        yield each.name, kind, f"{calls:,}", f"{100 * share:.3g} %"
