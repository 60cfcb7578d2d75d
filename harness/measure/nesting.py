"""Descriptions of nested values for error messages: "a tuple of 3 arrays, float32 (40, 4), …"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# How many parts of a long value are described, and how many levels of a deep one.
PARTS, LEVELS = 4, 3


def describe_value(value: Any, levels: int = LEVELS) -> str:
    """Describe a value's type and what it contains, but none of its numbers.

    Args:
        value: Anything; arrays, mappings, lists and tuples are described by their parts.
        levels: How many levels of nesting to describe.
    """
    if value is None:
        return "None"
    if _is_array(value):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    kind = type(value).__name__
    if not isinstance(value, (Mapping, list, tuple)):
        return _with_article(kind)
    if not value:
        return f"an empty {kind}"
    if isinstance(value, Mapping):
        parts = [f"{key!r}: {_part(part, levels)}" for key, part in [*value.items()][:PARTS]]
        what = f"{_with_article(kind)} of {len(value)}"
    else:
        parts = [_part(part, levels) for part in value[:PARTS]]
        plural = "" if len(value) == 1 else "s"
        what = f"{_with_article(kind)} of {len(value)}" + (f" array{plural}" if all(map(_is_array, value)) else "")
    more = ["…"] if len(value) > PARTS else []
    return ", ".join([what, *parts, *more]) if levels > 0 else what


def describe_arguments(**arguments: Any) -> str:
    """Describe the arguments that a function was given, one per line."""
    return "\n".join(f"{name}: {describe_value(value)}" for name, value in arguments.items())


def _part(value: Any, levels: int) -> str:
    description = describe_value(value, levels - 1) if levels > 0 else ""
    return f"[{description}]" if isinstance(value, (Mapping, list, tuple)) else description


def _with_article(kind: str) -> str:
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"


def _is_array(value: Any) -> bool:
    return hasattr(value, "dtype") and hasattr(value, "shape")
