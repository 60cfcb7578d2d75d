"""Two runs of the benchmarks beside each other: what changed by more than the noise, and nothing else."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.__main__ import Place, main
from benchmarks.support.changes import Change, Line, compare_results, differing_facts
from benchmarks.support.result import Outcome, Result, ResultError, parse_line, read_result
from benchmarks.support.row import RATIO, Aim, Row, ratio_row

AT_MOST, AT_LEAST = Aim(9.0), Aim(low=1.0)


def row(value: float, *rounds: float, aim: Aim | None = None, what: str = "a call") -> Row:
    return Row(what, value, RATIO, aim=aim, rounds=rounds)


def result(*rows: Row, name: str = "calls", failure: str = "") -> Result:
    return Result("2026-11-28T04:00:00+00:00", {"cpu": "one"}, outcomes=[Outcome(name, list(rows), failure)])


@pytest.mark.parametrize(
    ("rounds", "spread"),
    [
        pytest.param((), None, id="none"),
        pytest.param((2.0,), None, id="one"),
        pytest.param((3.0, 1.0), (1.0, 3.0), id="few-all-of-them"),
        pytest.param([*range(11)], (1.0, 9.0), id="many-without-the-outer-tenths"),
    ],
)
def test_a_rows_noise_is_what_its_rounds_differ_by(rounds: Sequence[float], spread: tuple[float, float] | None) -> None:
    assert row(2.0, *rounds).spread == spread


def test_the_best_of_many_rounds_is_within_their_spread() -> None:
    assert row(0.0, *range(11)).spread == (0.0, 9.0)


@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        pytest.param(row(2, 1.9, 2.1), row(2.05, 2, 2.1), Change.NOISE, id="each-within-the-others-rounds"),
        pytest.param(row(2, 1.0, 9.0), row(5, 4.9, 5.1), Change.NOISE, id="within-the-wider-of-both"),
        pytest.param(row(5, 4.9, 5.1), row(2, 1.0, 9.0), Change.NOISE, id="the-other-way-round"),
        pytest.param(row(2, 1.9, 2.1), row(2.2, 2.15, 2.3), Change.MORE, id="more"),
        pytest.param(row(2, 1.9, 2.1), row(1.8, 1.7, 1.85), Change.LESS, id="less"),
        pytest.param(row(2, 1.9, 2.1), row(3, 2.9, 3.1, aim=AT_MOST), Change.WORSE, id="more-of-what-should-be-little"),
        pytest.param(row(2, 1.9, 2.1), row(1, 0.9, 1.1, aim=AT_MOST), Change.BETTER, id="less-of-it"),
        pytest.param(row(2, 1.9, 2.1), row(3, 2.9, 3.1, aim=AT_LEAST), Change.BETTER, id="more-of-what-should-be-much"),
        pytest.param(row(2, 1.9, 2.1), row(1, 0.9, 1.1, aim=AT_LEAST), Change.WORSE, id="less-of-that"),
        pytest.param(row(2, 1.9, 2.1), row(3, 2.9, 3.1, aim=Aim(4, 1)), Change.MORE, id="an-aim-between-two"),
        pytest.param(row(2), row(3, 2.9, 3.1), Change.ONCE, id="taken-once-before"),
        pytest.param(row(2, 1.9, 2.1), row(3), Change.ONCE, id="taken-once-now"),
    ],
)
def test_a_figure_has_changed_where_it_is_outside_of_the_noise_of_both(old: Row, new: Row, change: Change) -> None:
    assert Line("calls", old, new).change is change


def test_equal_builds_seldom_change_and_a_slower_one_does() -> None:
    """Ratios whose rounds differ by 10 %, as on a busy machine, and a change of 40 %."""
    import numpy as np

    random = np.random.default_rng(1)

    def taken(factor: float) -> Row:
        rounds = [[factor * one] for one in random.lognormal(0, 0.1, 20)]
        return ratio_row("a call", rounds, [[1.0]] * 20, "itself")

    changes = [Line("calls", taken(1.0), taken(1.0)).change for _ in range(200)]
    assert changes.count(Change.NOISE) >= 198
    assert all(Line("calls", taken(1.0), taken(1.4)).change is Change.MORE for _ in range(50))


def test_rows_are_matched_by_what_they_measure_and_their_unit_in_order() -> None:
    old = result(row(1.0), row(2.0), replace(row(3.0), unit="s"), row(4.0, what="gone"))
    new = result(row(5.0, what="new"), row(1.5), row(2.5), replace(row(3.5), unit="s"))
    lines = [(line.old and line.old.value, line.new and line.new.value) for line in compare_results(old, new)]
    assert lines == [(None, 5.0), (1.0, 1.5), (2.0, 2.5), (3.0, 3.5), (4.0, None)]
    assert {line.change for line in compare_results(old, new)} == {Change.NEW, Change.ONCE, Change.GONE}


def test_benchmarks_that_only_one_run_has_are_no_lines() -> None:
    assert not compare_results(result(row(1.0), name="one"), result(row(1.0), name="other"))


def test_runs_of_two_machines_or_of_other_extent_say_so() -> None:
    other = replace(result(row(1.0)), machine={"cpu": "another"}, quick=True)
    assert differing_facts(result(row(1.0)), other) == [
        "cpu: one before, another now",
        "--quick: False before, True now",
    ]


@pytest.mark.parametrize(
    ("of", "status"),
    [
        pytest.param(result(row(2.0, aim=AT_MOST)), 0, id="kept"),
        pytest.param(result(row(10.0, aim=AT_MOST)), 1, id="missed"),
        pytest.param(result(row(10.0, aim=AT_MOST), failure="it died"), 2, id="failed"),
        pytest.param(replace(result(), outcomes=[]), 2, id="nothing-run"),
    ],
)
def test_the_exit_status_says_what_came_of_it(of: Result, status: int) -> None:
    assert of.status == status


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    whole = result(row(2.0, 1.0, 3.0, aim=AT_MOST), replace(row(1.0, aim=AT_LEAST), details={"own_us": [1.5, 2]}))
    whole.write(tmp_path / "result.json")
    again = read_result(tmp_path / "result.json")
    assert replace(again, outcomes=[]) == replace(whole, outcomes=[])
    assert [one.as_json() for one in again.outcomes[0].rows] == [one.as_json() for one in whole.outcomes[0].rows]
    assert again.outcomes[0].rows[1].aim == AT_LEAST


@pytest.mark.parametrize(
    ("key", "value"),
    [
        pytest.param("value", "1", id="a-text"),
        pytest.param("value", None, id="none"),
        pytest.param("what", "", id="no-name"),
        pytest.param("what", "x" * 501, id="a-long-name"),
        pytest.param("rounds", ["1"], id="rounds-of-text"),
        pytest.param("rounds", 3, id="no-rounds"),
        pytest.param("aim", {"higher": 1.0}, id="another-aim"),
        pytest.param("more", 1, id="a-key-that-nobody-knows"),
    ],
)
def test_what_is_no_row_is_refused(key: str, value: object) -> None:
    parse_line(json.dumps(row(1.0).as_json()).encode())
    with pytest.raises(ResultError, match=key):
        parse_line(json.dumps(row(1.0).as_json() | {key: value}).encode())


@pytest.mark.parametrize("value", [pytest.param(value, id=str(value)) for value in (math.nan, math.inf)])
def test_a_figure_is_finite(value: float) -> None:
    with pytest.raises(ResultError, match="value"):
        parse_line(json.dumps(row(value).as_json()).encode())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(None, "cannot be read", id="none"),
        pytest.param("{", "is no result", id="no-json"),
        pytest.param('{"schema": 1, "rows": []}', "is no result", id="of-an-earlier-version"),
    ],
)
def test_what_cannot_be_compared_with_is_said_before_anything_runs(
    content: str | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "old.json").write_text(content, encoding="utf-8")
    (tmp_path / "calls.py").write_text('"""Calls."""\n\nIS_QUICK = True\n', encoding="utf-8")
    assert main(["--against", str(tmp_path / "old.json")], Place(tmp_path, "none", tmp_path / "build")) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "build").exists()


def test_both_runs_are_shown_line_by_line_without_running_anything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result(row(2.0, 1.9, 2.1), row(1.0, 0.9, 1.1, what="a \x1b[31mload")).write(tmp_path / "old.json")
    result(row(3.0, 2.9, 3.1, aim=AT_MOST), row(1.0, 0.9, 1.1, what="a \x1b[31mload")).write(tmp_path / "new.json")
    assert main(["--read", str(tmp_path / "new.json"), "--against", str(tmp_path / "old.json")]) == 0
    shown = capsys.readouterr().out
    assert "worse: calls: a call: 2 × → 3 × (+50.0 %)" in shown
    assert "2 lines compared; changed by more than the noise: 1" in shown
    assert "\x1b[31m" not in shown
