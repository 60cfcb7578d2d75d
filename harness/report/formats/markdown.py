"""Markdown, all of it."""

from __future__ import annotations

from ..markdown import blocks_of
from ..report import Report


def render(report: Report) -> str:
    """Render the report as Markdown (GitHub's: it has tables)."""
    return "\n".join(line for block in blocks_of(report) for line in block.lines)
