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


def test_an_older_hilgates_file_is_read_and_what_a_judge_needs_is_named_as_lacking(tmp_path: Path) -> None:
    lacks = set(read_evidence(written(tmp_path, RUN)).lacks)
    assert {"files", "decision", "cells[0].model_sha256"} <= lacks
    assert {f"cells[0].checks[0].{key}" for key in ("raw_sha256", "better", "bound")} <= lacks


@pytest.mark.parametrize(
    ("run", "cells"),
    [
        pytest.param({**RUN, "cells": []}, 0, id="no-cells"),
        pytest.param({**RUN, "cells": [{**CELL, "backend": f"b{n}"} for n in range(400)]}, 400, id="many-cells"),
        pytest.param({**RUN, "finished": None, "verdict": "INCONCLUSIVE"}, 1, id="a-run-still-going-on"),
    ],
)
def test_what_a_run_may_leave_is_read(tmp_path: Path, run: dict[str, Any], cells: int) -> None:
    read = read_evidence(written(tmp_path, run)).run
    assert (len(read.cells), read.finished, read.verdict) == (cells, None, Verdict(run["verdict"]))


def test_two_checks_of_one_metric_are_both_read(tmp_path: Path) -> None:
    """A test of the user's own may judge a metric once more; whoever reads only one must not be told PASS."""
    checks = [CHECK, {**CHECK, "verdict": "FAIL"}]
    (cell,) = read_evidence(written(tmp_path, changed("cell.checks", checks))).run.cells
    assert [check.verdict for check in cell.checks] == [Verdict.PASS, Verdict.FAIL]


@pytest.mark.parametrize("value", [1e300, -1e300, 10**300, 5e-324, "inf", "-inf", "nan", None, 0, 1 << 62])
def test_a_figure_stays_what_it_is(tmp_path: Path, value: Any) -> None:
    check = read_evidence(written(tmp_path, changed("check.value", value))).run.cells[0].checks[0]
    assert (check.value, type(check.value)) == (value, type(value))
    assert json.loads(json.dumps(check.as_json()["value"], allow_nan=False)) == value


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
        pytest.param("check.samples", 10**300, "cells[0].checks[0].samples", "less", id="samples-huge"),
        pytest.param("check.value", "Infinity", "cells[0].checks[0].value", "'inf'", id="infinity-in-other-words"),
        pytest.param("check.raw_sha256", "A" * 64, "cells[0].checks[0].raw_sha256", "pattern", id="sha256-capitals"),
        pytest.param("check.better", "larger", "cells[0].checks[0].better", "'lower'", id="better-a-word"),
        pytest.param("cell.model_sha256", "", "cells[0].model_sha256", "pattern", id="model-sha256-empty"),
        pytest.param("files", [{"kind": "model"}], "files[0].name", "this key", id="file-without-a-name"),
        pytest.param("cells", [CELL, {**CELL, "model": "a"}, CELL], "cells[2]", "each cell once", id="cell-twice"),
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
        pytest.param(b'{"schema": 1, "value": -Infinity}', "Infinity", id="infinity"),
        pytest.param(b'{"schema": 1, "value": 1e400}', "larger than any", id="a-number-beyond-any"),
        pytest.param(b'{"schema": 1, "value": -1' + b"0" * 400 + b"}", "larger than any", id="a-whole-one-beyond-any"),
        pytest.param(b'{"schema": 1, "value": 1' + b"0" * 9000 + b"}", "larger than any", id="beyond-pythons-digits"),
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
