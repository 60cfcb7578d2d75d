"""Badly conditioned inputs: what the input's own rounding explains is no mismatch, and what it does not is one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from harness import Input, Model
from harness.model.build import BuiltModel, build_model
from harness.model.inputs import Arrays
from harness.model.model import Array
from harness.model.model_file import ModelFile
from harness.parity.rule.comparison import compare
from harness.parity.rule.reference import Reference
from harness.parity.search import ParitySearch
from harness.parity.trials.recipe import Recipe

SIZE = 4096
CONSTANT = np.full((1, SIZE), 0.5, np.float32)
SPREAD = np.random.default_rng(0).uniform(0.1, 1, (1, SIZE)).astype(np.float32)


class Net(nn.Module):
    def __init__(self, answer: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.answer(x)


def built(answer: Callable[[torch.Tensor], torch.Tensor], **more: object) -> BuiltModel:
    item = Input("x", shape=("b", SIZE), **{"min_value": 0.0, "max_value": 10.0, **more})  # type: ignore[arg-type]
    model = Model(build=lambda: Net(answer).eval(), inputs=[item], dims={"b": (1, 2)}, name="net")
    return build_model(ModelFile(Path("net.py"), model, ()))


def mean(x: torch.Tensor) -> torch.Tensor:
    return x.mean(-1)


def standardized(x: torch.Tensor) -> torch.Tensor:
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + 1e-12).sqrt()


def off_by_an_ulp(x: Array) -> Array:
    """Standardized with a mean that is off in its last place, as a sum in another order may be."""
    mean = np.nextafter(x.mean(-1, keepdims=True, dtype=np.float32), np.float32(np.inf))
    centred = x - mean
    result: Array = centred / np.sqrt((centred * centred).mean(-1, keepdims=True, dtype=np.float32) + np.float32(1e-12))
    return result


def ratios(model: BuiltModel, arrays: Arrays, answer: Array) -> tuple[float, float]:
    """By the plain rule, and by the widened one."""
    reference = Reference(model)
    plain = compare(reference(arrays), ["output"], [answer]).ratio
    return plain, compare(reference.widened(arrays), ["output"], [answer]).ratio


@pytest.mark.parametrize(
    ("answer", "other"),
    [
        pytest.param(standardized, off_by_an_ulp, id="equal-numbers-standardized"),
        pytest.param(lambda x: x.std(-1), lambda x: np.float32(3e-8) + 0 * x[..., 0], id="deviation-of-equal-numbers"),
    ],
)
def test_what_the_inputs_rounding_explains_is_no_mismatch(
    answer: Callable[[torch.Tensor], torch.Tensor], other: Callable[[Array], Array]
) -> None:
    plain, widened = ratios(built(answer), {"x": CONSTANT}, other(CONSTANT).astype(np.float32))
    assert plain > 10 >= widened


@pytest.mark.parametrize(
    ("x", "factor"),
    [pytest.param(CONSTANT, 1.0001, id="at-a-lucky-input"), pytest.param(SPREAD, 1.0001, id="at-any-other")],
)
def test_a_wrong_answer_stays_one(x: Array, factor: float) -> None:
    _, widened = ratios(built(mean), {"x": x}, (x.mean(-1) * factor).astype(np.float32))
    assert widened > 100


@pytest.mark.parametrize(
    ("answer", "x"),
    [
        pytest.param(lambda x: torch.floor(x / 0.5).sum(-1), 0.5, id="at-it"),
        pytest.param(lambda x: torch.floor(x / 0.1).sum(-1), 0.1, id="just-past-it"),  # float32's 0.1 is 0.1 + 1.5e-9
        pytest.param(lambda x: (x > 0.5).float().sum(-1) + 1, 0.5, id="a-threshold"),
        pytest.param(lambda x: torch.floor(x / 0.5).sum(-1) + x[..., 0], 0.5, id="beside-something-smooth"),
    ],
)
def test_a_jump_is_no_conditioning(answer: Callable[[torch.Tensor], torch.Tensor], x: float) -> None:
    """Each is about to jump there, or has just done so: a backend on the other side is found."""
    model, arrays = built(answer), {"x": np.full((1, SIZE), x, np.float32)}
    right = Reference(model)(arrays)[0].eager
    _, widened = ratios(model, arrays, right - np.float32(SIZE))
    assert widened > 1e4


def test_integers_are_not_moved() -> None:
    item = Input("x", shape=("b", SIZE), dtype="int64", min_value=0, max_value=3)
    model = Model(build=lambda: Net(lambda x: x * 0.5).eval(), inputs=[item], dims={"b": (1, 2)}, name="net")
    reference = Reference(build_model(ModelFile(Path("net.py"), model, ())))
    # Half of 3 is the largest output of all: a unit in its last place is left.
    assert [one.perturbation for one in reference.widened({"x": np.ones((1, SIZE), np.int64)})] == [
        np.spacing(np.float32(1.5))
    ]


def test_a_small_answer_may_be_off_by_what_the_largest_may() -> None:
    """A sigmoid far down its tail, computed as one over one plus something."""
    model = built(torch.sigmoid, min_value=-20.0, max_value=20.0)
    x = np.full((1, SIZE), -17.0, np.float32)
    exact = 1 / (1 + np.exp(17.0))
    plain, widened = ratios(model, {"x": x}, np.full((1, SIZE), exact + 6e-8, np.float32))
    assert plain > 1e4
    assert widened <= 1.1
    assert ratios(model, {"x": x}, np.full((1, SIZE), exact + 6e-6, np.float32))[1] > 10


def test_a_constant_that_the_model_itself_makes_of_zeros_is_one_too() -> None:
    """Normalizing zeros plus a bias: what is left of equal numbers."""
    model = built(lambda x: standardized(x + 0.3))
    (widened,) = Reference(model).widened({"x": np.zeros((1, SIZE), np.float32)})
    assert 1e-3 < widened.perturbation < 10


def test_an_input_at_the_end_of_its_range_does_not_leave_it() -> None:
    model = built(lambda x: torch.sqrt(1 - x), max_value=1.0)
    (widened,) = Reference(model).widened({"x": np.ones((1, SIZE), np.float32)})
    assert np.isfinite(widened.perturbation)
    assert widened.perturbation < 1e-3


def test_nan_and_infinity_stay_where_they_are() -> None:
    model = built(lambda x: x * 2, min_value=-10.0, allow_nan=True, allow_infinity=True)
    x = SPREAD.copy()
    x[0, :3] = np.nan, np.inf, -np.inf
    (widened,) = Reference(model).widened({"x": x})
    assert 0 < widened.perturbation < 1e-5


def test_a_search_says_on_how_many_inputs_it_was_so() -> None:
    model = built(standardized)
    reference = Reference(model)

    def infer(recipes: Sequence[Recipe]) -> list[list[Array]]:
        return [[off_by_an_ulp(reference.space.make(recipe)["x"])] for recipe in recipes]

    search = ParitySearch(
        reference=reference,
        infer=infer,
        names=model.outputs,
        search_seed=0,
        report=lambda done, total: None,
    )
    finding = search.run(search.check)
    assert not finding.failure
    assert finding.details["badly_conditioned"] == search.judging.tally.conditioned > 0


def test_a_sample_outside_the_range_is_looked_at_where_it_is() -> None:
    model = built(standardized, min_value=-1.0, max_value=1.0)
    x = np.full((1, SIZE), 1000.0, np.float32)
    (widened,) = Reference(model).widened({"x": x})
    (wide,) = Reference(built(standardized, min_value=-2000.0, max_value=2000.0)).widened({"x": x})
    assert widened.perturbation == wide.perturbation > 0
