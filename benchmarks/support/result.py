"""The file of a run's results: written after each row, and read again to compare with another run.

{"schema": 2, "started": ISO 8601 in UTC, "quick": true or false, "cache": FOLDER, "machine": {…},
 "outcomes": [{"name": …, "took_s": …, "load": [before, after], "failure": "" or why, "rows": [see Row]}, …]}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from harness.host.cache import write_atomically
from harness.host.regular_file import read_regular

from .row import STRICT, Row, Words

MOST_BYTES = 1 << 26
MOST_ROWS = 10_000


@dataclass(frozen=True)
class Outcome:
    """What came of one benchmark.

    Attributes:
        name: the benchmark's.
        rows: what it measured, also where it failed afterwards.
        failure: why it did not run to its end; "" where it did.
        took_s: how long it took, in seconds.
        load: how many processes wanted to run on the machine in the minute before it, and in its last minute.
    """

    __pydantic_config__ = STRICT

    name: Annotated[str, Field(max_length=100)]
    rows: Annotated[list[Row], Field(max_length=MOST_ROWS)] = field(default_factory=list)
    failure: Words = ""
    took_s: float = 0.0
    load: Annotated[tuple[float, ...], Field(max_length=2)] = ()

    @property
    def missed(self) -> list[Row]:
        """The rows whose aims were not kept."""
        return [row for row in self.rows if row.verdict == "missed"]


@dataclass(frozen=True)
class Result:
    """A run of benchmarks, and the machine that they ran on."""

    __pydantic_config__ = STRICT

    started: Annotated[str, Field(max_length=40)]
    machine: Mapping[str, Any]
    cache: Words = ""
    quick: bool = False
    outcomes: list[Outcome] = field(default_factory=list)
    schema: Literal[2] = 2

    @property
    def failed(self) -> list[Outcome]:
        """What could not be run."""
        return [outcome for outcome in self.outcomes if outcome.failure]

    @property
    def status(self) -> int:
        """The exit status: 0 where all aims were kept, 1 where one was missed, 2 where a benchmark could not be run."""
        if self.failed or not self.outcomes:
            return 2
        return int(any(outcome.missed for outcome in self.outcomes))

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        outcomes = [{**vars(one), "rows": [row.as_json() for row in one.rows]} for one in self.outcomes]
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({**vars(self), "outcomes": outcomes}, indent=1, ensure_ascii=False, allow_nan=False)
        write_atomically(path, text + "\n")


class ResultError(Exception):
    """A file is no result of a run."""


@dataclass(frozen=True)
class Failure:
    """What a benchmark raised, in a line."""

    __pydantic_config__ = STRICT

    failure: Annotated[str, Field(min_length=1, max_length=1000)]


_RESULT, _ROW, _FAILURE = TypeAdapter(Result), TypeAdapter(Row), TypeAdapter(Failure)


def read_result(path: Path) -> Result:
    """Read the file of a run.

    Raises:
        ResultError: it cannot be read, or is none.
    """
    try:
        return _RESULT.validate_json(read_regular(path, MOST_BYTES))
    except OSError as error:
        raise ResultError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValidationError as error:
        raise ResultError(f"{path} is no result of python -m benchmarks: {_first(error)}") from error


def parse_line(line: bytes) -> Row | Failure:
    """Read one row as a benchmark's process sends it, or why it failed.

    Raises:
        ResultError: it is none.
    """
    try:
        if line.startswith(b'{"failure":'):
            return _FAILURE.validate_json(line)
        return _ROW.validate_json(line)
    except ValidationError as error:
        raise ResultError(f"it sent what is no row: {_first(error)}") from error


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(key)[:60] for key in first["loc"])
    return f"{place}: {first['msg']}" if place else str(first["msg"])
