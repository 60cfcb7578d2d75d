"""Cleaning the SVG that Vega makes: what a page needs of it, and nothing that a page must not have.

Kept are the elements and attributes that are named here, so no style, script or link gets through whoever makes them.
Groups that only nest are taken away, ids are numbered anew (Vega counts them up in a process, and equal evidence shall
give equal bytes), and numbers have as many digits as can be seen.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

SVG = "{http://www.w3.org/2000/svg}"
DRAWN = frozenset({"path", "line", "rect", "text", "circle"})
ATTRIBUTES = frozenset(
    {"d", "x", "y", "x1", "y1", "x2", "y2", "width", "height", "r", "transform", "fill", "stroke", "opacity"}
    | {"stroke-width", "stroke-dasharray", "stroke-linejoin", "stroke-linecap", "fill-opacity", "stroke-opacity"}
    | {"text-anchor"}
)
COLOR = re.compile(r"var\(--[a-z0-9-]+, #[0-9a-f]{6}\)|none|transparent")
NUMBER = re.compile(r"-?\d+\.\d{3,}(?:e-?\d+)?|-?\d+(?:\.\d+)?e-?\d+")
COMMAND = re.compile(r"[A-Za-z][^A-Za-z]*")
CELL = re.compile(r"\bcell_(\d+)_")
TRANSLATE = re.compile(r"translate\((-?[\d.e-]+)(?:[ ,](-?[\d.e-]+))?\)")


def tag(cell: int | None, whole: str) -> str:
    """Return what Vega hands through as a text's description: the class of its group, and its title."""
    return f"{'' if cell is None else f'cell-{cell}'}|{whole}"


def clean(svg: str, title: str) -> str:
    """Return an ``<svg>`` element for a page.

    Args:
        svg: what Vega made.
        title: what it shows, for who cannot see it.

    Raises:
        ValueError: something has a colour that is no CSS variable.
    """
    root = ElementTree.fromstring(svg)  # noqa: S314  # Vega's own, which has no entities
    size = {key: root.attrib[key] for key in ("width", "height", "viewBox")}
    named = {"role": "img", "aria-label": title, "font-family": _font(root), "font-size": "11px"}
    made = ElementTree.Element("svg", {"xmlns": SVG[1:-1], **size, **named})
    _move(root, made, (0.0, 0.0))
    return ElementTree.tostring(made, encoding="unicode")


def _font(root: ElementTree.Element) -> str:
    return next((element.attrib["font-family"] for element in root.iter(f"{SVG}text")), "sans-serif")


def _move(element: ElementTree.Element, into: ElementTree.Element, offset: tuple[float, float]) -> None:
    """Copy what is drawn in an element; groups are dissolved but for their offset, and those of cells."""
    for child in element:
        kind = child.tag.removeprefix(SVG)
        if kind == "g":
            found = CELL.search(child.get("class", ""))
            inner = into
            if found is not None:
                inner = _group(into, f"cell-{found[1]}")
            _move(child, inner, _plus(offset, child.get("transform", "")))
        elif kind in DRAWN and child.get("class") not in ("background", "foreground"):
            _draw(child, kind, into, offset)


def _group(into: ElementTree.Element, name: str) -> ElementTree.Element:
    """Return the last group of that class if nothing else came behind it, else a new one."""
    last = into[-1] if len(into) else None
    if last is not None and last.get("class") == name:
        return last
    return ElementTree.SubElement(into, "g", {"class": name})


def _plus(offset: tuple[float, float], transform: str) -> tuple[float, float]:
    found = TRANSLATE.match(transform)
    return offset if found is None else (offset[0] + float(found[1]), offset[1] + float(found[2] or 0))


def _draw(child: ElementTree.Element, kind: str, into: ElementTree.Element, offset: tuple[float, float]) -> None:
    if kind == "rect" and child.get("fill") == "white" and into.tag == "svg" and not len(into):
        return  # the ground, which is the page's own
    if child.get("opacity") == "0" or (kind == "path" and not child.get("d")):
        return
    attributes = {key: _rounded(value) for key, value in child.attrib.items() if key in ATTRIBUTES}
    for key in ("fill", "stroke"):
        if COLOR.fullmatch(attributes.get(key, "none")) is None:
            raise ValueError(f"a colour that is no CSS variable: {attributes[key]!r}")
    if kind == "path":
        attributes.setdefault("fill", "none")  # without one it would be black
        attributes["d"] = _shortened(attributes["d"])
    if attributes.get("opacity") == "1":
        del attributes["opacity"]
    x, y = _plus(offset, child.get("transform", ""))
    attributes["transform"] = f"translate({x:.5g},{y:.5g})"
    if kind == "text":
        _write(child, into, attributes)
    else:
        ElementTree.SubElement(into, kind, attributes)


def _write(child: ElementTree.Element, into: ElementTree.Element, attributes: dict[str, str]) -> None:
    """Copy a text: into its cell's group, with the whole of what was shortened as its title."""
    cell, _, whole = child.get("aria-label", "|").partition("|")
    drawn = ElementTree.SubElement(_group(into, cell) if cell else into, "text", attributes)
    drawn.text = child.text
    if whole and whole != child.text:
        drawn.text = None
        title = ElementTree.SubElement(drawn, "title")
        title.text, title.tail = whole, child.text


def _rounded(value: str) -> str:
    return NUMBER.sub(lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), value)


def _shortened(path: str) -> str:
    """Write the lines of a path that go along or upwards by the one number that changes: half of a step's bytes."""
    short, last = [], ["", ""]
    for command in COMMAND.findall(path):
        ends = command[1:].split(",")
        if command[0] not in "ML" or len(ends) != 2:  # a circle's arcs; none of a line is
            return path
        is_same = [now == before and command[0] == "L" for now, before in zip(ends, last, strict=True)]
        short.append(f"H{ends[0]}" if is_same[1] else f"V{ends[1]}" if is_same[0] else command)
        last = ends
    return "".join(short)
