"""Reading an SVG as a person does who has a ruler: lines in pixels, and axes by what is written at their ticks."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np

from harness.model.model import Array

SVG = "{http://www.w3.org/2000/svg}"
POWERS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
TEXT_PX = 4.0  # from the middle of a text's line to its foot, at most


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A line: its corners in pixels, float64[n, 2], its colour, and the class of the group that it is in."""

    corners: Array
    stroke: str
    group: str


@dataclass(frozen=True, kw_only=True)
class Ruler:
    """An axis, as its ticks have it: pixel = begin + rate × value, or × log10(value)."""

    begin: float
    rate: float
    is_log: bool

    def pixel(self, value: float) -> float:
        """Return where a value belongs."""
        return self.begin + self.rate * (math.log10(value) if self.is_log else value)

    def value(self, pixel: float) -> float:
        """Return which value lies at a pixel."""
        value = (pixel - self.begin) / self.rate
        return 10**value if self.is_log else value


@dataclass(frozen=True, kw_only=True)
class Text:
    """A text, and where it is written."""

    text: str
    x: float
    y: float
    group: str


def parse(svg: str) -> ElementTree.Element:
    """Parse an SVG of ours."""
    return ElementTree.fromstring(svg)  # noqa: S314


def shapes(svg: str) -> list[Shape]:
    """Return all lines, of paths and of rules."""
    found = []
    for element, group in _walk(parse(svg), ""):
        kind = element.tag.removeprefix(SVG)
        offset = _offset(element)
        if kind == "path" and "A" not in element.attrib["d"]:
            corners = _corners(element.attrib["d"])
        elif kind == "line":
            corners = np.array([[float(element.get(f"{axis}{end}", 0)) for axis in "xy"] for end in "12"])
        else:
            continue
        found.append(Shape(corners=corners + offset, stroke=element.get("stroke", ""), group=group))
    return found


def texts(svg: str) -> list[Text]:
    """Return all texts."""
    found = []
    for element, group in _walk(parse(svg), ""):
        if element.tag == f"{SVG}text":
            x, y = _offset(element)
            text = "".join(element.itertext()) if len(element) == 0 else str(element[0].tail)
            found.append(Text(text=text, x=float(x), y=float(y), group=group))
    return found


def rulers(svg: str) -> tuple[Ruler, Ruler]:
    """Read both axes off their ticks: grid lines with numbers at their left, ticks with numbers below."""
    grid = [shape.corners for shape in shapes(svg) if "--grid" in shape.stroke and not shape.group]
    written = [text for text in texts(svg) if not text.group]
    along = sorted(float(corners[0, 0]) for corners in grid if corners[0, 0] == corners[1, 0])
    upwards = sorted(float(corners[0, 1]) for corners in grid if corners[0, 1] == corners[1, 1])
    left = min(float(corners[:, 0].min()) for corners in grid if corners[0, 1] == corners[1, 1])
    foot = max(upwards)
    below = sorted((text for text in written if text.y - foot in _Range(8, 20)), key=lambda text: text.x)
    beside = sorted((text for text in written if left - 8 < text.x < left and text.y > 10), key=lambda text: text.y)
    is_log = any("logarithmic" in text.text for text in written)
    return (
        _fitted(along, [_number(text.text) for text in below], True),
        _fitted(upwards, [_number(text.text) for text in beside], is_log),
    )


@dataclass(frozen=True)
class _Range:
    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def distance(corners: Array, x: float, y: float) -> float:
    """Return how far a point is from a line, in pixels."""
    if len(corners) == 1:
        return float(np.hypot(*(corners[0] - (x, y))))
    first, last = corners[:-1], corners[1:]
    along = last - first
    length = np.maximum((along**2).sum(axis=1), 1e-12)
    share = np.clip((((x, y) - first) * along).sum(axis=1) / length, 0, 1)[:, None]
    return float(np.hypot(*(first + share * along - (x, y)).T).min())


def _fitted(pixels: list[float], values: list[float], is_log: bool) -> Ruler:
    assert len(pixels) == len(values) >= 2, (pixels, values)
    places = [math.log10(value) if is_log else value for value in values]
    rate = (pixels[-1] - pixels[0]) / (places[-1] - places[0])
    return Ruler(begin=pixels[0] - rate * places[0], rate=rate, is_log=is_log)


def _number(text: str) -> float:
    found = re.fullmatch(r"(?:([\d.]+)·)?10([⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+)", text)
    if found is None:
        return float(text)
    return float(found[1] or 1) * 10.0 ** int(found[2].translate(POWERS))


def _walk(element: ElementTree.Element, group: str) -> Iterator[tuple[ElementTree.Element, str]]:
    for child in element:
        inner = child.get("class", group) if child.tag == f"{SVG}g" else group
        yield child, inner
        yield from _walk(child, inner)


def _offset(element: ElementTree.Element) -> Array:
    found = re.match(r"translate\((-?[\d.e-]+),(-?[\d.e-]+)\)", element.get("transform", ""))
    return np.zeros(2) if found is None else np.array([float(found[1]), float(found[2])])


def _corners(path: str) -> Array:
    at, corners = [0.0, 0.0], []
    for command, numbers in re.findall(r"([MLHVhvml])([^A-Za-z]*)", path):
        given = [float(number) for number in re.findall(r"-?[\d.]+", numbers)]
        if command in "ML":
            at = given
        elif command in "Hh":
            at = [given[0] + (at[0] if command == "h" else 0), at[1]]
        elif command in "Vv":
            at = [at[0], given[0] + (at[1] if command == "v" else 0)]
        else:
            at = [at[0] + given[0], at[1] + given[1]]
        corners.append(at)
    return np.array(corners)
