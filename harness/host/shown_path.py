"""Paths in messages: as they are typed from the current folder, where that is above them."""

from __future__ import annotations

from pathlib import Path


def shown_path(path: Path) -> str:
    """Shorten a path for a person; one that lies elsewhere stays whole."""
    whole = path.absolute()
    try:
        here = Path.cwd()
    except OSError:  # the folder is gone
        return str(path)
    return str(whole.relative_to(here) if whole.is_relative_to(here) else path)
