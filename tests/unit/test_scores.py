"""Scores of what cannot be stacked: the documentation's mAP and word error rate, beside what they are by hand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from harness import Input, Model
from harness.deploy.content import content_of, noise_notes
from harness.errors import ModelError
from harness.measure.accuracy import AccuracyRun
from harness.measure.sample_set import read_samples
from harness.measure.score import scored_samples
from harness.model.build import BuiltModel, build_model
from harness.model.model import Array
from harness.model.model_file import ModelFile
from harness.parity.trials.samples import samples_of
from harness.parity.trials.space import InputSpace

PAGE = Path(__file__).parents[2] / "docs/scores.md"


def documented() -> dict[str, Any]:
    """What the code of the documentation defines."""
    found: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(block, found)  # noqa: S102  # our own page
    return found


DOCS = documented()


class Net(nn.Module):
    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: torch.Tensor) -> Any:
        return self.answer(x)


def built(answer: Any, item: Input, samples: Any, dims: dict[str, Any], **more: Any) -> BuiltModel:
    model = Model(lambda: Net(answer).eval(), [item], dims=dims, samples=lambda: samples, name="net", **more)
    return build_model(ModelFile(Path("net.py"), model, ()))


# A recognizer of which a step's largest number is its symbol

SOUND = Input("x", ("batch", "steps", 28), min_value=0, max_value=1)
SOUND_DIMS = {"batch": (1, 2), "steps": (1, 40)}


def frames(text: str) -> Array:
    return np.eye(28, dtype=np.float32)[[DOCS["SYMBOLS"].index(letter) for letter in text]]


HEARD = ["rr_bot", "go to_ __balll_l", "_stop it"]
TEXTS = ["robot", "go to the ball", "stop"]


def test_a_word_error_rate_is_what_it_is_by_hand() -> None:
    # "rbot" for "robot": one is another; "go to ball" for "go to the ball": one is missing; "stop it" for "stop": one
    # is too many. 3 errors in 6 words.
    samples = {"x": [frames(text) for text in HEARD]}, TEXTS
    model = built(lambda x: x * 1, SOUND, samples, SOUND_DIMS, score=DOCS["words_right"])
    found = scored_samples(model, None)
    assert found is not None
    assert [arrays["x"].shape[:2] for arrays in found[0].sets] == [(1, len(text)) for text in HEARD]
    assert found[1] == pytest.approx(1 - 3 / 6)


def test_a_backend_that_hears_otherwise_has_another_score() -> None:
    samples = {"x": [frames(text) for text in HEARD]}, TEXTS
    model = built(lambda x: x * 1, SOUND, samples, SOUND_DIMS, score=DOCS["words_right"])
    found = scored_samples(model, None)
    deaf = AccuracyRun(model, found, lambda sets: [[arrays["x"] * 0] for arrays in sets], lambda done, of: None)()
    assert deaf.value == 0  # it hears nothing: each word is an error
    assert deaf.details["eager"] == pytest.approx(0.5)


# A detector that keeps the rows of its input whose score is above a half: x1, y1, x2, y2, score, class

ROWS = Input("x", (8, 6), min_value=0, max_value=10)


def kept(x: torch.Tensor) -> Any:
    rows = x[x[:, 4] > 0.5]
    return rows[:, :4], rows[:, 4], rows[:, 5].long()


def picture(*rows: tuple[float, ...]) -> Array:
    return np.array([*rows, *[(0.0,) * 6] * (8 - len(rows))], np.float32)


PICTURES = [
    # Class 1: right (0.9), a second time the same (0.8: wrong). Class 2: right (0.7).
    picture((0, 0, 2, 2, 0.9, 1), (0, 0, 2, 2, 0.8, 1), (4, 4, 6, 6, 0.7, 2)),
    # Class 1: off by half of it, an overlap of a third (0.95: wrong); one that is not found.
    picture((1, 0, 3, 2, 0.95, 1)),
    picture(),
]
BOXES = [
    (np.array([[0, 0, 2, 2], [4, 4, 6, 6]]), np.array([1, 2])),
    (np.array([[0, 0, 2, 2]]), np.array([1])),
    (np.zeros((0, 4)), np.zeros(0, int)),
]


def test_a_mean_average_precision_is_what_it_is_by_hand() -> None:
    # Class 1, by score: wrong, right, wrong; of 2 wanted. Precision 1/2 at a recall of 1/2: 0.25. Class 2: 1.
    model = built(kept, ROWS, ({"x": np.stack(PICTURES)}, BOXES), {}, score=DOCS["mean_average_precision"])
    found = scored_samples(model, None)
    assert found is not None
    assert found[1] == pytest.approx((0.25 + 1) / 2)


def test_a_detectors_outputs_are_a_list_also_where_a_backend_keeps_as_many_of_each() -> None:
    seen: list[Any] = []

    def score(outputs: Any, labels: Any) -> float:
        seen.append([type(one) for one in outputs])
        return float(sum(map(len, outputs[0])))

    model = built(kept, ROWS, ({"x": np.stack(PICTURES)}, BOXES), {}, score=score)

    def infer(sets: Any) -> Any:
        return [[np.zeros((1, 4), np.float32), np.zeros(1, np.float32), np.zeros(1, np.int64)] for _ in sets]

    run = AccuracyRun(model, scored_samples(model, None), infer, lambda done, of: None)()
    assert seen == [[list] * 3] * 2
    assert (run.details["eager"], run.value) == (4, 3)


def test_a_batch_of_outputs_that_differ_from_call_to_call_is_taken_apart() -> None:
    def upto(x: torch.Tensor) -> torch.Tensor:  # each call has as many columns as its largest number
        return x[:, : int(x.max())]

    column = np.array([[1, 1, 1], [1, 1, 1], [3, 1, 1], [1, 1, 1], [2, 1, 1]], np.float32)
    seen: list[Any] = []

    def score(outputs: Any, labels: Any) -> float:
        seen.append([list(one.shape) for one in outputs])
        return 1.0

    item = Input("x", ("batch", 3), min_value=1, max_value=3)
    model = built(upto, item, ({"x": column}, [0] * 5), {"batch": (1, 2)}, score=score)
    scored_samples(model, None)
    assert seen == [[[1], [1], [3], [3], [2]]]


def test_top_1_says_that_it_takes_no_list() -> None:
    samples = {"x": [frames(text) for text in HEARD]}, [0, 1, 2]
    with pytest.raises(ModelError, match="the outputs cannot be scored") as caught:
        scored_samples(built(lambda x: x[0] * 1, SOUND, samples, SOUND_DIMS), None)
    assert "Give the model a `score`" in caught.value.found


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        pytest.param([frames("ab"), frames("a" * 41)], "x[1]: [41, 28]", id="beyond the range"),
        pytest.param([frames("ab"), np.zeros((3, 27))], "x[1]: [3, 27]", id="another fixed size"),
        pytest.param([frames("ab"), frames("abc"), frames("a")], "x: 3 samples", id="more than labels"),
    ],
)
def test_samples_of_sizes_that_are_not_declared_are_named(parts: Any, found: str) -> None:
    with pytest.raises(ModelError) as caught:
        read_samples(built(lambda x: x, SOUND, ({"x": parts}, ["a", "b"]), SOUND_DIMS))
    assert found in caught.value.found


def test_samples_of_different_sizes_are_timed_and_searched_at_their_own() -> None:
    samples = {"x": [frames(text) for text in HEARD]}, TEXTS
    model = built(lambda x: x * 1, SOUND, samples, SOUND_DIMS, score=DOCS["words_right"])
    read = read_samples(model)
    assert read is not None
    content = content_of(model.model, read.sets, read.step)
    assert content.sizes == {"batch": 1, "steps": "6…16"}
    assert "steps = 6…16" in noise_notes([content.spread_timed(), content.samples_timed()])[0]
    space = InputSpace(model.model, samples_of(read.sets, model.model))
    real = [recipe for recipe in space.corners() if recipe.fills[0].kind == "sample"]
    assert {recipe.sizes["steps"] for recipe in real} == {6, 16}
    assert all(space.holds(recipe) and space.make(recipe)["x"].shape[1] == recipe.sizes["steps"] for recipe in real)
