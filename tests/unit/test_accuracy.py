"""Accuracy: how samples are cut into calls, put together again, and scored; what is said where they do not fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness import Input, Model
from harness.errors import ModelError
from harness.measure.accuracy import AccuracyRun
from harness.measure.sample_set import SampleSet, read_samples
from harness.measure.score import eager_accuracy
from harness.model.build import BuiltModel, build_model
from harness.model.inputs import Arrays
from harness.model.model import Array
from harness.model.model_file import ModelFile
from harness.parity.trials.space import InputSpace

Forward = Callable[..., Any]


class Net(torch.nn.Module):
    def __init__(self, forward: Forward) -> None:
        super().__init__()
        self.answer = forward

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.answer(*inputs)


def built(forward: Forward, inputs: Sequence[Input], samples: Any, **more: Any) -> BuiltModel:
    """A model whose samples() returns what is given, or what it returns where it can be called."""
    load = samples if callable(samples) else lambda: samples
    model = Model(build=lambda: Net(forward).eval(), inputs=inputs, samples=load, name="net", **more)
    return build_model(ModelFile(Path("net.py"), model, ()))


def same(x: torch.Tensor) -> torch.Tensor:
    return x


BATCH = Input("x", shape=("batch", 2))
ONE = Input("x", shape=(2,))
FOUR = Input("x", shape=(4, 2))


def counted(*shape: int) -> Array:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def outputs_of(model: BuiltModel, samples: SampleSet) -> list[list[Array]]:
    with torch.no_grad():
        return [[model.module(*map(torch.from_numpy, arrays.values())).numpy()] for arrays in samples.sets]


@pytest.mark.parametrize(
    ("item", "measure", "shape", "calls", "of_a_call"),
    [
        pytest.param(BATCH, {"batch": 1}, (3, 2), 3, (1, 2), id="batch-of-1"),
        pytest.param(BATCH, {"batch": 4}, (8, 2), 2, (4, 2), id="whole-batches"),
        pytest.param(BATCH, {"batch": 4}, (10, 2), 3, (4, 2), id="not-a-multiple-of-the-batch"),
        pytest.param(BATCH, {"batch": 4}, (4, 2), 1, (4, 2), id="one-batch"),
        pytest.param(BATCH, {"batch": 4}, (3, 4, 2), 3, (4, 2), id="a-batch-each"),
        pytest.param(BATCH, {"batch": 8}, (3, 2), 1, (3, 2), id="fewer-than-a-batch"),
        pytest.param(FOUR, {}, (6, 2), 2, (4, 2), id="fixed-first-axis"),
        pytest.param(ONE, {}, (5, 2), 5, (2,), id="without-a-batch-axis"),
    ],
)
def test_every_sample_goes_into_a_call_and_comes_back_in_its_place(
    item: Input, measure: dict[str, int], shape: tuple[int, ...], calls: int, of_a_call: tuple[int, ...]
) -> None:
    column = counted(*shape)
    dims = dict.fromkeys(measure, (1, 8))
    model = built(same, [item], ({"x": column}, np.zeros(len(column))), dims=dims, measure=measure)
    samples = read_samples(model)
    assert samples is not None
    assert [arrays["x"].shape for arrays in samples.sets] == [of_a_call] * calls
    np.testing.assert_array_equal(samples.join([one for (one,) in outputs_of(model, samples)]), column)


PICTURE = Input("x", shape=("batch", "height", "width"))
PICTURES = {"batch": (1, 8), "height": (1, 1080), "width": (1, 1920)}


@pytest.mark.parametrize(
    ("shape", "measure", "of_a_call"),
    [
        pytest.param((9, 4, 6), {"batch": 1}, (1, 4, 6), id="smaller-than-measured"),
        pytest.param((9, 4, 6), {}, (8, 4, 6), id="nothing-said"),
        pytest.param((3, 4, 6), {}, (3, 4, 6), id="fewer-than-the-largest-batch"),
        pytest.param((3, 2, 4, 6), {}, (2, 4, 6), id="a-batch-each"),
    ],
)
def test_samples_have_sizes_of_their_own(
    shape: tuple[int, ...], measure: dict[str, int], of_a_call: tuple[int, ...]
) -> None:
    column = counted(*shape)
    model = built(same, [PICTURE], ({"x": column}, np.zeros(len(column))), dims=PICTURES, measure=measure)
    samples = read_samples(model)
    assert samples is not None
    assert {arrays["x"].shape for arrays in samples.sets} == {of_a_call}
    np.testing.assert_array_equal(samples.join([one for (one,) in outputs_of(model, samples)]), column)
    assert InputSpace(model.model, samples.sets).sample_sizes[0] == dict(zip(PICTURES, of_a_call, strict=True))


@pytest.mark.parametrize(
    ("shapes", "what"),
    [
        pytest.param(((3, 4, 2000), (3, 4)), "the samples of 'x' do not fit", id="beyond-the-range"),
        pytest.param(((3, 4, 6), (3, 5)), "the samples of 'y' do not fit", id="two-sizes-of-one-dimension"),
    ],
)
def test_samples_of_sizes_that_are_not_declared_are_an_error(shapes: Sequence[tuple[int, ...]], what: str) -> None:
    inputs = [PICTURE, Input("y", shape=("batch", "height"))]
    arrays = {name: counted(*shape) for name, shape in zip("xy", shapes, strict=True)}
    with pytest.raises(ModelError) as caught:
        read_samples(built(lambda x, y: x, inputs, (arrays, [0] * 3), dims=PICTURES))
    assert caught.value.what == what
    assert "1 … 1080" in caught.value.wanted


@pytest.mark.parametrize(
    ("item", "given", "at_most", "taken"),
    [
        pytest.param(ONE, 5, None, [0, 1, 2, 3, 4], id="all-without-a-bound"),
        pytest.param(ONE, 5, 6, [0, 1, 2, 3, 4], id="fewer-than-allowed"),
        pytest.param(ONE, 5, 5, [0, 1, 2, 3, 4], id="as-many-as-allowed"),
        pytest.param(ONE, 9, 3, [0, 4, 8], id="from-the-first-to-the-last"),
        pytest.param(ONE, 6, 5, [0, 1, 2, 4, 5], id="none-twice"),
        pytest.param(ONE, 9, 1, [0], id="one"),
        pytest.param(FOUR, 16, 6, [0, 3, 6, 9, 12, 15], id="not-a-multiple-of-a-call"),
        pytest.param(FOUR, 10, 2, [0, 3, 6, 9], id="never-less-than-a-call"),
        pytest.param(FOUR, 4, 2, [0, 1, 2, 3], id="just-one-call"),
    ],
)
def test_of_more_samples_than_allowed_evenly_spread_ones_are_taken(
    item: Input, given: int, at_most: int | None, taken: list[int]
) -> None:
    column = counted(given, 2)
    model = built(same, [item], ({"x": column}, np.arange(given)))
    samples = read_samples(model, at_most)
    assert samples is not None
    assert (samples.given, samples.labels.tolist()) == (given, taken)
    np.testing.assert_array_equal(samples.join([one for (one,) in outputs_of(model, samples)]), column[taken])


def test_samples_get_the_inputs_type_and_order() -> None:
    inputs = [Input("a", shape=(1,), dtype="uint8", min_value=0, max_value=9), Input("b", shape=(1,))]
    arrays = {"b": np.ones((3, 1)), "a": [[1], [2], [3]]}
    samples = read_samples(built(lambda a, b: a + b, inputs, (arrays, [0, 1, 2])))
    assert samples is not None
    assert [(name, array.dtype.name) for name, array in samples.sets[0].items()] == [("a", "uint8"), ("b", "float32")]


@pytest.mark.parametrize(
    ("inputs", "samples", "what", "found"),
    [
        pytest.param([ONE], lambda: 1 / 0, "samples() raised", "ZeroDivisionError", id="raises"),
        pytest.param(
            [ONE], {"x": counted(3, 2)}, "what samples() returned cannot be used", "ValueError", id="no-labels"
        ),
        pytest.param(
            [ONE],
            ({"y": counted(3, 2)}, [0] * 3),
            "what samples() returned cannot be used",
            "it returned a tuple of 2, [a dict of 1, 'y': float32 (3, 2)], [a list of 3, an int, an int, an int]",
            id="what-it-returned",
        ),
        pytest.param(
            [ONE], ({"y": counted(3, 2)}, [0] * 3), "what samples() returned cannot be used", "'x'", id="other-names"
        ),
        pytest.param([ONE], ({"x": [[1], [2, 3]]}, [0] * 2), "the samples do not fit", "x[0]: [1]", id="ragged"),
        pytest.param(
            [ONE], ({"x": [["a", "b"]]}, [0]), "what samples() returned cannot be used", "ValueError", id="texts"
        ),
        pytest.param([ONE], ({"x": counted(3, 2)}, 3), "the samples have no labels", "labels[]", id="one-label"),
        pytest.param([ONE], ({"x": counted(0, 2)}, []), "the samples have no labels", "labels[0]", id="empty"),
        pytest.param([ONE], ({"x": 1.0}, [0]), "the samples of 'x' do not fit", "[]", id="a-number"),
        pytest.param([ONE], ({"x": counted(3, 2)}, [0] * 4), "the samples of 'x' do not fit", "[3, 2]", id="counts"),
        pytest.param([ONE], ({"x": counted(3, 3)}, [0] * 3), "the samples of 'x' do not fit", "[3, 3]", id="shape"),
        pytest.param([FOUR], ({"x": counted(3, 2)}, [0] * 3), "the samples of 'x' do not fit", "[3, 2]", id="too-few"),
        pytest.param(
            [FOUR, Input("y", shape=(2,))],
            ({"x": counted(8, 2), "y": counted(8, 2)}, [0] * 8),
            "the samples do not fit each other",
            "x: 4, y: one",
            id="of-two-inputs",
        ),
    ],
)
def test_samples_that_do_not_fit_are_an_error(inputs: list[Input], samples: Any, what: str, found: str) -> None:
    model = built(lambda *all_inputs: all_inputs[0], inputs, samples)
    with pytest.raises(ModelError) as caught:
        read_samples(model)
    assert (caught.value.what, found in caught.value.found) == (what, True)
    assert caught.value.where == "net.py: samples"


def test_of_samples_of_different_sizes_the_one_that_does_not_fit_is_named() -> None:
    columns = [counted(1, 4, 6), counted(1, 4, 8), counted(1, 2000, 8)]
    with pytest.raises(ModelError) as caught:
        read_samples(built(same, [PICTURE], ({"x": columns}, [0] * 3), dims=PICTURES))
    assert caught.value.found == "x[2]: [1, 2000, 8]"


def test_too_few_samples_say_how_many_go_into_a_call() -> None:
    with pytest.raises(ModelError) as caught:
        read_samples(built(same, [FOUR], ({"x": counted(3, 2)}, [0] * 3)))
    assert "at least 4 samples" in caught.value.wanted


def test_a_model_without_samples_has_none() -> None:
    model = built(same, [ONE], None)
    object.__setattr__(model.model, "samples", None)
    assert read_samples(model) is None


ROWS = np.array([[0, 1], [1, 0], [0, 1], [3, 2], [1, 2]], dtype=np.float32)


@pytest.mark.parametrize(
    ("labels", "rows", "score"),
    [
        pytest.param([1, 0, 1, 0, 1], ROWS, 1.0, id="all-right"),
        pytest.param([1, 0, 1, 0, 0], ROWS, 0.8, id="one-wrong"),
        pytest.param([0, 0, 1, 0, 1], np.where(ROWS == [0, 1], np.nan, ROWS), 0.6, id="nan-is-wrong"),
    ],
)
def test_top_1_counts_the_largest_score(labels: list[int], rows: Array, score: float) -> None:
    item = Input("x", shape=("batch", 2), allow_nan=True)
    model = built(same, [item], ({"x": rows}, labels), dims={"batch": (2, 2)})
    samples = read_samples(model)
    assert samples is not None
    assert eager_accuracy(model, samples) == pytest.approx(score)


def test_a_score_gets_outputs_in_the_models_own_nesting() -> None:
    def score(outputs: Any, labels: Array) -> float:
        assert list(outputs) == ["scores", "more"]
        assert isinstance(outputs["more"], tuple)
        np.testing.assert_array_equal(outputs["more"][0], ROWS * 2)
        return float((outputs["scores"] == labels[:, np.newaxis]).mean())

    def forward(x: torch.Tensor) -> dict[str, Any]:
        return {"scores": x, "more": (x * 2, x.sum())}

    model = built(forward, [BATCH], ({"x": ROWS}, [0, 1, 0, 3, 1]), dims={"batch": (2, 2)}, score=score)
    samples = read_samples(model)
    assert samples is not None
    assert eager_accuracy(model, samples) == pytest.approx(0.5)


def test_an_output_that_does_not_count_samples_is_stacked_call_by_call() -> None:
    shapes: list[tuple[int, ...]] = []

    def score(outputs: Any, labels: Array) -> float:
        shapes.extend(output.shape for output in outputs)
        return 1.0

    model = built(lambda x: (x, x.sum(), x.t()[:1]), [FOUR], ({"x": counted(6, 2)}, [0] * 6), score=score)
    samples = read_samples(model)
    assert samples is not None
    eager_accuracy(model, samples)
    assert shapes == [(6, 2), (2,), (2, 1, 4)]


@pytest.mark.parametrize(
    ("forward", "score", "found"),
    [
        pytest.param(lambda x: x.sum(), None, "top-1 wants scores [N, classes]", id="top-1-of-a-number"),
        pytest.param(lambda x: x[..., None], None, "output (4, 2, 1), labels (4,)", id="top-1-of-three-axes"),
        pytest.param(same, lambda outputs, labels: 1 / 0, "ZeroDivisionError", id="raises"),
        pytest.param(same, lambda outputs, labels: outputs, "TypeError", id="no-number"),
        pytest.param(
            lambda x: (x, {"sum": x.sum(1)}),
            lambda outputs, labels: outputs["boxes"],
            "it was given\noutputs: a tuple of 2, float32 (4, 2), [a dict of 1, 'sum': float32 (4,)]\n"
            "labels: int64 (4,)",
            id="what-it-was-given",
        ),
        pytest.param(same, lambda outputs, labels: float("nan"), "outputs: float32 (4, 2)", id="and-when-not-finite"),
        pytest.param(same, lambda outputs, labels: float("nan"), "nan", id="not-finite"),
    ],
)
def test_a_score_that_cannot_be_had_is_an_error(forward: Forward, score: Any, found: str) -> None:
    model = built(forward, [FOUR], ({"x": counted(4, 2)}, [0] * 4), score=score)
    samples = read_samples(model)
    assert samples is not None
    with pytest.raises(ModelError) as caught:
        eager_accuracy(model, samples)
    assert found in caught.value.found


def run_with(answer: Callable[[Array], list[Array]]) -> tuple[Any, list[tuple[int, int]]]:
    """An accuracy run whose deployment answers each call with the given outputs; and what was reported."""
    labels = [1] * 130
    model = built(same, [ONE], ({"x": np.tile([0, 1], (130, 1))}, labels))
    samples = read_samples(model)
    assert samples is not None
    reported: list[tuple[int, int]] = []

    def infer(sets: Sequence[Arrays]) -> list[list[Array]]:
        assert len(sets) <= 64
        return [answer(arrays["x"]) for arrays in sets]

    run = AccuracyRun(model, (samples, 1.0), infer, lambda done, total: reported.append((done, total)))
    return run(), reported


def test_a_deployments_score_is_its_own_bound_with_eagers_beside_it() -> None:
    finding, reported = run_with(lambda x: [x])
    assert (finding.value, finding.bound, finding.samples) == (1.0, 1.0, 130)
    assert finding.details == {"eager": 1.0, "given": 130}
    assert reported == [(64, 130), (128, 130), (130, 130)]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        pytest.param(lambda x: [x[np.newaxis]], "top-1 wants scores", id="other-shape"),
        pytest.param(lambda x: [x, x], "found 2", id="too-many-outputs"),
        pytest.param(lambda x: [], "found 0", id="no-outputs"),
    ],
)
def test_outputs_that_only_eager_gives_usably_are_the_deployments_failure(
    answer: Callable[[Array], list[Array]], said: str
) -> None:
    finding, _ = run_with(answer)
    assert (finding.value, said in finding.failure) == (None, True)


def test_without_samples_accuracy_is_not_applicable() -> None:
    model = built(same, [ONE], None)
    run = AccuracyRun(model, None, lambda sets: [], lambda done, total: None)
    assert run().not_applicable
