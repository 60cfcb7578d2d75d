"""Suggestions for misspelled words: one rule for model files, device files, limits, backends and pins."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: object, known: Iterable[str]) -> str | None:
    """Find the known name that is nearest to a word, ignoring case; None where none is near."""
    if not isinstance(word, str):
        return None
    names = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), names, 1)
    return names[near[0]] if near else None


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """Ask whether a known name was meant: "did you mean 'threads'?"; "" where none is near."""
    name = nearest(word, known)
    return f"did you mean {name!r}?" if name is not None else ""
