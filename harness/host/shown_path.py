"""Paths in messages: relative to the current folder where they are below it."""

from __future__ import annotations

from pathlib import Path


def shown_path(path: Path) -> str:
    """Shorten a path to one relative to the current folder; one that lies elsewhere stays as it is."""
    whole = path.absolute()
    try:
        here = Path.cwd()
    except OSError:  # the folder is gone
        return str(path)
    return str(whole.relative_to(here) if whole.is_relative_to(here) else path)
