"""Misspelled words: the one that was meant is named, by the same rule everywhere (issue 16)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness import Input, Model
from harness.errors import ModelError
from harness.host.suggestion import did_you_mean, nearest
from harness.measure import known_metrics
from harness.model.model_file import checked_limits
from harness.model.unordered import find_output

NOTHING: Any = None


@pytest.mark.parametrize(
    ("word", "found"),
    [
        pytest.param("treads", "threads", id="a-letter-less"),
        pytest.param("THREADS", "threads", id="another-case"),
        pytest.param("latency", None, id="nothing-near"),
        pytest.param(3, None, id="no-text"),
    ],
)
def test_the_nearest_name_is_found_whatever_its_case(word: object, found: str | None) -> None:
    assert nearest(word, ["threads", "link"]) == found


def test_nothing_is_asked_where_nothing_is_near() -> None:
    assert did_you_mean("zzz", ["threads"]) == ""


def model(x: Input, **more: Any) -> Model:
    return Model(build=lambda: NOTHING, inputs=[x], **more)


BATCH = Input("x", ("batch", 4))


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        pytest.param(lambda: Input("x", (1,), "flaot32"), "did you mean 'float32'?", id="a dtype"),
        pytest.param(lambda: Input("x", (1,), "torch.float32"), "did you mean 'float32'?", id="a dtype of torch"),
        pytest.param(
            lambda: model(BATCH, dims={"bacth": (1, 2)}), "dims has 'bacth', an input's shape 'batch'", id="a dimension"
        ),
        pytest.param(
            lambda: model(BATCH, dims={"batch": (1, 2)}, measure={"bath": 1}), "did you mean 'batch'?", id="measure"
        ),
        pytest.param(
            lambda: model(Input("x", ("time",), max_value="tme"), dims={"time": (1, 2)}),
            "did you mean 'time'?",
            id="a range that is tied",
        ),
        pytest.param(
            lambda: find_output("output_sores", ["output_scores", "output_boxes"], "unordered"),
            "did you mean 'output_scores'?",
            id="an output",
        ),
    ],
)
def test_a_misspelled_word_of_a_model_file_is_told_with_the_one_that_was_meant(
    make: Callable[[], object], hint: str
) -> None:
    with pytest.raises(ModelError) as caught:
        make()
    assert hint in caught.value.hint


def test_a_misspelled_limit_is_told_with_the_one_that_was_meant() -> None:
    from pathlib import Path

    said = model(Input("x", (1,)), limits={"latncy_p99_ms": 3})
    with pytest.raises(ModelError, match="did you mean 'latency_p99_ms'"):
        checked_limits(Path("net.py"), said, list(known_metrics().values()))
