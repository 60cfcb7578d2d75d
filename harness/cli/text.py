"""Printing: lines, tables, sizes and marks, as all commands print them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from ..host.progress_log import showing_progress
from ..printable import printable, printable_lines

# Where the terminal's encoding has none of these, a plain letter says it.
PLAIN = {"✓": "+", "✗": "x", "–": "-", "→": "->", "…": "..."}
PERFORMANCE = "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"


def say(line: str = "", *, err: bool = False, **style: Any) -> None:
    """Print lines so that any terminal can show them, and none obeys what is in them.

    Args:
        line: one line, or several.
        err: print to stderr.
        style: as click.style takes it.
    """
    above = len(line) - len(line.lstrip("\n"))  # leading blank lines that we added
    line = "\n" * above + printable_lines(line[above:], indent="  ")
    try:
        line.encode((sys.stderr if err else sys.stdout).encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        for sign, plain in PLAIN.items():
            line = line.replace(sign, plain)
        line = line.encode("ascii", "replace").decode()
    click.secho(line, err=err, **style)


@contextmanager
def progress_lines(line: str = "{}", *, err: bool = False) -> Iterator[None]:
    """Print what takes long as it begins, until the end of the block.

    Args:
        line: how each is shown; "{}" stands for what is logged.
        err: on stderr.
    """
    with showing_progress(lambda logged: say(line.replace("{}", logged), err=err)):
        yield


def table(rows: Sequence[Sequence[str]], indent: str = "") -> list[str]:
    """Format rows as lines; every column but the last is as wide as its widest cell."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)] if rows else []
    return [
        (indent + "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]])).rstrip()
        for row in rows
    ]


def size(count: float) -> str:
    """Format a number of bytes for a person: "12 MiB"."""
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
