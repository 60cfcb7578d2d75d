"""What exporters say when they refuse: the reason first, and short."""

from __future__ import annotations

import re

ANSI_COLORS = re.compile(r"\x1b\[[0-9;]*m")
LONGEST = 1000


def first_lines(error: object, limit: int = LONGEST) -> str:
    """Say an error or a warning, without colours; of a long one the beginning."""
    text = f"{type(error).__name__}: {error}" if isinstance(error, Exception) else str(error)
    text = ANSI_COLORS.sub("", text)
    return text if len(text) <= limit else text[:limit] + " …"


def reason_first(error: Exception) -> str:
    """Say why an exporter refuses."""
    return first_lines(error)
