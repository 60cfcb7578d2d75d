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
    | {"text-anchor", "font-weight"}
)
COLOR = re.compile(r"var\(--[a-z0-9-]+, #[0-9a-f]{6}\)|none|transparent")
NUMBER = re.compile(r"-?\d+\.\d{3,}(?:e-?\d+)?|-?\d+(?:\.\d+)?e-?\d+")
CELL = re.compile(r"\bcell_(\d+)_")
TRANSLATE = re.compile(r"translate\((-?[\d.e-]+)(?:[ ,](-?[\d.e-]+))?\)")


def clean(svg: str, description: str) -> str:
    """Return an ``<svg>`` element for a page.

    Args:
        svg: what Vega made.
        description: what is to be seen, for who cannot see it.

    Raises:
        ValueError: something has a colour that is no CSS variable.
    """
    root = ElementTree.fromstring(svg)  # noqa: S314  # Vega's own, which has no entities
    size = {key: root.attrib[key] for key in ("width", "height", "viewBox")}
    named = {"role": "img", "aria-label": description, "font-family": _font(root), "font-size": "11px"}
    made = ElementTree.Element("svg", {"xmlns": SVG[1:-1], **size, **named})
    _move(root, made, (0.0, 0.0), "")
    return ElementTree.tostring(made, encoding="unicode")


def _font(root: ElementTree.Element) -> str:
    return next((element.attrib["font-family"] for element in root.iter(f"{SVG}text")), "sans-serif")


def _move(element: ElementTree.Element, into: ElementTree.Element, offset: tuple[float, float], cell: str) -> None:
    """Copy what is drawn in an element; groups are dissolved but for their offset, and those of cells."""
    for child in element:
        kind = child.tag.removeprefix(SVG)
        if kind == "g":
            found = CELL.search(child.get("class", ""))
            inner = into
            if found is not None:
                inner = ElementTree.SubElement(into, "g", {"class": f"cell-{found[1]}"})
            _move(child, inner, _plus(offset, child.get("transform", "")), cell)
        elif kind in DRAWN and child.get("class") not in ("background", "foreground"):
            _draw(child, kind, into, offset)


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
    if kind == "path":  # a shape without a fill would be black
        attributes.setdefault("fill", "none")
    if attributes.get("opacity") == "1":
        del attributes["opacity"]
    x, y = _plus(offset, child.get("transform", ""))
    attributes["transform"] = f"translate({x:.5g},{y:.5g})"
    drawn = ElementTree.SubElement(into, kind, attributes)
    drawn.text = child.text
    if kind == "text" and (whole := child.get("aria-label")) and whole != child.text:
        drawn.text = None
        title = ElementTree.SubElement(drawn, "title")
        title.text, title.tail = whole, child.text


def _rounded(value: str) -> str:
    return NUMBER.sub(lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), value)
