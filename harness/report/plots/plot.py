"""What a plot is to whoever shows it: a picture, what is to be seen in it, and its numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A plot, or why there is none.

    Attributes:
        name: which kind: the name of its file in this package.
        title: what it shows, in a few words.
        description: what is to be seen, in a sentence or two.
        svg: an ``<svg>`` element, safe to put into a page as it is; None where it could not be drawn.
        columns: headings of the numbers, for a table under it.
        rows: the numbers, row by row, as text that nobody has made harmless yet.
        problem: why something of it could not be drawn; "" where all was.
    """

    name: str
    title: str
    description: str
    svg: str | None
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    problem: str = ""
