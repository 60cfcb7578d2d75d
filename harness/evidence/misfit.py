"""The first value in a content that its type does not take, in words."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import ValidationError

# What was expected, in JSON's words: pydantic names Python's types, for the text cannot be given to it: its own parser
# refuses the lone surrogates of a folder's name that is not UTF-8, which the writer writes.
_JSON_TYPES = {"list_type": "an array", "dict_type": "an object", "model_type": "an object"}


class Misfit(NamedTuple):
    """The first value in a content that its type does not take.

    Attributes:
        key: its place, as a person would write it: "cells[0].checks[2].value".
        wanted: what the schema takes there.
        found: what is there, in Python's words.
    """

    key: str
    wanted: str
    found: str


def first_misfit(error: ValidationError, content: object) -> Misfit:
    """Say what pydantic found first, of which value of a content, in words.

    Where several types would do, pydantic reports each, at a place that has the type's name: that is no key of the
    file, and the reports are one.
    """
    errors = error.errors(include_url=False)
    first = errors[0]
    key = _key_of(first["loc"], content)
    same = [each for each in errors if _key_of(each["loc"], content) == key]
    if first["type"] == "missing":
        return Misfit(key, "this key", "no such key")
    wanted = " or ".join(dict.fromkeys(_JSON_TYPES.get(each["type"], each["msg"]) for each in same))
    return Misfit(key, wanted, repr(first["input"])[:200])


def _key_of(location: tuple[int | str, ...], content: object) -> str:
    text, value = "", content
    for index, part in enumerate(location):
        if isinstance(part, int) and isinstance(value, list):
            text, value = f"{text}[{part}]", value[part]
        elif isinstance(value, dict) and (part in value or index == len(location) - 1):
            text, value = f"{text}.{part}", value.get(part)
    return text.lstrip(".") or "the whole file"
