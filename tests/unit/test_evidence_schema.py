"""evidence.json as types: what the reader takes and refuses, and that docs and schema name the same keys."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness.checks.check import Verdict
from harness.cli import cli
from harness.errors import InputError
from harness.evidence.decision_entry import DecisionEntry
from harness.evidence.reading import LARGEST_BYTES, read_evidence
from harness.evidence.schema import CellEntry, CheckEntry, RunEntry

DOCS = Path(__file__).parents[2] / "docs" / "evidence.md"
CHECK = {"metric": "latency_p99_ms", "verdict": "PASS", "value": 1.5, "limit": "inf"}
CELL = {"model": "net", "device": "pi4", "backend": "onnxruntime", "verdict": "PASS", "checks": [CHECK]}
RUN = {"schema": 1, "tool": "hilgate 0.1.0", "started": "2026-11-27T10:00:00Z", "verdict": "PASS", "cells": [CELL]}


def written(folder: Path, content: Any) -> Path:
    """An evidence.json of that content, JSON or text."""
    path = folder / "evidence.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def changed(place: str, value: Any) -> dict[str, Any]:
    """RUN with one value changed; ``place`` is KEY, cell.KEY or check.KEY."""
    run: dict[str, Any] = json.loads(json.dumps(RUN))
    homes = {"": run, "cell.": run["cells"][0], "check.": run["cells"][0]["checks"][0]}
    home, key = re.fullmatch(r"((?:cell\.|check\.)?)(\w+)", place).groups()  # type: ignore[union-attr]
    homes[home][key] = value
    return run


def test_a_file_is_read_with_what_its_schema_does_not_name(tmp_path: Path) -> None:
    read = read_evidence(written(tmp_path, changed("check.energy_source", "INA226"))).run
    check = read.cells[0].checks[0]
    assert (check.verdict, check.limit, check.model_extra) == (Verdict.PASS, "inf", {"energy_source": "INA226"})


def test_what_an_older_file_lacks_is_named(tmp_path: Path) -> None:
    lacks = read_evidence(written(tmp_path, RUN)).lacks
    assert {"asked", "cells[0].not_built", "cells[0].checks[0].bound"} <= set(lacks)


@pytest.mark.parametrize(
    ("place", "value", "key", "wanted"),
    [
        pytest.param("verdict", "PASSED", "verdict", "'PASS', 'MEASURED'", id="no-verdict"),
        pytest.param("cells", {}, "cells", "array", id="cells-no-list"),
        pytest.param("cell.checks", None, "cells[0].checks", "array", id="checks-null"),
        pytest.param("check.value", "fast", "cells[0].checks[0].value", "number", id="value-a-word"),
        pytest.param("check.samples", -1, "cells[0].checks[0].samples", "greater", id="samples-negative"),
        pytest.param("check.confidence", 99, "cells[0].checks[0].confidence", "less", id="confidence-percent"),
        pytest.param("cell.artifact", {"sha256": "../x"}, "cells[0].artifact.sha256", "pattern", id="sha256-a-path"),
        pytest.param("schema", "1", "schema", "1", id="schema-a-text"),
        pytest.param("schema", True, "schema", "1", id="schema-true"),
        pytest.param("check.value", "1.5", "cells[0].checks[0].value", "number", id="value-a-text"),
        pytest.param("check.samples", True, "cells[0].checks[0].samples", "integer", id="samples-true"),
    ],
)
def test_a_value_of_a_wrong_type_is_named_with_its_key(
    tmp_path: Path, place: str, value: Any, key: str, wanted: str
) -> None:
    path = written(tmp_path, changed(place, value))
    with pytest.raises(InputError) as caught:
        read_evidence(path)
    assert caught.value.where == f"{path}: {key}"
    assert wanted in caught.value.wanted


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(json.dumps(RUN).encode()[:-20], "cut short", id="truncated"),
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b"\x80\x81", "not JSON", id="no-text"),
        pytest.param(b"[" * 200_000, "not JSON", id="nested"),
        pytest.param(b'{"schema": 1, "schema": 1}', "'schema'", id="a-key-twice"),
        pytest.param(b'{"schema": 1, "value": NaN}', "NaN", id="NaN"),
        pytest.param(b"[]", "the whole file", id="a-list"),
        pytest.param(b'{"schema": 2}', "newer hilgate", id="newer"),
        pytest.param(b" " * (LARGEST_BYTES + 1), "too large", id="too-large"),
    ],
)
def test_a_file_that_is_none_of_ours_is_refused_with_its_name(tmp_path: Path, content: bytes, words: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(InputError, match=words) as caught:
        read_evidence(path)
    assert caught.value.where.startswith(str(path))


def test_a_file_that_is_not_there_is_an_error_with_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--evidence DIR"):
        read_evidence(tmp_path / "evidence.json")


def schema_keys() -> set[str]:
    """All keys of the file, of a cell, of a check and of a decision."""
    entries = (RunEntry, CellEntry, CheckEntry, DecisionEntry)
    return {item.alias or name for entry in entries for name, item in entry.model_fields.items()}


def test_the_documentation_names_every_key_of_the_schema() -> None:
    words = set(re.findall(r"`(\w+)`", DOCS.read_text(encoding="utf-8")))
    assert schema_keys() - words == set()


def test_the_schema_names_every_key_of_the_documentations_tables() -> None:
    rows = re.findall(r"^\| (`[^|]+) \|", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    words = {word for row in rows for word in re.findall(r"`(\w+)`", row)}
    assert words
    assert words - schema_keys() == set()


def test_hilgate_schema_prints_a_json_schema() -> None:
    printed = json.loads(CliRunner().invoke(cli, ["schema"]).output)
    assert printed["properties"]["schema"]["const"] == 1
    assert printed["$defs"]["CellEntry"]["required"] == ["model", "device", "backend", "verdict", "checks"]
