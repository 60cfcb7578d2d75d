"""What is measured in a page that a browser shows: contrast, sizes, what is visible, what the keyboard reaches, axe.

axe looks at text of HTML alone. The paint of an SVG, and how large its text is in the end, are measured here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe

from .browser import Shown

Rgb = tuple[float, float, float]
# Rules of WCAG 2.2, A and AA, and what axe's authors hold to be good practice. One that is younger than axe's own
# defaults has to be asked for by name.
AXE = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "rules": {"target-size": {"enabled": True}},
    "resultTypes": ["violations"],
}
# Attributes of an SVG that paint something.
PAINTS = ("fill", "stroke", "color", "stop-color", "flood-color", "lighting-color")
VARIABLE = re.compile(r"var\(--[a-z][a-z0-9-]*, ?#[0-9a-f]{6}\)|none|transparent|currentColor")

_CHECKS = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")


@dataclass(frozen=True, kw_only=True)
class Paint:
    """A fill or a stroke on the screen.

    Attributes:
        what: the element's name.
        name: "fill" or "stroke".
        contrast: to the ground, with its opacity; 1 to 21.
        is_ground: whether it says that it is of the ground's colour, as a halo around a text is.
        html: its element, for a message.
    """

    what: str
    name: str
    contrast: float
    is_ground: bool
    html: str

    @property
    def needed(self) -> float:
        """Return the contrast that WCAG 2.2 asks for: 4.5 of text (1.4.3), 3 of graphics (1.4.11)."""
        return 4.5 if self.what == "text" and self.name == "fill" else 3.0


def contrast(one: Rgb, other: Rgb) -> float:
    """Return the contrast ratio of two colours, of 0 to 255 (WCAG 2.2, "contrast ratio")."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(color: Rgb) -> float:
    """Return the relative luminance (WCAG 2.2, "relative luminance")."""
    shares = (part / 255 for part in color)
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def ask(shown: Shown, name: str, argument: object = None) -> Any:
    """Return what a function of page_checks.js says of a page. Scripts may be off there: it is not the page that asks.

    Args:
        shown: the page.
        name: the function's.
        argument: what it takes.
    """
    return shown.page.evaluate(f"([name, argument]) => ({_CHECKS})[name](argument)", [name, argument])


def paints(shown: Shown) -> list[Paint]:
    """Return everything that the page's SVGs paint."""
    return [_paint(one) for one in ask(shown, "painted")]


def _paint(one: dict[str, Any]) -> Paint:
    ground, _ = _color(one["ground"])
    color, alpha = _color(one["color"])
    share = alpha * float(one["share"])
    red, green, blue = (share * part + (1 - share) * below for part, below in zip(color, ground, strict=True))
    is_ground = "--ground" in one["source"] and (one["what"], one["name"]) != ("text", "fill")
    return Paint(
        what=one["what"],
        name=one["name"],
        contrast=contrast((red, green, blue), ground),
        is_ground=is_ground,
        html=one["html"],
    )


def _color(text: str) -> tuple[Rgb, float]:
    """Read a colour as browsers compute it: rgb(1, 2, 3) or rgba(1, 2, 3, 0.4)."""
    if (found := re.fullmatch(r"rgba?\(([\d., ]+)\)", text)) is None:
        raise ValueError(f"wanted a colour as rgb(…); found {text}")
    red, green, blue, *alpha = (float(part) for part in found[1].split(","))
    return (red, green, blue), alpha[0] if alpha else 1.0


def fixed_paints(html: str) -> list[str]:
    """Return the paints in a page's SVGs that a reader's ground cannot change: all that are no variable of the style.

    Args:
        html: the page's source.
    """
    svgs = re.findall(r"<svg\b.*?</svg>", html, re.DOTALL)
    return [found for svg in svgs for found in _fixed(svg)]


def _fixed(svg: str) -> Iterator[str]:
    for name, value in re.findall(r'\s([a-z-]+)="([^"]*)"', svg):
        # A style= would not count under Jenkins's header; whatever it says, it is in the wrong place.
        if name == "style" or (name in PAINTS and not VARIABLE.fullmatch(value)):
            yield f'{name}="{value}"'


def without_spaces(text: str) -> str:
    """Return a text as it is found again wherever its lines break: without white space, and what is never seen."""
    return re.sub(r"[\s\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069]", "", text)


def tab_stops(shown: Shown) -> list[dict[str, Any]]:
    """Press Tab through the whole page; return where the focus was, in order: see ``focused`` in page_checks.js."""
    stops: list[dict[str, Any]] = []
    for _ in range(2000):
        shown.page.keyboard.press("Tab")
        focused = ask(shown, "focused")
        if focused is None or (stops and focused["place"] == stops[0]["place"]):
            return stops
        stops.append(focused)
    raise AssertionError(f"Tab never comes to an end: {stops[-3:]}")


def axe_violations(shown: Shown) -> list[str]:
    """Return what axe finds wrong, a line for each kind, with the first elements that have it."""
    found = Axe().run(shown.page, options=AXE).response["violations"]
    return [
        f"{one['id']} ({one['impact']}): {one['help']}: {len(one['nodes'])}: "
        + "; ".join(node["html"][:200] for node in one["nodes"][:3])
        for one in found
    ]
