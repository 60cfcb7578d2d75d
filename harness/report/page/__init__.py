"""The page: a placeholder until its branch is merged."""

from __future__ import annotations

import html

from ..markdown import blocks_of
from ..report import Report


def render_page(report: Report) -> str:
    """Render the report's Markdown as text on a page."""
    text = "\n".join(line for block in blocks_of(report) for line in block.lines)
    return f'<!doctype html><html lang="en"><title>hilgate</title><pre>{html.escape(text)}</pre></html>\n'
