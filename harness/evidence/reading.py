"""Reading evidence.json: the one reader. The file may be anybody's, so nothing about it is taken for granted."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from ..errors import InputError
from .misfit import Misfit, first_misfit
from .schema import SCHEMA, RunEntry

# An evidence file has some 10 KB a cell.
LARGEST_BYTES = 64 << 20
# Keys of a check whose values are paths in the evidence's folder.
FILE_KEYS = ("raw", "raw_inputs", "raw_failures", "raw_first_parts", "raw_sides", "replay")
# A whole number of fewer characters is no larger than a double can hold, 1.8e308.
LONG_DIGITS = 308
SHA256 = re.compile(r"[0-9a-f]{64}")
HINT = "run the tests again: a run writes it anew"


@dataclass(frozen=True)
class ReadEvidence:
    """An evidence.json that was read.

    Attributes:
        run: its whole content; keys that are not in the schema are kept in ``model_extra``.
        lacks: keys that today's hilgate always writes and that this file, written by an older one, does not have.
    """

    run: RunEntry
    lacks: tuple[str, ...]


def read_evidence(path: Path) -> ReadEvidence:
    """Read an evidence.json.

    Raises:
        InputError: it is not there, too large, or not what hilgate writes, as ``parse_evidence`` says.
    """
    return parse_evidence(_text(path), str(path))


def parse_evidence(text: bytes, where: str) -> ReadEvidence:
    """Read the content of an evidence.json; what hashes or copies it, too, has read it once.

    Args:
        text: the content.
        where: the file, for messages.

    Raises:
        InputError: it is truncated, not JSON, has a key or a cell twice, or a number that is too large, is of a newer
            schema, or has a value of another type than it should. The message names the file, the key and what was
            expected.
    """
    content = _parsed(text, where)
    number = content.get("schema") if isinstance(content, dict) else SCHEMA
    if type(number) is int and number > SCHEMA:
        raise InputError(
            "the evidence was written by a newer hilgate",
            wanted=f"schema {SCHEMA}",
            found=f"schema {number}",
            where=f"{where}: schema",
            hint="read it with that hilgate, or a newer one",
        )
    if type(number) is not int:  # true counts as 1 for JSON's readers
        raise _refusal("schema", f"the number {SCHEMA}", repr(number)[:200], where)
    problem: Misfit | None = None
    try:
        run = RunEntry.model_validate(content)
    except ValidationError as error:
        problem = first_misfit(error, content)
    if problem is not None:  # not in the except block, to keep pydantic's own text out of the traceback
        raise _refusal(*problem, where)
    _refuse_twins(run, where)
    return ReadEvidence(run, tuple(_lacking(run, "")))


def _refuse_twins(run: RunEntry, where: str) -> None:
    """Refuse a cell that is there twice: no run writes one, and a reader would believe either of the two.

    A metric may be there twice in a cell: a test of the user's own may have judged it once more. Both count.
    """
    seen = set[tuple[str, str, str]]()
    for index, cell in enumerate(run.cells):
        names = cell.model, cell.device, cell.backend
        if names in seen:
            raise _refusal(f"cells[{index}]", "each cell once", f"{', '.join(names)!r:.200} once more", where)
        seen.add(names)


def read_named_files(path: Path) -> list[tuple[str, str]]:
    """List the files beside an evidence.json that it names, without refusing a file that is damaged.

    Returns:
        (key, path) of each, where key is one of ``FILE_KEYS``, "bundle" of a bundle's manifest, or "answers"; empty
        where the file cannot be read, is not of this schema, or has no cells and checks where they should be.
    """
    try:
        content = _parsed(_text(path), str(path))
        cells = content["cells"] if content["schema"] == SCHEMA else []
        named = [(key, check.get(key)) for cell in cells for check in cell["checks"] for key in FILE_KEYS]
        answers = [(cell.get("answers") or {}).get("path") for cell in cells]
        bundles = [(cell.get("bundle") or {}).get("sha256") for cell in cells]
    except (InputError, KeyError, TypeError, AttributeError):
        return []
    named += [("bundle", f"bundles/{sha256}.json") for sha256 in bundles if SHA256.fullmatch(str(sha256))]
    named += [("answers", path) for path in answers]
    return [(key, name) for key, name in named if isinstance(name, str)]


def _refusal(key: str, wanted: str, found: str, where: str) -> InputError:
    what = "the evidence is not what hilgate writes"
    return InputError(what, wanted=wanted, found=found, where=f"{where}: {key}", hint=HINT)


def _text(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        found = error.strerror or str(error)
        hint = "name the file, DIR/evidence.json, of a run with --evidence DIR"
        raise InputError(
            "the evidence cannot be read", wanted="an evidence.json", found=found, where=str(path), hint=hint
        ) from None
    if len(text) > LARGEST_BYTES:
        wanted = f"at most {LARGEST_BYTES >> 20} MiB"
        raise InputError("the evidence is too large", wanted=wanted, found="more", where=str(path))
    return text


def _parsed(text: bytes, where: str) -> Any:
    """Parse JSON in which each key stands once, and each number is one that a double can hold.

    Python would make infinity of 1e400, which is a finite number, and a limit of infinity is always kept; other readers
    of JSON refuse it, or read the largest number that there is.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen = dict(pairs)
        if len(seen) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError("a key is in the evidence twice", wanted="each key once", found=repr(twice), where=where)
        return seen

    def refuse(constant: str) -> Any:
        wanted = 'numbers; infinity is the text "inf"'
        raise InputError("the evidence is not JSON", wanted=wanted, found=constant, where=where)

    def whole(digits: str) -> int:
        if len(digits) > LONG_DIGITS:
            number(digits)
        return int(digits)

    def number(digits: str) -> float:
        value = float(digits)
        return value if math.isfinite(value) else refuse(f"{digits[:100]}, larger than any that can be held")

    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=refuse, parse_int=whole, parse_float=number)
    except (ValueError, RecursionError) as error:
        found = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        problem = "the evidence is empty" if not text.strip() else "the evidence is not JSON, or was cut short"
        raise InputError(problem, wanted="a whole evidence.json", found=found[:300], where=where, hint=HINT) from None


def _lacking(entry: BaseModel, place: str) -> Iterator[str]:
    always: frozenset[str] = getattr(entry, "ALWAYS", frozenset())
    yield from (f"{place}{name}" for name in sorted(always - entry.model_fields_set))
    for name in type(entry).model_fields:
        value = getattr(entry, name)
        if isinstance(value, BaseModel):
            yield from _lacking(value, f"{place}{name}.")
        for index, item in enumerate(value if isinstance(value, list) else []):
            if isinstance(item, BaseModel):
                yield from _lacking(item, f"{place}{name}[{index}].")
