"""The tables of a run, the decision first, as wide as the terminal; coloured where there is one."""

from __future__ import annotations

import os
import shutil
import sys

from ..report import Report
from ..terminal import render as render_on

# Of a file or a pipe: nobody knows how wide it will be shown.
WIDTH = 120


def render(report: Report) -> str:
    """Render the report for this process's terminal."""
    on_terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size((WIDTH, 24)).columns
    return render_on(report, width=width, color=on_terminal and "NO_COLOR" not in os.environ)
