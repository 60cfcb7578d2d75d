"""The border: an answer of a device becomes a typed record here, or a ProtocolError that names the field."""

from __future__ import annotations

import reprlib
import types
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from ..errors import ProtocolError
from .fields import Answer

A = TypeVar("A", bound=Answer)

FOUND_CHARACTERS = 200
HINT = "look at what runs on the device under our programs' names, and at its memory and disk"

_short = reprlib.Repr()
_short.maxlevel, _short.maxlong = 3, 60
_short.maxstring = _short.maxother = FOUND_CHARACTERS


def parse(schema: type[A], header: Mapping[str, Any], *, to: str, where: str) -> A:
    """Check an answer, and return it as a record.

    Args:
        schema: the record's type.
        header: the answer's, as it came.
        to: the operation that was asked for.
        where: who answered.

    Raises:
        ProtocolError: a field is missing, or is not what the schema says.
    """
    problem: ProtocolError
    try:
        # The same as model_validate, without that call: this runs for every reply.
        return schema.__pydantic_validator__.validate_python(header)  # type: ignore[no-any-return]
    except ValidationError as error:
        problem = _problem(schema, error, to, where)
    # Not in the except block, to keep pydantic's own text and URLs out of the traceback.
    raise problem


def parse_text(schema: type[A], text: str) -> A | None:
    """Check a line of JSON that a program wrote; None where it is no JSON, or does not fit the schema."""
    try:
        return schema.model_validate_json(text)
    except ValidationError:
        return None


def shown(value: object) -> str:
    """Quote a value that a device sent, for an error."""
    text = _short.repr(value)
    return text if len(text) <= FOUND_CHARACTERS else f"{text[:FOUND_CHARACTERS]} …"


def _problem(schema: type[BaseModel], error: ValidationError, to: str, where: str) -> ProtocolError:
    first = error.errors(include_url=False, include_context=False)[0]
    place = [key for key in first["loc"] if key != "[key]"]
    dotted = ".".join(shown(key) if len(str(key)) > 60 else str(key) for key in place) or "its content"
    what = f"what the device answered to {to!r} is wrong: {dotted!r}"
    if first["type"] == "missing":
        return ProtocolError(f"{what} is missing", wanted=wanted(schema, place), where=where, hint=HINT)
    found = f"{len(first['input'])} items" if first["type"] == "too_long" else shown(first["input"])
    return ProtocolError(what, wanted=wanted(schema, place), found=found, where=where, hint=HINT)


def wanted(schema: type[BaseModel], place: Sequence[int | str]) -> str:
    """Return the description of a field in a schema; of nested fields the innermost one's.

    Args:
        schema: the outermost record's type.
        place: the field's path: keys, and indices of lists.
    """
    held: Any = schema
    words = "a JSON object"
    for key in place:
        model = _model_in(held)
        if model is not None and key in model.model_fields:
            field = model.model_fields[str(key)]
            held, words = field.annotation, field.description or words
        elif inner := [one for one in get_args(held) if one is not Ellipsis]:  # an item of a list, a value of a table
            held = inner[-1]
            words = next((one.description for one in getattr(held, "__metadata__", ()) if _describes(one)), words)
    return words


def _describes(metadata: object) -> bool:
    return bool(getattr(metadata, "description", None))


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Find the type of the record that a field holds, alone or in a list or a table."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    return next((found for one in get_args(annotation) if (found := _model_in(one)) is not None), None)
