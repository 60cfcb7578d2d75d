"""What a release says of its own check: check/check.json and the arrays beside it, read as if anybody had written them.

    {"schema": 1, "backend": NAME, "load": {…}, "wanted": {"packages": {NAME: VERSION}, "python": "3.11.2"},
     "same": {KEY: VALUE}, "p50_ms": 1.2 or null, "p50_ratio_max": 1.25 or null, "inferences": 100, "most_s": 10,
     "cases": [{"inputs": [{"file": "check/0-in-0.bin", "dtype": "<f4", "shape": [1, 64]}],
                "answers": [{"file": …, "dtype": "<f8", "shape": …, "output_dtype": "<f4", "atol": 1e-6, "rtol": 0}]}]}

"load" is how the artifact was loaded when the evidence was made (LoadEntry of harness.evidence.schema). A .bin file has
an array's elements in C order, little-endian, and nothing else. No file is named twice, and each has exactly the size
of its array, so that all arrays together take no more memory than the files. harness/runners/src/check_file.cpp reads
the same. Standard library only, Python ≥ 3.9.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from .check_json import (
    FILE,
    CheckFailed,
    Object,
    listed,
    number,
    parse_json,
    read_file,
    refused,
    shown,
    text,
    texts,
    whole,
)

SCHEMA = 1
MOST_INFERENCES, MOST_S = 100_000, 600
MOST_P50 = 1e9  # of the milliseconds, and of the ratio
MOST_DIMENSIONS, MOST_LENGTH = 64, 1 << 40
SAME = ("board", "arch", "cpu", "memory_mib", "libc", "python", "serial", "kernel")

SIZES = {
    "bool": 1,
    "uint8": 1,
    "int8": 1,
    "int16": 2,
    "int32": 4,
    "int64": 8,
    "float16": 2,
    "float32": 4,
    "float64": 8,
}
FLOATS = ("float16", "float32", "float64")
# numpy's short spellings of them.
SHORT = {
    "|b1": "bool",
    "|u1": "uint8",
    "|i1": "int8",
    "<i2": "int16",
    "<i4": "int32",
    "<i8": "int64",
    "<f2": "float16",
    "<f4": "float32",
    "<f8": "float64",
}
_ARRAY_FILE = re.compile(r"check/[0-9A-Za-z][0-9A-Za-z._-]{0,199}")


@dataclass(frozen=True)
class Stored:
    """An array in a file of the release: its path there, its element type by numpy's name, its shape."""

    file: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """The size that the file must have."""
        return SIZES[self.dtype] * math.prod(self.shape)


@dataclass(frozen=True)
class Answer:
    """The reference's answer: an output of output_dtype may be off it by atol + rtol·|answer|."""

    stored: Stored
    output_dtype: str
    atol: float
    rtol: float


@dataclass(frozen=True)
class Case:
    """One set of inputs, and the answers to it."""

    inputs: tuple[Stored, ...]
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Plan:
    """The whole file; load is the header of the agent's operation of that name, without "op"."""

    backend: str
    load: Mapping[str, Any]
    outputs: tuple[str, ...]
    packages: Mapping[str, str]
    python: str
    same: Mapping[str, Any]
    p50_ms: Optional[float]  # noqa: UP045  # Python 3.9
    p50_ratio_max: Optional[float]  # noqa: UP045
    inferences: int
    most_s: float
    cases: tuple[Case, ...]


def _dtype(found: Any, where: str) -> str:
    name = SHORT.get(found, found) if isinstance(found, str) else ""
    if name not in SIZES:
        raise refused(where, "the type of an array's elements, such as <f4", found)
    return name


def _inside(found: Any, where: str) -> str:
    """Take a path in the release, which it must not leave."""
    path = text(found, where)
    if any(part in ("", ".", "..") for part in path.split("/")) or len(path) > 1024:
        raise refused(where, "a path in the release", found)
    return path


def _stored(item: Object, seen: set[str]) -> Stored:
    file, where = item.take("file")
    if not isinstance(file, str) or not _ARRAY_FILE.fullmatch(file):
        raise refused(where, "a file in check/", file)
    if file in seen:
        raise CheckFailed(f"{FILE} names a file twice: {shown(file)}")
    seen.add(file)
    dtype = _dtype(*item.take("dtype"))
    shape, where = item.take("shape")
    lengths = tuple(whole(length, where, 0, MOST_LENGTH) for length in listed(shape, where))
    if len(lengths) > MOST_DIMENSIONS:
        raise CheckFailed(f"{FILE}: {where} has {len(lengths)} dimensions; at most {MOST_DIMENSIONS} are taken")
    return Stored(file, dtype, lengths)


def _answer(found: Any, where: str, seen: set[str]) -> Answer:
    item = Object(found, where)
    stored, output = _stored(item, seen), _dtype(*item.take("output_dtype"))
    atol, rtol = (number(*item.take(key), zero=True) for key in ("atol", "rtol"))
    item.end()
    if output not in FLOATS and (atol or rtol):
        raise CheckFailed(f"{FILE}: {where} allows to be off by something, where a {output} is right or wrong")
    if stored.dtype not in FLOATS if output in FLOATS else stored.dtype != output:
        raise CheckFailed(f"{FILE}: {where} is a {stored.dtype}, to which a {output} cannot be compared")
    return Answer(stored, output, atol, rtol)


def _case(found: Any, where: str, seen: set[str], inputs: Sequence[str], outputs: Sequence[str]) -> Case:
    item = Object(found, where)
    taken: list[Stored] = []
    items, place = item.take("inputs")
    for index, each in enumerate(listed(items, place)):
        array = Object(each, f"{place}[{index}]")
        taken.append(_stored(array, seen))
        array.end()
    items, place = item.take("answers")
    answers = [_answer(each, f"{place}[{index}]", seen) for index, each in enumerate(listed(items, place))]
    item.end()
    for what, count, names in (("inputs", len(taken), inputs), ("answers", len(answers), outputs)):
        if count != len(names):
            raise CheckFailed(f"{FILE}: {where} has {count} {what}, and load names {len(names)}")
    return Case(tuple(taken), tuple(answers))


def _load(found: Any, where: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Take LoadEntry, whose defaults may be left out."""
    item = Object(found, where)
    options, options_where = item.take("options", {})
    if not isinstance(options, dict):
        raise refused(options_where, "an object", options)
    flush, flush_where = item.take("flush_denormals", False)
    if type(flush) is not bool:
        raise refused(flush_where, "true or false", flush)
    load: dict[str, Any] = {
        "artifact": _inside(*item.take("artifact")),
        "inputs": texts(*item.take("inputs")),
        "operators": texts(*item.take("operators", [])),
        "options": options,
        "threads": whole(*item.take("threads", 1), 1, 4096),
        "interop_threads": whole(*item.take("interop_threads", 1), 1, 4096),
        "flush_denormals": flush,
    }
    outputs = tuple(texts(*item.take("outputs")))
    item.take("library", None)  # of a C++ backend
    item.end()
    for key, names in (("inputs", load["inputs"]), ("outputs", outputs)):
        if not names or len(set(names)) != len(names):
            raise CheckFailed(f"{FILE}: wanted names in {where}.{key} that differ; found {len(names)}")
    return load, outputs


def _same(found: Any, where: str) -> dict[str, Any]:
    item = Object(found, where)
    same: dict[str, Any] = {}
    for key in SAME:
        value, place = item.take(key, None)
        if key not in found:
            continue
        same[key] = whole(value, place, 1, 1 << 40) if key == "memory_mib" else text(value, place)
    item.end()
    return same


def _wanted(found: Any, where: str) -> tuple[dict[str, str], str]:
    item = Object(found, where)
    packages, place = item.take("packages")
    if not isinstance(packages, dict):
        raise refused(place, "an object", packages)
    versions = {name: text(version, place, empty=False) for name, version in packages.items()}
    python, place = item.take("python")
    item.end()
    return versions, "" if python is None else text(python, place)


def parse(content: bytes) -> Plan:
    """Read check.json.

    Raises:
        CheckFailed: it is none, or says what cannot be; with the place in it.
    """
    top = Object(parse_json(content), "")
    whole(*top.take("schema"), SCHEMA, SCHEMA)
    backend = text(*top.take("backend"), empty=False)
    load, outputs = _load(*top.take("load"))
    packages, python = _wanted(*top.take("wanted"))
    same = _same(*top.take("same"))
    limits = [top.take(key) for key in ("p50_ms", "p50_ratio_max")]
    p50_ms, ratio = (None if found is None else number(found, where, most=MOST_P50) for found, where in limits)
    inferences = whole(*top.take("inferences"), 1, MOST_INFERENCES)
    most_s = number(*top.take("most_s"), most=MOST_S)
    items, where = top.take("cases")
    seen: set[str] = set()
    cases = tuple(
        _case(found, f"{where}[{index}]", seen, load["inputs"], outputs)
        for index, found in enumerate(listed(items, where))
    )
    top.end()
    if not any(math.prod(answer.stored.shape) for case in cases for answer in case.answers):
        raise CheckFailed(f"{FILE} has no value to compare an answer with: that would prove nothing")
    return Plan(backend, load, outputs, packages, python, same, p50_ms, ratio, inferences, most_s, cases)


def read_plan(release: str) -> Plan:
    """Read the check.json of a release.

    Raises:
        CheckFailed: see parse; or there is no such file, or one that is not regular or too large.
    """
    return parse(bytes(read_file(release, FILE, None)))
