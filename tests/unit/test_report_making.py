"""What a report is made of: which cells stand together, which run's counts, and what a reader is told of the files."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from harness.errors import InputError
from harness.report.making import MOST_FILES, make_report, read_sources
from harness.report.report import Report
from tests.support.evidences import make_cell, make_check, make_run, write

P99 = "latency_p99_ms"
OLD = {"started": "2026-11-26T10:00:00Z", "finished": "2026-11-26T10:05:00Z"}
LATER = {"started": "2026-11-28T10:00:00Z", "finished": "2026-11-28T10:05:00Z"}
OTHER = "b" * 64


def cell(backend: str = "libtorch", value: float = 2.0, **keys: Any) -> dict[str, Any]:
    return make_cell(backend, [make_check(P99, value, 10.0)], **keys)


def report(folder: Path, *runs: dict[str, Any]) -> Report:
    """The report of several runs, each in a folder of its own, named 0, 1, …"""
    return make_report(read_sources([write(folder / str(number), run) for number, run in enumerate(runs)]))


def tables(made: Report) -> list[list[str]]:
    return [[one.name for one in section.cells] for section in made.sections]


def said(made: Report) -> str:
    return "\n".join([*made.remarks, *(note for section in made.sections for note in section.notes)])


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        pytest.param([cell("a"), cell("b")], [["a", "b"]], id="one model on one device"),
        pytest.param([cell("a"), cell("a", model="m")], [["a"], ["a"]], id="two models"),
        pytest.param([cell("a"), cell("a", device="d")], [["a"], ["a"]], id="two devices"),
        pytest.param([cell("a"), cell("b", emulated=True)], [["a"], ["b"]], id="emulated and real"),
        pytest.param([cell("a"), cell("b", model_sha256=OTHER)], [["a"], ["b"]], id="two hashes"),
        pytest.param([cell("a"), cell("b", model_sha256=None)], [["a"], ["b"]], id="a PASS of unknown model"),
        pytest.param([cell("a"), cell("b", value=20.0, model_sha256=None)], [["a", "b"]], id="one that is out anyway"),
        pytest.param(
            [cell("a"), cell("c", model_sha256=OTHER), cell("b", value=20.0, model_sha256=None)],
            [["a"], ["c"], ["b"]],
            id="out, of either of two models",
        ),
        pytest.param([cell("a", model_sha256=None), cell("b", model_sha256=None)], [["a", "b"]], id="no hashes"),
    ],
)
def test_cells_stand_together_only_where_they_are_of_one_model_on_one_device(
    tmp_path: Path, cells: list[dict[str, Any]], expected: list[list[str]]
) -> None:
    assert tables(report(tmp_path, make_run(cells))) == expected


def test_cells_of_no_hash_from_two_runs_are_not_taken_for_one_model(tmp_path: Path) -> None:
    runs = [make_run([cell(name, model_sha256=None)]) for name in ("a", "b")]
    assert tables(report(tmp_path, *runs)) == [["a"], ["b"]]


def test_tables_that_stand_apart_say_why(tmp_path: Path) -> None:
    made = report(tmp_path, make_run([cell("a"), cell("b", model_sha256=OTHER), cell("c", emulated=True)]))
    assert all("never ranked" in " ".join(section.notes) for section in made.sections)
    assert ["may be another model" in " ".join(section.notes) for section in made.sections] == [True, True, False]


@pytest.mark.parametrize(
    ("first", "second", "counts", "words"),
    [
        pytest.param(
            make_run([cell(value=1.0)], **OLD), make_run([cell(value=2.0)]), 2.0, "the newer", id="newer-last"
        ),
        pytest.param(
            make_run([cell(value=1.0)]), make_run([cell(value=2.0)], **OLD), 1.0, "the newer", id="newer-first"
        ),
        pytest.param(
            make_run([cell(value=1.0)]),
            make_run([cell(value=2.0)], started=LATER["started"], finished=None),
            1.0,
            "still going on",
            id="later-but-going-on",
        ),
        pytest.param(make_run([cell(value=1.0)]), make_run([cell(value=20.0)]), 20.0, "worse", id="as old: the worse"),
        pytest.param(
            make_run([cell(value=20.0)]), make_run([cell(value=1.0)]), 20.0, "worse", id="as old: the worse 2"
        ),
        pytest.param(
            make_run([cell(value=1.0)], started="?", finished="?"),
            make_run([cell(value=2.0)], **OLD),
            2.0,
            "newer",
            id="no-date",
        ),
        pytest.param(
            make_run([cell(value=1.0)], finished="2026-11-27T12:00:00+05:00"),
            make_run([cell(value=2.0)], finished="2026-11-27T10:00:00"),
            2.0,
            "the newer",
            id="time-zones",
        ),
    ],
)
def test_of_a_cell_that_two_files_have_the_newer_counts_and_that_is_said(
    tmp_path: Path, first: dict[str, Any], second: dict[str, Any], counts: float, words: str
) -> None:
    made = report(tmp_path, first, second)
    (only,) = list(made.cells())
    assert only.entry.checks[0].value == counts
    assert words in said(made)


@pytest.mark.parametrize("first", [0, 1])
def test_an_emulated_service_comes_in_no_clouds_place_however_new_it_is(tmp_path: Path, first: int) -> None:
    runs = [make_run([cell(value=9.0)], **OLD), make_run([cell(value=1.0, service_emulated=True)], **LATER)]
    made = report(tmp_path, runs[first], runs[1 - first])
    (only,) = list(made.cells())
    assert (only.entry.checks[0].value, made.sections[0].decision.taken) == (9.0, "libtorch")
    assert "whose service was emulated, is left out" in said(made)
    older = report(tmp_path / "both", *[make_run([cell(service_emulated=True)], **when) for when in (OLD, LATER)])
    assert "the newer" in said(older)


@pytest.mark.parametrize(("when", "taken"), [(OLD, "a"), (LATER, "b")])
def test_a_cell_that_could_not_run_replaces_the_one_of_an_older_run(
    tmp_path: Path, when: dict[str, str], taken: str
) -> None:
    unknown = make_cell("a", [], model_sha256=None, error="nothing was measured: gone", verdict="INCONCLUSIVE")
    made = report(tmp_path, make_run([cell("a", value=1.0)]), make_run([unknown, cell("b", value=9.0)], **when))
    (section,) = made.sections
    assert [one.name for one in section.cells] == ["a", "b"]
    assert section.decision.taken == taken


def test_cells_of_several_runs_are_told_with_the_limits_that_changed_between_them(tmp_path: Path) -> None:
    limits = [10.0, 1000.0]
    runs = [
        make_run([make_cell(name, [make_check(P99, 2.0, limit)])]) for name, limit in zip("ab", limits, strict=True)
    ]
    assert "these cells are of 2 runs" in said(report(tmp_path, *runs))
    assert f"{P99} was judged by different limits (≤ 10, ≤ 1000)" in said(report(tmp_path, *runs))
    alike = report(tmp_path, runs[0], make_run([cell("b")]))
    assert "these cells are of 2 runs" in said(alike)
    assert "different limits" not in said(alike)
    assert "these cells are of" not in said(report(tmp_path, runs[0]))


def test_what_only_the_older_of_two_cells_has_judged_is_named(tmp_path: Path) -> None:
    whole = make_cell("a", [make_check(P99, 20.0, 10.0), make_check("memory_peak_mib", 5.0, 32.0)])
    made = report(
        tmp_path, make_run([whole], **OLD), make_run([make_cell("a", [make_check("memory_peak_mib", 5.0, 32.0)])])
    )
    assert f"it does not have {P99} FAIL" in said(made)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        pytest.param({"finished": None}, "has not ended", id="going-on"),
        pytest.param({"asked": {"selected": "parity", "narrowed": True}}, "narrowed (-k parity)", id="narrowed"),
        pytest.param({"asked": {"selected": None, "narrowed": True}}, "some tests only", id="one test"),
        pytest.param({"cells": []}, "has no cells", id="no-cells"),
    ],
)
def test_what_a_reader_should_know_of_a_file_is_said(tmp_path: Path, keys: dict[str, Any], words: str) -> None:
    assert words in said(report(tmp_path, {**make_run([cell()]), **keys}))


def test_of_a_run_that_has_not_ended_nothing_is_taken(tmp_path: Path) -> None:
    ended, going_on = (report(tmp_path, make_run([cell("a")], finished=when)) for when in (LATER["finished"], None))
    assert [made.sections[0].decision.taken for made in (ended, going_on)] == ["a", None]


def test_of_an_older_hilgates_file_what_is_missing_is_named_once(tmp_path: Path) -> None:
    cells = [{key: value for key, value in cell(name).items() if key != "model_sha256"} for name in "ab"]
    run = make_run(cells)
    del run["files"], run["decision"]
    text = said(report(tmp_path, run))
    assert "older hilgate" in text
    assert all(text.count(key) == 1 for key in ("files", "decision", "cells[].model_sha256"))


def test_a_file_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    path = write(tmp_path, make_run([cell()]))
    (tmp_path / "link.json").symlink_to(path)
    assert len(read_sources([path, tmp_path, tmp_path / "link.json"])) == 1


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(None, id="not there"),
        pytest.param("", id="empty"),
        pytest.param('{"schema": 1, "ce', id="truncated"),
        pytest.param("hello", id="not JSON"),
        pytest.param('{"schema": 1, "schema": 1}', id="a key twice"),
        pytest.param('{"schema": 2}', id="a newer schema"),
        pytest.param(json.dumps(make_run([cell()])).replace("2.0", "NaN"), id="NaN"),
    ],
)
def test_a_file_that_is_no_evidence_is_refused_by_its_name(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "evidence.json").write_text(content)
    with pytest.raises(InputError, match=r"evidence\.json"):
        read_sources([tmp_path])


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "evidence.json")
    for path in (tmp_path, tmp_path / "evidence.json"):
        with pytest.raises(InputError, match="no regular file"):
            read_sources([path])


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="too many"):
        read_sources([tmp_path] * (MOST_FILES + 1))


def test_four_hundred_cells_are_one_report(tmp_path: Path) -> None:
    made = report(tmp_path, make_run([cell(f"b{number}") for number in range(400)]))
    assert len(list(made.cells())) == 400


def test_a_stored_decision_that_does_not_follow_from_the_cells_is_said(tmp_path: Path) -> None:
    run = make_run([cell("a", value=1.0), cell("b", value=9.0)])
    made = report(tmp_path, run).sections[0].decision.as_json()
    assert "does not follow" not in said(report(tmp_path, {**run, "decision": [made]}))
    assert "does not follow" in said(report(tmp_path, {**run, "decision": [{**made, "taken": "b"}]}))
    assert "not one that hilgate writes" in said(report(tmp_path, {**run, "decision": [made, made]}))
    assert "no cells of" in said(report(tmp_path, {**run, "decision": [{**made, "device": "other"}]}))
