"""Baselines: what is compared, what is refused, and what is written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from harness.checks.check import Verdict, judge
from harness.checks.limits import Limit
from harness.deploy.content import Content, Timed
from harness.errors import InputError
from harness.evidence.parts import describe_check
from harness.instructions.baseline import VALUE, Comparison, baseline_path, read_baseline, write_baselines
from harness.instructions.counting import Count
from harness.measure.instructions import INSTRUCTIONS, instructions, not_counted, unreachable

DEVICE = "qemu-pi4"
ENTRY: dict[str, Any] = {
    "model": "digits",
    "backend": "onnxruntime",
    VALUE: 1_000_000,
    "inputs": {"image": ["float32", [1, 1, 8, 8]]},
    "cpu": "cortex-a72",
    "python": "3.11.2",
    "runtime": {"onnxruntime": "1.32.0", "numpy": "2.4.6"},
    "settings": {"threads": 1},
    "counted": {"icount_shift": 0},
    "context": {"exporter": "dynamo", "kernel": "6.1.0-30", "samples": 300},
}
CELL = cast(Any, SimpleNamespace(device=SimpleNamespace(name=DEVICE)))
LOAD = cast(Any, None)


def counted(value: int, samples: int = 300) -> Count:
    timed = Timed(name="uniform", given=0, processes=[np.full(samples, value)], numbers=[np.arange(samples)], unit=1)
    return Count(contents=[timed], load=LOAD, described={"icount_shift": 0})


def compared(**now: object) -> Comparison:
    return Comparison(ENTRY, {**ENTRY, **now}, 2.0, "baselines/qemu-pi4.json")


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        pytest.param(1_030_000, Verdict.FAIL, id="3-percent-more"),
        pytest.param(1_010_000, Verdict.PASS, id="1-percent-more"),
        pytest.param(1_020_000, Verdict.PASS, id="just-what-is-allowed"),
        pytest.param(900_000, Verdict.PASS, id="less"),
    ],
)
def test_a_count_is_judged_against_the_baseline(value: int, verdict: Verdict) -> None:
    check = judge(instructions(counted(value), "raw.npy", compared()), [], emulated=True)
    assert check.verdict is verdict
    assert describe_check(check).as_json()["limit"] == pytest.approx(1_020_000)


def test_what_breaks_it_says_by_how_much_what_else_changed_and_what_to_do() -> None:
    comparison = compared(context={**ENTRY["context"], "kernel": "6.1.0-31"})
    check = judge(instructions(counted(1_030_000), "", comparison), [])
    assert check.reason == (
        "wanted ≤ 1,020,000 (baselines/qemu-pi4.json + 2 %); found 1,030,000 at 99% confidence (estimate 1,030,000, "
        "300 samples). The baseline's 1,000,000 +3.00 %. Not as it was then: kernel: 6.1.0-30 → 6.1.0-31. "
        "If that was meant, write it anew: --write-baseline, and commit it"
    )


@pytest.mark.parametrize(
    ("now", "said"),
    [
        pytest.param({"inputs": {"image": ["float32", [1, 3, 8, 8]]}}, "inputs: image", id="inputs"),
        pytest.param(
            {"runtime": {"onnxruntime": "1.33.0", "numpy": "2.4.6"}},
            "versions: onnxruntime 1.32.0 → 1.33.0",
            id="runtime",
        ),
        pytest.param({"cpu": "cortex-a76"}, "CPU: cortex-a72 → cortex-a76", id="cpu"),
        pytest.param({"python": "3.13.1"}, "Python: 3.11.2 → 3.13.1", id="python"),
        pytest.param({"settings": {"threads": 2}}, "settings: threads 1 → 2", id="settings"),
        pytest.param({"counted": {"icount_shift": 2}}, "way of counting: icount_shift 0 → 2", id="counted"),
    ],
)
def test_a_baseline_of_something_else_is_refused_with_the_reason(now: dict[str, object], said: str) -> None:
    check = judge(instructions(counted(1_000_000), "", compared(**now)), [])
    assert check.verdict is Verdict.INCONCLUSIVE
    assert "of another model or other versions" in check.reason
    assert said in check.reason


def test_a_model_that_a_file_does_not_have_is_no_pass() -> None:
    """A new name, or a new backend, must not open the gate."""
    check = judge(instructions(counted(5), "", replace(compared(), entry=None)), [])
    assert check.verdict is Verdict.INCONCLUSIVE
    assert "has no count of this model and backend: --write-baseline adds it" in check.reason
    assert describe_check(check).as_json()["limit"] == "inf"


def test_so_many_samples_as_a_models_size_asks_for_are_no_other_way_of_counting() -> None:
    """A costlier model may be counted fewer times: it fails, and is not refused."""
    comparison = compared(context={**ENTRY["context"], "samples": 100})
    check = judge(instructions(counted(1_030_000, 100), "", comparison), [])
    assert check.verdict is Verdict.FAIL
    assert "samples: 300 → 100" in check.reason


OWN = Limit("instructions_per_inference", 900_000, "model.py")


@pytest.mark.parametrize(
    "comparison",
    [
        pytest.param(compared(), id="beside-a-baseline"),
        pytest.param(compared(cpu="cortex-a76"), id="beside-one-that-is-refused"),
        pytest.param(replace(compared(), entry=None), id="beside-one-without-the-model"),
    ],
)
def test_a_limit_of_the_models_own_that_is_broken_fails_whatever_the_baseline_is(comparison: Comparison) -> None:
    check = judge(instructions(counted(1_000_000), "", comparison), [OWN])
    assert (check.verdict, check.limit) == (Verdict.FAIL, OWN)
    assert "--write-baseline" not in check.reason


def test_a_clear_gain_is_worth_keeping() -> None:
    assert "5.0 % fewer instructions than the baseline" in compared().gained(950_000)
    assert compared().gained(990_000) == ""
    assert compared(cpu="another").gained(950_000) == ""


@pytest.mark.parametrize(
    ("samples", "verdict"),
    [pytest.param(9, Verdict.PASS, id="enough"), pytest.param(3, Verdict.INCONCLUSIVE, id="too-few-for-a-bound")],
)
def test_a_median_of_few_is_bounded_or_nothing_is_said(samples: int, verdict: Verdict) -> None:
    assert judge(instructions(counted(1_000_000, samples), "", compared()), []).verdict is verdict


BOTH = {**ENTRY, VALUE: 9_000_000, "by_content": {"uniform": 1_000_000, "samples": 9_000_000}}


@pytest.mark.parametrize(
    ("noise", "samples", "verdict", "said"),
    [
        pytest.param(1_000_000, 9_000_000, Verdict.PASS, "", id="neither-more"),
        pytest.param(1_500_000, 9_000_000, Verdict.FAIL, "baseline's 1,000,000 +50.00 %", id="the-cheaper-one"),
        pytest.param(1_000_000, 9_500_000, Verdict.FAIL, "baseline's 9,000,000 +5.56 %", id="the-costlier-one"),
        pytest.param(1_500_000, 100, Verdict.FAIL, "baseline's 1,000,000 +50.00 %", id="while-the-other-gains"),
    ],
)
def test_each_content_is_compared_with_its_own_count(noise: int, samples: int, verdict: Verdict, said: str) -> None:
    comparison = Comparison(BOTH, BOTH, 2.0, "baselines/qemu-pi4.json")
    each = (
        counted(noise).contents[0],
        Timed(name="samples", given=9, processes=[np.full(9, samples)], numbers=[np.arange(9)], unit=1),
    )
    check = judge(instructions(Count(contents=each, load=LOAD, described={}), "", comparison), [])
    assert check.verdict is verdict
    assert said in check.reason


def test_a_baseline_of_other_samples_is_refused() -> None:
    of = [Content(fills=[], samples=[{"x": np.full(3, value, np.float32)}] * 2).identity() for value in (1, 1, 2)]
    assert of[0] == of[1] != of[2]
    assert Content(fills=[]).identity() == {}
    comparison = Comparison({**BOTH, "counted": of[0]}, {**BOTH, "counted": of[2]}, 2.0, "baselines/qemu-pi4.json")
    assert "way of counting: samples_sha256" in comparison.doubt


def test_a_content_of_which_too_few_were_counted_is_not_passed_over() -> None:
    noise = Timed(name="uniform", given=0, processes=[np.full(9, 1_000_000)], numbers=[np.arange(9)], unit=1)
    samples = Timed(name="samples", given=30, processes=[np.full(3, 10)], numbers=[np.arange(3)], unit=1)
    check = judge(instructions(Count(contents=[noise, samples], load=LOAD, described={}), "", compared()), [])
    assert check.verdict is Verdict.INCONCLUSIVE
    assert "3 of the model file's 30 samples" in check.reason


def test_a_board_that_cannot_count_has_none_and_one_that_is_lost_is_no_pass() -> None:
    limit = Limit("instructions_per_inference", 900_000, "model.py")
    assert judge(not_counted(), [limit]).verdict is Verdict.NOT_APPLICABLE
    for limits in ([], [limit]):
        check = judge(unreachable("QEMU ended"), limits, emulated=True)
        assert (check.verdict, check.reason) == (
            Verdict.INCONCLUSIVE,
            "the board that counts is not there: QEMU ended",
        )


def test_what_is_written_can_be_read_and_other_cells_stay(tmp_path: Path) -> None:
    other = {**ENTRY, "backend": "torchscript", VALUE: 7}
    assert write_baselines(tmp_path, [(CELL, ENTRY), (CELL, other)]) == [baseline_path(tmp_path, DEVICE)]
    write_baselines(tmp_path, [(CELL, {**ENTRY, VALUE: 8, "by_content": {"uniform": 7, "samples": 8}})])
    found = read_baseline(tmp_path, DEVICE)
    assert found is not None
    assert {key: entry[VALUE] for key, entry in found.entries.items()} == {
        ("digits", "onnxruntime"): 8,
        ("digits", "torchscript"): 7,
    }
    assert INSTRUCTIONS.name == VALUE


def test_where_there_is_none_there_is_none(tmp_path: Path) -> None:
    assert read_baseline(tmp_path, DEVICE) is None


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("", id="empty"),
        pytest.param("<<<<<<< ours", id="a-merge-conflict"),
        pytest.param("[]", id="no-object"),
        pytest.param('{"schema": 2, "device": "qemu-pi4", "cells": []}', id="another-schema"),
        pytest.param('{"schema": 1, "device": "qemu-pi5", "cells": []}', id="of-another-device"),
        pytest.param('{"schema": 1, "device": "qemu-pi4", "cells": [{"model": "a", "backend": "b"}]}', id="no-count"),
        pytest.param(json.dumps({"schema": 1, "device": DEVICE, "cells": [{**ENTRY, VALUE: "many"}]}), id="no-number"),
        pytest.param(json.dumps({"schema": 1, "device": DEVICE, "cells": [{**ENTRY, VALUE: 0}]}), id="zero"),
        pytest.param(
            json.dumps({"schema": 1, "device": DEVICE, "cells": [{**ENTRY, "by_content": {"samples": 0}}]}),
            id="zero-of-one-content",
        ),
        pytest.param(
            json.dumps({"schema": 1, "device": DEVICE, "cells": [{**ENTRY, "context": None}]}), id="no-context"
        ),
    ],
)
def test_a_damaged_one_is_an_error_that_says_where_and_what_to_do(tmp_path: Path, content: str) -> None:
    path = baseline_path(tmp_path, DEVICE)
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        read_baseline(tmp_path, DEVICE)
    assert caught.value.where == str(path)
    assert "--write-baseline" in caught.value.hint
