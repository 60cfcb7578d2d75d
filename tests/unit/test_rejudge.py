"""Evidence judged again: an honest one follows to the last digit, and whatever was changed in one is named."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.checks.check import Verdict
from harness.measure.measurement import Measurement
from harness.model.sensor_clock import SensorClock
from harness.release.rejudge import Rejudged, rejudge
from tests.support.rejudging import (
    CALM,
    LIMITS,
    PARITY_LIMIT,
    limits_of,
    measure,
    read_run,
    timed_findings,
    write_cell,
)

MS = 1_000_000
Cell = dict[str, Any]
CLOCKED = {**LIMITS, "start_jitter_p99_ms": 2.0, "deadline_miss_rate": 0.1}


def written(folder: Path, measured: Measurement, values: dict[str, float] = LIMITS, **keys: Any) -> Cell:
    limits = limits_of(values)
    return write_cell(folder, timed_findings(measured, values), limits, measured=measured, **keys)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Cell]:
    """A cell, and the folder with its files, which take as long to make as to judge."""
    folder = tmp_path_factory.mktemp("honest")
    return folder, written(folder, measure())


@pytest.fixture
def cell(honest: tuple[Path, Cell], tmp_path: Path) -> Cell:
    """The same, to be changed; its files are in the test's folder."""
    folder, made = honest
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    return copy.deepcopy(made)


def judged(folder: Path, *cells: Cell, values: dict[str, float] = LIMITS, **keys: Any) -> dict[str, Rejudged]:
    run, entries = read_run(*cells, **keys)
    return {each.metric: each for each in rejudge(folder, run, entries[0], limits_of(values), PARITY_LIMIT)}


def problems(results: dict[str, Rejudged]) -> dict[str, str]:
    return {metric: each.problem for metric, each in results.items() if each.problem}


def check_of(cell: Cell, metric: str = "latency_p99_ms") -> dict[str, Any]:
    return next(check for check in cell["checks"] if check["metric"] == metric)


@pytest.mark.parametrize(
    ("made", "values"),
    [
        pytest.param(measure(), LIMITS, id="closed-loop"),
        pytest.param(measure(), {}, id="without-limits"),
        pytest.param(measure(given=600), LIMITS, id="samples-of-the-file"),
        pytest.param(measure(given=6), LIMITS, id="few-samples"),
        pytest.param(measure(count=30), LIMITS, id="too-few-blocks"),
        pytest.param(measure(ms=9.0), LIMITS, id="broken"),
        pytest.param(measure(ms=5.0), LIMITS, id="at-the-limit"),
        pytest.param(measure(clock=SensorClock(100.0, "drop")), CLOCKED, id="dropped"),
        pytest.param(measure(clock=SensorClock(100.0, "queue"), given=6), CLOCKED, id="queued"),
        pytest.param(measure(clock=SensorClock(100.0, "queue"), ms=12.0), CLOCKED, id="queue-that-grows"),
        pytest.param(measure(states=(CALM, {**CALM, "throttled_bits": 4})), LIMITS, id="throttled"),
        pytest.param(measure(states=(CALM, {**CALM, "swapped_kib": 4})), LIMITS, id="swapped"),
        pytest.param(measure(closed_p50_ms=1.5), LIMITS, id="closed-loop-beside"),
    ],
)
def test_what_was_measured_is_made_again_to_the_last_digit(
    tmp_path: Path, made: Measurement, values: dict[str, float]
) -> None:
    cell = written(tmp_path, made, values)
    results = judged(tmp_path, cell, values=values)
    assert problems(results) == {}
    assert {metric: str(each.check.verdict) for metric, each in results.items()} == {
        check["metric"]: check["verdict"] for check in cell["checks"]
    }


def test_a_pass_is_a_pass_again(tmp_path: Path) -> None:
    results = judged(tmp_path, written(tmp_path, measure()))
    assert results["latency_p99_ms"].check.verdict is Verdict.PASS
    assert (results["latency_p99_ms"].remark, results["load_time_s"].remark != "") == ("", True)


def changed(key: str, value: Any) -> Callable[[Cell], None]:
    return lambda cell: check_of(cell).__setitem__(key, value)


def in_account(key: str, value: Any) -> Callable[[Cell], None]:
    return lambda cell: cell["timed"]["contents"][0].__setitem__(key, value)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        pytest.param(changed("value", 1.0), ["value: the evidence says 1.0, and "], id="value"),
        pytest.param(changed("bound", 1.0), ["bound: the evidence says 1.0, and "], id="bound"),
        pytest.param(changed("bound_low", 1.0), ["bound_low: the evidence says 1.0, and "], id="bound-low"),
        pytest.param(changed("limit", 50.0), ["limit: the evidence says 50.0, and 5.0 follows"], id="limit"),
        pytest.param(changed("limit", None), ["limit: the evidence says null, and 5.0 follows"], id="no-limit"),
        pytest.param(changed("blocks", 7), ["blocks: the evidence says 7, and 999 follows"], id="blocks"),
        pytest.param(changed("block_ms", 7.0), ["block_ms: the evidence says 7.0, and 5.0"], id="block-ms"),
        pytest.param(changed("confidence", 0.5), ["confidence: the evidence says 0.5, and 0.99"], id="confidence"),
        pytest.param(changed("inputs", 9), ["inputs: the evidence says 9, and 6000 follows"], id="inputs"),
        pytest.param(
            changed("processes", [2000, 1000, 3000]), ["processes: the evidence says [2000, "], id="processes"
        ),
        pytest.param(changed("samples", 5000), ["samples: the evidence says 5000, and 6000"], id="samples"),
        pytest.param(changed("verdict", "FAIL"), ["verdict: the evidence says FAIL, and PASS follows"], id="verdict"),
        pytest.param(changed("verdict", "MEASURED"), ["verdict: the evidence says MEASURED"], id="measured"),
        pytest.param(changed("verdict", "NOT_APPLICABLE"), ["verdict: ", "NOT_APPLICABLE"], id="not-applicable"),
        pytest.param(changed("better", "higher"), ['better: the evidence says "higher"'], id="better"),
        pytest.param(changed("raw_sha256", "0" * 64), ["raw: ", "SHA-256"], id="raw-sha256"),
        pytest.param(changed("raw_sha256", None), ["raw_sha256: "], id="no-sha256"),
        pytest.param(changed("raw", None), ["raw: "], id="no-raw"),
        pytest.param(changed("raw_inputs", None), ["raw_inputs: ", "older hilgate"], id="no-inputs"),
        pytest.param(changed("raw_inputs_sha256", "0" * 64), ["raw_inputs: ", "SHA-256"], id="inputs-sha256"),
        pytest.param(in_account("processes", [2000, 2000, 1999]), ["raw: its processes timed 5999"], id="cut"),
        pytest.param(in_account("block_sizes", [1, 6, 6]), ["timed: blocks of 1 ", "and 6 follow"], id="block-sizes"),
        pytest.param(in_account("given", 3), ["raw: contents are uniform"], id="given"),
        pytest.param(lambda cell: cell.pop("timed"), ["timed: ", "older hilgate"], id="no-account"),
        pytest.param(lambda cell: cell["timed"]["states"].pop(), ["timed: 3 processes", "those of 2"], id="states"),
        pytest.param(lambda cell: cell["fingerprint"]["warm_up"].pop(), ["timed: 3 warm-ups", "has 2"], id="warm-ups"),
        pytest.param(
            lambda cell: cell["fingerprint"]["state_after"].__setitem__("throttled_bits", 4),
            ["timed: states: the fingerprint's state_after"],
            id="fingerprint",
        ),
    ],
)
def test_what_was_changed_in_a_check_is_named_with_both_figures(
    tmp_path: Path, cell: Cell, edit: Callable[[Cell], None], said: list[str]
) -> None:
    edit(cell)
    result = judged(tmp_path, cell)["latency_p99_ms"]
    assert all(words in result.problem for words in said), result.problem


@pytest.mark.parametrize(
    ("state", "warm_up"),
    [
        pytest.param({"throttled_bits": 4}, {}, id="throttled"),
        pytest.param({"swapped_pages": 900}, {}, id="swapped"),
        pytest.param({"governor": ["powersave"]}, {}, id="governor"),
        pytest.param({}, {"settled": False}, id="not-warm"),
    ],
)
def test_a_doubt_that_was_taken_out_is_made_again(tmp_path: Path, state: Any, warm_up: Any) -> None:
    made = measure(states=(CALM, {**CALM, **state}))
    made.warm_ups[-1] |= warm_up
    cell = written(tmp_path, made)
    assert check_of(cell)["verdict"] == "INCONCLUSIVE"
    check_of(cell).update(verdict="PASS", reason="", doubt="")
    result = judged(tmp_path, cell)["latency_p99_ms"]
    assert "verdict: the evidence says PASS, and INCONCLUSIVE" in result.problem
    assert result.check.verdict is Verdict.INCONCLUSIVE


def test_a_doubt_that_can_only_be_read_makes_it_worse_and_never_better(tmp_path: Path, cell: Cell) -> None:
    check_of(cell)["doubt"] = "the lamp was on"
    result = judged(tmp_path, cell)["latency_p99_ms"]
    assert (result.check.verdict, result.check.reason) == (Verdict.INCONCLUSIVE, "the lamp was on")
    assert "verdict: the evidence says PASS, and INCONCLUSIVE (the lamp was on) follows" in result.problem


def resaved(folder: Path, cell: Cell, edit: Callable[[Any], Any]) -> None:
    """Change a cell's raw samples, and have all of its checks name them by their own hash."""
    path = folder / check_of(cell)["raw"]
    np.save(path, edit(np.load(path)))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    for check in cell["checks"]:
        check.update(raw_sha256=sha256 if check["raw"] else None)


def slower(array: Any) -> Any:
    array = array.copy()
    array[17] += 50_000_000
    return array


@pytest.mark.parametrize(
    ("edit", "metric", "said"),
    [
        pytest.param(slower, "latency_max_ms", "value: the evidence says ", id="one-sample"),
        pytest.param(lambda array: array[:-1], "latency_p99_ms", "raw: ", id="cut"),
        pytest.param(lambda array: array * 6, "latency_p99_ms", "PASS, and FAIL (wanted ≤ 5 ms", id="all-slower"),
        pytest.param(lambda array: (array // MS + 1) * MS, "latency_p50_ms", "clock is too coarse", id="coarse"),
        pytest.param(lambda array: array.astype(np.int32), "latency_p99_ms", "not a whole .npy", id="other-type"),
    ],
)
def test_samples_that_were_changed_with_their_hash_give_other_figures(
    tmp_path: Path, cell: Cell, edit: Callable[[Any], Any], metric: str, said: str
) -> None:
    resaved(tmp_path, cell, edit)
    assert said in judged(tmp_path, cell)[metric].problem


def test_samples_of_another_cell_are_named_whatever_their_hash(tmp_path: Path) -> None:
    cell, other = written(tmp_path, measure(ms=9.0)), written(tmp_path, measure(), backend="torchscript")
    keys = ("raw", "raw_sha256", "raw_inputs", "raw_inputs_sha256", "value", "bound", "bound_low", "verdict", "reason")
    for check, source in zip(cell["checks"], other["checks"], strict=True):
        check.update({key: source[key] for key in keys if key in source})
    cell["timed"], cell["fingerprint"] = other["timed"], other["fingerprint"]
    result = judged(tmp_path, cell, other)["latency_p99_ms"]
    assert "are those of net/pi4/torchscript/latency_p50_ms, another cell" in result.problem
    assert result.check.verdict is Verdict.INCONCLUSIVE


def test_of_contents_the_one_that_is_judged_follows_from_both(tmp_path: Path) -> None:
    cell = written(tmp_path, measure(given=600))
    check_of(cell)["by_content"]["samples"]["bound"] = 0.5
    check_of(cell)["content"] = "uniform"
    found = judged(tmp_path, cell)["latency_p99_ms"].problem
    assert "by_content.samples.bound: the evidence says 0.5, and " in found


def test_limits_are_those_that_are_handed_in(tmp_path: Path) -> None:
    cell = written(tmp_path, measure(), {**LIMITS, "latency_p99_ms": 50.0})
    result = judged(tmp_path, cell, values={**LIMITS, "latency_p99_ms": 0.5})["latency_p99_ms"]
    assert "limit: the evidence says 50.0, and 0.5 follows" in result.problem
    assert "verdict: the evidence says PASS, and FAIL (" in result.problem
    assert result.check.verdict is Verdict.FAIL


def test_a_limit_that_was_never_judged_is_no_pass(tmp_path: Path) -> None:
    cell = written(tmp_path, measure(), {})
    result = judged(tmp_path, cell)["latency_p99_ms"]
    assert result.check.verdict is Verdict.MEASURED
    assert "limit: the evidence says null, and 5.0 follows" in result.problem
    assert "NOT_APPLICABLE" in judged(tmp_path, cell)["latency_p999_ms"].problem or (
        "raw" in judged(tmp_path, cell)["latency_p999_ms"].problem
    )


def test_of_an_emulated_clock_nothing_is_made(tmp_path: Path) -> None:
    cell = written(tmp_path, measure(), emulated=True)
    results = judged(tmp_path, cell)
    assert problems(results) == {}
    assert results["latency_p99_ms"].check.verdict is Verdict.NOT_APPLICABLE
    check_of(cell).update(verdict="PASS", value=1.0, bound=1.0)
    assert "value: the evidence says 1.0, and null" in judged(tmp_path, cell)["latency_p99_ms"].problem


def test_what_is_not_json_of_hilgates_is_a_problem_and_no_traceback(tmp_path: Path) -> None:
    good, random = written(tmp_path, measure(count=60, given=6)), np.random.default_rng(1)
    values: tuple[Any, ...] = (None, "x", [], {}, -1, 10**30, True, [[1]], {"a": {"b": []}})
    places = [(check["metric"], key) for check in good["checks"] for key in check]
    for number in random.permutation(len(places) * len(values))[:150]:
        (metric, key), value = places[number // len(values)], values[number % len(values)]
        cell = copy.deepcopy(good)
        check_of(cell, metric)[key] = value
        try:
            run, entries = read_run(json.loads(json.dumps(cell)))
        except ValueError:  # the reader refuses it
            continue
        rejudge(tmp_path, run, entries[0], limits_of(LIMITS), PARITY_LIMIT)
