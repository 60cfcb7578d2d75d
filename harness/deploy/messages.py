"""What a runtime writes to stderr while it works, in few lines: a PASS must not hide a warning that nobody reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..agent.illegal import MARK
from ..printable import printable

# Longer lines are cut; of a cell at most this many kinds of line are quoted.
LINE_LENGTH = 300
MOST = 5

ANSI_COLORS = re.compile(r"\x1b\[[0-9;]*m")
# The time in front of a logger's line.
TIME = re.compile(r"^\W*\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}:\d{2}\S*\s+")
NUMBER = re.compile(r"0x[0-9a-fA-F]+|\d+")


def kind_of(line: str) -> str:
    """Reduce a line to its kind: lines of one kind differ in numbers only, such as addresses, counts, shapes."""
    return NUMBER.sub("#", line)


def distinct_lines(text: str, *, without: str = "\0") -> dict[str, str]:
    """Pick the first line of each kind from what was written to stderr.

    Lines that begin with a space belong to the one before (in a Python warning, the source), and are left out; so is
    the time in front. Control characters are shown as escapes.

    Args:
        text: what was written.
        without: leave out lines that begin with this: those meant for the harness.

    Returns:
        Kind of line -> its first line.
    """
    first: dict[str, str] = {}
    for raw in ANSI_COLORS.sub("", text).splitlines():
        line = printable(TIME.sub("", raw).rstrip(), LINE_LENGTH)
        if line and not raw.startswith((" ", "\t", without)):
            first.setdefault(kind_of(line), line)
    return first


@dataclass
class Messages:
    """The kinds of line that the processes of one cell have written to stderr so far."""

    _kinds: set[str] = field(default_factory=set)

    def new_notes(self, text: str) -> Iterator[str]:
        """Quote the kinds of line that no earlier process of the cell has written, up to MOST of them in all."""
        for kind, line in distinct_lines(text, without=MARK).items():
            if kind in self._kinds:
                continue
            self._kinds.add(kind)
            if len(self._kinds) <= MOST:
                yield f"the runtime wrote to stderr: {line}"
            elif len(self._kinds) == MOST + 1:
                yield f"the runtime wrote more than {MOST} kinds of line to stderr"
