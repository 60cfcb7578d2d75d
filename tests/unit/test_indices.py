"""Indices are judged by the values that they point to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness import Closeness, Input, Model
from harness.export import Artifact, ArtifactFile
from harness.model.build import BuiltModel, build_model
from harness.model.model import Array
from harness.model.model_file import ModelFile
from harness.parity.replay.program import ratio_of_indices
from harness.parity.replay.write import write_replay
from harness.parity.rule.comparison import compare
from harness.parity.rule.reference import Reference

TIED = np.array([[3, 1, 3, 2], [0, 5, 5, 5]], np.float32)
NAN = np.array([[3, np.nan, 3, np.nan], [0, 5, 4, 3]], np.float32)


class Net(torch.nn.Module):
    def __init__(self, forward: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.answer = forward

    def forward(self, x: torch.Tensor) -> Any:
        return self.answer(x)


def built(forward: Callable[[torch.Tensor], Any], tolerance: Any = 10.0) -> BuiltModel:
    inputs = [Input("x", shape=("b", 4), allow_nan=True)]
    model = Model(lambda: Net(forward).eval(), inputs, dims={"b": (1, 8)}, name="net", tolerance=tolerance)
    return build_model(ModelFile(Path("net.py"), model, ()))


def ratio(forward: Callable[[torch.Tensor], Any], x: Array, answer: Any) -> float:
    """Of an answer with the indices' own type, by the wider rule."""
    model = built(forward)
    expected = Reference(model).widened({"x": x})
    found = [np.array(answer, expected[-1].eager.dtype)]
    return compare(expected[-1:], [expected[-1].name], found).ratio


ARGMAX = [
    pytest.param(lambda x: x.argmax(-1), [0, 1], id="argmax"),
    pytest.param(lambda x: x.max(-1)[1], [0, 1], id="max"),
    pytest.param(lambda x: x.topk(1)[1].squeeze(-1), [0, 1], id="topk-squeezed"),
    pytest.param(lambda x: x.argmax(-1, keepdim=True), [[0], [1]], id="keepdim"),
    pytest.param(lambda x: x.argmax(-1).to(torch.int32), [0, 1], id="narrowed"),
    pytest.param(lambda x: x.T.argmax(0), [0, 1], id="along-the-first-axis"),
]


@pytest.mark.parametrize(("forward", "answer"), ARGMAX)
def test_of_equal_values_any_may_be_picked(forward: Callable[[torch.Tensor], Any], answer: Any) -> None:
    other = np.array(answer) + np.array([2, 1]).reshape(np.shape(answer))
    assert ratio(forward, TIED, answer) == ratio(forward, TIED, other) == 0


@pytest.mark.parametrize(("forward", "answer"), ARGMAX)
def test_another_value_is_an_error_as_large_as_they_are_apart(
    forward: Callable[[torch.Tensor], Any], answer: Any
) -> None:
    other = np.array(answer) + np.array([1, 0]).reshape(np.shape(answer))
    assert 1e5 < ratio(forward, TIED, other) < np.inf


def test_values_as_good_as_equal_are_an_error_of_that_size() -> None:
    near = np.array([[1, 1 + 2**-23, 0, 0]], np.float32)
    assert ratio(lambda x: x.argmax(-1), near, [0]) == pytest.approx(1)
    # A softmax in float32 may not tell them apart at all.
    assert ratio(lambda x: torch.softmax(x * 0.3, -1).argmax(-1), near, [0]) <= 2


@pytest.mark.parametrize("index", [pytest.param(index, id=str(index)) for index in (-1, 4, 2**40)])
def test_an_index_that_is_none_is_a_difference(index: int) -> None:
    assert ratio(lambda x: x.argmax(-1), TIED, [index, 1]) == np.inf


def test_the_place_of_a_nan_is_the_place_of_a_nan() -> None:
    assert ratio(lambda x: x.argmax(-1), NAN, [3, 1]) == 0
    assert ratio(lambda x: x.argmax(-1), NAN, [0, 1]) == np.inf


def test_the_order_of_equal_values_is_free_and_each_comes_once() -> None:
    def sorted_places(x: torch.Tensor) -> torch.Tensor:
        return x.argsort(-1)

    assert ratio(sorted_places, TIED, [[1, 3, 0, 2], [0, 3, 2, 1]]) == 0
    assert ratio(sorted_places, TIED, [[1, 3, 2, 2], [0, 3, 2, 1]]) == np.inf
    assert ratio(sorted_places, TIED, [[3, 1, 0, 2], [0, 3, 2, 1]]) > 1e5


def test_of_all_elements_laid_flat() -> None:
    assert ratio(lambda x: x.argmax(), TIED, 5) == ratio(lambda x: x.argmax(), TIED, 7) == 0
    assert ratio(lambda x: x.argmax(), TIED, 0) > 1e5


def test_what_was_reckoned_with_afterwards_is_no_index() -> None:
    assert ratio(lambda x: x.argmax(-1) + 1, TIED, [3, 2]) == np.inf


def test_a_backend_that_is_right_is_not_looked_at_closer() -> None:
    model = built(lambda x: (x, x.argmax(-1)))
    (_, plain), (_, widened) = Reference(model)({"x": TIED}), Reference(model).widened({"x": TIED})
    assert plain.picked is None
    assert widened.picked is not None


MASKED = np.array([[7, -5, 1, 0]], np.float32)
MASK = torch.tensor([[False, False, False, True]])


@pytest.mark.parametrize(
    "value", [pytest.param(value, id=f"{value:g}") for value in (-1e9, float(torch.finfo(torch.float32).min))]
)
def test_a_mask_among_the_values_allows_nothing_more(value: float) -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        return x.masked_fill(MASK, value).argmax(-1)

    assert ratio(forward, MASKED, [0]) == 0
    assert ratio(forward, MASKED, [1]) > 1e5
    assert ratio(forward, MASKED, [3]) > 1e5


def test_indices_that_were_written_to_are_none() -> None:
    def shifted(x: torch.Tensor) -> torch.Tensor:
        places = x.argmax(-1)
        places += 1
        return places

    assert ratio(shifted, np.array([[0, 9, 0, 0]], np.float32), [3]) == np.inf


@pytest.mark.parametrize(
    "forward",
    [
        pytest.param(lambda x: x.reshape(-1, 2, 2).argmax(0).T, id="transposed"),
        pytest.param(lambda x: x.reshape(-1, 2, 2).argmax(0).T.contiguous(), id="copied-in-another-order"),
        pytest.param(lambda x: x.reshape(-1, 2, 2).argmax(0)[:, 1:], id="a-part"),
    ],
)
def test_indices_in_another_order_are_none(forward: Callable[[torch.Tensor], Any]) -> None:
    x = np.array([[9, 5, 5, 5], [0, 5, 5, 5]], np.float32)
    (expected,) = Reference(built(forward)).picking({"x": x})
    assert expected.picked is None


def test_whole_numbers_are_equal_or_not() -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        return (x.to(torch.int32) + 100_000_000).argmax(-1)

    assert ratio(forward, np.array([[0, 50, 5, 50]], np.float32), [3]) == 0
    assert ratio(forward, np.array([[0, 50, 5, 7]], np.float32), [0]) == np.inf


def test_a_closeness_says_which_values_are_as_good_as_equal() -> None:
    near = np.array([[1, 1.001, 0, 0]], np.float32)
    model = built(lambda x: x.argmax(-1), tolerance=Closeness(rtol=1e-2))
    (expected,) = Reference(model).widened({"x": near})
    assert compare([expected], ["output"], [np.array([0])]).ratio < 1
    assert compare([expected], ["output"], [np.array([2])]).ratio > 1


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param([0, 1], id="same"),
        pytest.param([2, 2], id="equal"),
        pytest.param([1, 1], id="wrong"),
        pytest.param([0, 4], id="none"),
    ],
)
@pytest.mark.parametrize(
    "forward",
    [pytest.param(lambda x: x.argmax(-1), id="floats"), pytest.param(lambda x: x.int().argmax(-1), id="whole-numbers")],
)
def test_a_replay_judges_them_alike(forward: Callable[[torch.Tensor], Any], answer: Any, tmp_path: Path) -> None:
    (expected,) = Reference(built(forward)).widened({"x": TIED})
    found = np.array(answer)
    artifact = Artifact(
        folder=tmp_path, format="onnx", files=(ArtifactFile("net.onnx", "", 1),), exporter="", warnings=()
    )
    (tmp_path / "net.onnx").touch()
    write_replay(tmp_path / "replay", artifact, {"x": TIED}, [expected], {}, {})
    (output,) = json.loads((tmp_path / "replay" / "case.json").read_text())["outputs"]
    stored = np.load(tmp_path / "replay" / "reference.npz")
    replayed = ratio_of_indices(found, expected.eager, stored["output.picked"], output, stored["output.scale"])
    assert replayed == pytest.approx(compare([expected], ["output"], [found]).ratio)


def in_inference_mode(forward: Callable[[torch.Tensor], Any]) -> Callable[[torch.Tensor], Any]:
    return torch.inference_mode()(forward)


@pytest.mark.parametrize(("forward", "answer"), ARGMAX)
def test_a_forward_in_inference_mode_is_judged_alike(forward: Callable[[torch.Tensor], Any], answer: Any) -> None:
    other = np.array(answer) + np.array([2, 1]).reshape(np.shape(answer))
    assert ratio(in_inference_mode(forward), TIED, other) == 0
    assert ratio(in_inference_mode(forward), TIED, np.array(answer) * 0 + 1) > 1e5


def test_a_model_that_does_not_run_when_it_is_watched_is_judged_by_its_indices_alone() -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        if torch.utils._python_dispatch._get_current_dispatch_mode() is not None:
            raise RuntimeError("watched")
        return x.argmax(-1)

    (found,) = Reference(built(forward, tolerance=Closeness(atol=1.0))).picking({"x": TIED})
    assert (found.picked, found.eager.tolist()) == (None, [0, 1])


def test_what_is_picked_of_rows_that_tie_is_judged_by_the_same_rows_in_float64() -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        order = (x[0] * 1e-9 + 1).argsort(descending=True, stable=True)  # in float32, all keys are 1
        return x[0, order].argmax(0, keepdim=True)

    x = np.array([[1, 2, 3, 4]], np.float32)
    assert ratio(forward, x, [3]) == 0
    assert ratio(forward, x, [0]) > 1e5
