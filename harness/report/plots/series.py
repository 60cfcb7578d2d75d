"""How a backend is told from the others in every plot: by its colour, its dashes and its name beside them."""

from __future__ import annotations

from typing import Any

from ...printable import printable
from .colors import SERIES, paint

# As many as are coprime to the number of colours: 42 backends differ.
DASHES: tuple[tuple[int, ...], ...] = ((1, 0), (6, 2), (2, 2), (9, 2, 2, 2), (4, 4), (1, 3), (12, 3))
# How many signs of a name stand beside its line.
LONGEST = 15


def color(number: int) -> str:
    """Return the colour of a section's cell, by its place there."""
    return paint(SERIES[number % len(SERIES)])


def stroke(number: int) -> dict[str, Any]:
    """Return how the line of a section's cell is drawn, as properties of a Vega-Lite mark."""
    dashes = DASHES[number % len(DASHES)]
    return {"stroke": color(number), **({} if number % len(DASHES) == 0 else {"strokeDash": list(dashes)})}


def layer_name(number: int, part: str) -> str:
    """Name a layer, so that its marks get the class ``cell-N`` when the drawing is cleaned."""
    return f"cell_{number}_{part}"


def label(name: str, longest: int = LONGEST) -> dict[str, str]:
    """Return a name as a row of a layer of texts: what is written, and the whole of it, for a title."""
    return {"text": shortened(name, longest), "whole": printable(name)}


def shortened(name: str, longest: int = LONGEST) -> str:
    """Make a name fit beside its line: safe to show, its middle left out where it is too long."""
    name = printable(name)
    if len(name) <= longest:
        return name
    end = (longest - 1) // 3
    return f"{name[: longest - 1 - end]}…{name[len(name) - end :]}"
