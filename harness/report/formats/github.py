"""Markdown for a job's summary or a pull request on GitHub, which shows nothing of what is too large.

A summary has at most 1 MiB a step (docs.github.com, "Workflow commands", Adding a job summary). What does not fit is
cut, the least needed first, and that is said.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..markdown import Block, blocks_of
from ..report import Report

MOST_BYTES = (1 << 20) - 1
# For what says that something was cut.
RESERVED = 400


def render(report: Report) -> str:
    """Render the report as Markdown of less than 1 MiB."""
    return render_within(report, MOST_BYTES)


def render_within(report: Report, most_bytes: int) -> str:
    """Render as much of the report as fits: decisions and tables first, then what explains them, then the rest.

    Args:
        report: what is shown.
        most_bytes: of the text in UTF-8. Below some hundred bytes the text is empty.
    """
    blocks = blocks_of(report)
    if _size(line for block in blocks for line in block.lines) <= most_bytes:
        return "\n".join(line for block in blocks for line in block.lines)
    kept, cut = _fitting(blocks, most_bytes - RESERVED)
    if most_bytes < RESERVED:
        return ""
    said = f"**Cut here: {cut} lines that GitHub would not show. All of it is in report.html, among the artifacts.**"
    return "\n".join([*(line for lines in kept for line in lines), "", said, ""])


def _fitting(blocks: list[Block], room: int) -> tuple[list[tuple[str, ...]], int]:
    """Return the first lines of each block that fit, in the blocks' order, and how many lines were cut."""
    kept: list[tuple[str, ...]] = [()] * len(blocks)
    cut = 0
    for number in sorted(range(len(blocks)), key=lambda place: blocks[place].rank):
        lines = blocks[number].lines
        fits = 0
        for line in lines:
            if (size := _size([line])) > room:
                break
            room -= size
            fits += 1
        if fits < len(lines):
            room = 0  # nothing that is needed less comes in its place
        kept[number] = lines[:fits]
        cut += len(lines) - fits
    return kept, cut


def _size(lines: Iterable[str]) -> int:
    return sum(len(line.encode()) + 1 for line in lines)
