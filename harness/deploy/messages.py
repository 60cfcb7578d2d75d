"""What a runtime says on stderr while it works, in few lines: a warning that nobody reads is a PASS without a word."""

from __future__ import annotations

import re

from ..printable import printable

# Longer lines are cut; a process is quoted with so many kinds of line at most.
LINE_LENGTH = 300
MOST = 5

ANSI_COLORS = re.compile(r"\x1b\[[0-9;]*m")
# In front of what loggers say: when.
TIME = re.compile(r"^\W*\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}:\d{2}\S*\s+")
NUMBER = re.compile(r"0x[0-9a-fA-F]+|\d+")


def kind_of(line: str) -> str:
    """Two lines of one kind differ in numbers only: addresses, counts, shapes."""
    return NUMBER.sub("#", line)


def distinct_lines(text: str, *, without: str = "\0") -> dict[str, str]:
    """Pick the first line of each kind from what was written to stderr, by its kind.

    Lines that begin with a space belong to the one before (of a Python warning, the source), and are left out; so is
    the time in front. Control characters are shown as escapes.

    Args:
        without: lines that begin so are left out, too: what was said for the harness.
    """
    found: dict[str, str] = {}
    for raw in ANSI_COLORS.sub("", text).splitlines():
        line = printable(TIME.sub("", raw).rstrip(), LINE_LENGTH)
        if line and not raw.startswith((" ", "\t", without)):
            found.setdefault(kind_of(line), line)
    return found
