"""One HTML file, for everybody: no script, no request."""

from __future__ import annotations

from ..page import render_page
from ..report import Report


def render(report: Report) -> str:
    """Render the report as a page."""
    return render_page(report)
