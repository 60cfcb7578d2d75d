"""What a nested value is made of, said for a person: "a tuple of 3 arrays, float32 (40, 4), …"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Of a long one the first few parts; of a deep one the outer levels.
PARTS, LEVELS = 4, 3


def describe_value(value: Any, levels: int = LEVELS) -> str:
    """Say of which kind a value is, and what is in it: never its numbers."""
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
    """Say what a function was given, one argument a line."""
    return "\n".join(f"{name}: {describe_value(value)}" for name, value in arguments.items())


def _part(value: Any, levels: int) -> str:
    said = describe_value(value, levels - 1) if levels > 0 else ""
    return f"[{said}]" if isinstance(value, (Mapping, list, tuple)) else said


def _with_article(kind: str) -> str:
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"


def _is_array(value: Any) -> bool:
    return hasattr(value, "dtype") and hasattr(value, "shape")
