"""JSON that everybody reads alike: other readers take the first of a doubled key, or the last, or both."""

from __future__ import annotations

import json
import math
import re
from itertools import accumulate
from typing import Any

from ..errors import InputError

# No document of ours is nested deeper than ten.
MOST_NESTED = 32
# More digits than those of the largest double.
MOST_DIGITS = 309
_TEXT = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_BRACKETS = b"[]{}"
_OTHERS = bytes(set(range(256)) - set(_BRACKETS))
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def parse(content: bytes, what: str, where: str) -> Any:
    """Parse JSON in UTF-8: each key once in its object, every number finite, no half of a character.

    Args:
        content: the text.
        what: what it is, for messages: "the bundle".
        where: where it is from.

    Raises:
        InputError: it is not that, or nested deeper than ``MOST_NESTED``.
    """
    _refuse_nested(content, what, where)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen = dict(pairs)
        if len(seen) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            found = repr(twice)[:200]
            raise InputError(f"a key is in {what} twice", wanted="each key once", found=found, where=where)
        return seen

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant[:50]}, which is no number of JSON's, or too large a one")

    def number(digits: str) -> float:
        return value if math.isfinite(value := float(digits)) else refuse(digits)

    def whole(digits: str) -> int:
        return int(digits) if len(digits) <= MOST_DIGITS else refuse(digits)

    try:
        text = content.decode("utf-8")
        parsed = json.loads(text, object_pairs_hook=unique, parse_constant=refuse, parse_float=number, parse_int=whole)
        if _SURROGATE.search(content):
            json.dumps(parsed, ensure_ascii=False).encode("utf-8")
    except UnicodeError as error:
        found = str(error)[:300]
        raise InputError(f"{what} is not UTF-8", wanted="JSON in UTF-8", found=found, where=where) from None
    except ValueError as error:
        found = str(error)[:300] if content.strip() else "nothing"
        raise InputError(f"{what} is not JSON", wanted="JSON, whole", found=found, where=where) from None
    return parsed


def _refuse_nested(content: bytes, what: str, where: str) -> None:
    """Refuse what is nested too deep, before a recursive parser gets it."""
    if content.count(b"[") + content.count(b"{") <= MOST_NESTED:
        return
    shape = _TEXT.sub(b"", content).translate(None, _OTHERS)
    if any(depth > MOST_NESTED for depth in accumulate(map(_STEPS.__getitem__, shape))):
        wanted = f"at most {MOST_NESTED} levels"
        raise InputError(f"{what} is nested too deep", wanted=wanted, found="more", where=where)
