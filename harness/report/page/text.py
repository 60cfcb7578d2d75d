"""Texts of others made harmless for a page: what autoescape does not do."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from markupsafe import Markup

from ...printable import printable, printable_lines

# The most characters of a name, such as a backend's or a model's; of any other text; and of a traceback.
NAME = 120
TEXT = 2_000
ERROR = 8_000
# A name that is longer may be broken behind an underscore, so that a table's columns stay narrow.
UNBROKEN = 12
BREAK = Markup("<wbr>")
# The same in an attribute, which cannot have an element: a space without a width.
THIN = Markup("&#8203;")


def harmless(value: object) -> object:
    """Make whatever a template shows printable: hidden characters and those that reverse a line are written out.

    Jinja calls it on every value, and escapes the result. Our own markup stays as it is.

    Raises:
        TypeError: the value is None, which no template means to show.
    """
    if isinstance(value, Markup):
        return value
    if value is None:
        raise TypeError("a template shows None")
    return printable_lines(str(value), ERROR)


def name_of(text: str) -> str:
    """Return a name on one line, and bounded."""
    return printable(text, NAME)


def text_of(text: str) -> str:
    """Return a text as it may be shown at its usual length, on as many lines as it has."""
    return printable_lines(text.strip(), TEXT)


def breakable(name: str) -> Markup:
    """Allow a break behind a long name's underscores; what is copied of it is the name still."""
    return BREAK.join(_pieces(name_of(name)))


def breakable_label(name: str) -> Markup:
    """Do as ``breakable``, for an attribute that the style shows."""
    return THIN.join(_pieces(name_of(name)))


def _pieces(name: str) -> list[str]:
    """Split a name behind underscores, into pieces of at most UNBROKEN characters where that can be."""
    pieces: list[str] = []
    for piece in re.findall(r"[^_]+_?|_", name):
        if pieces and len(pieces[-1] + piece) <= UNBROKEN:
            pieces[-1] += piece
        else:
            pieces.append(piece)
    return pieces


def unlike(names: Sequence[str]) -> list[str]:
    """Give names that are the same a number: of two landmarks of one name nobody can tell which is which."""
    counts, seen = Counter(names), Counter[str]()
    numbered = []
    for name in names:
        seen[name] += 1
        numbered.append(name if counts[name] == 1 else f"{name} ({seen[name]} of {counts[name]})")
    return numbered


def joined(parts: Iterable[str], separator: str = ", ") -> str:
    """Join those parts that say something."""
    return separator.join(part for part in parts if part)
