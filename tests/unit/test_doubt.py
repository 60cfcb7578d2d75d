"""What makes a search inconclusive: inputs of which too little can be said, whatever the machine's pace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from harness import Input, Model
from harness.checks.check import Verdict, judge
from harness.checks.finding import Finding
from harness.checks.limits import Limit
from harness.model.build import build_model
from harness.model.inputs import Arrays
from harness.model.model import Array
from harness.model.model_file import ModelFile
from harness.parity.rule.reference import Reference
from harness.parity.search import ParitySearch
from harness.parity.trials.recipe import Recipe

from .test_search import Net, double

Backend = Callable[[Recipe, Array], Array]


def searching(
    forward: Callable[[torch.Tensor], torch.Tensor], item: Input, backend: Backend, samples: Sequence[Arrays] = ()
) -> ParitySearch:
    """On a device whose clock says that each input takes a second: there is time for 20."""
    model = Model(lambda: Net(forward).eval(), [item], dims={"b": (1, 8)}, name="net")
    reference = Reference(build_model(ModelFile(Path("net.py"), model, ())), lambda: samples)
    asked: list[Recipe] = []

    def infer(recipes: Sequence[Recipe]) -> list[list[Array]]:
        asked.extend(recipes)
        return [[backend(recipe, reference.space.make(recipe)["x"])] for recipe in recipes]

    built = reference.built
    clocks = [lambda: float(len(asked))]
    return ParitySearch(
        reference=reference,
        infer=infer,
        names=built.outputs,
        search_seed=0,
        report=lambda done, total: None,
        search_s=40,
        clocks=clocks,
    )


def verdict(finding: Finding) -> Verdict:
    return judge(finding, [Limit("parity", 30.0, "net.py")]).verdict


def tail(recipe: Recipe, x: Array) -> Array:
    """A sigmoid that is right to 1e-7."""
    exact: Array = 1 / (1 + np.exp(-x.astype(np.float64)))
    return (exact + 1e-7).astype(np.float32)


def test_a_bounded_functions_own_range_is_no_sentinel() -> None:
    search = searching(torch.sigmoid, Input("x", ("b", 4), min_value=-16.0, max_value=-6.0), tail)
    finding = search.run(search.check)
    assert verdict(finding) is Verdict.PASS, finding.invalid_reason or finding.failure
    assert (search.judging.tally.hidden, search.judging.tally.conditioned > 10) == (0, True)


# An ulp of the sample is 64; what is asked is some hundreds at most.
SAMPLE = {"x": np.array([[-5e8, 1, 1, 1]], np.float32)}


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        pytest.param(range(16), Verdict.PASS, id="the-first-few-of-the-list"),
        pytest.param(range(200), Verdict.INCONCLUSIVE, id="all-of-it"),
    ],
)
def test_a_list_in_doubt_goes_on_where_the_time_is_short(wrong: range, expected: Verdict) -> None:
    asked: list[str] = []

    def backend(recipe: Recipe, x: Array) -> Array:
        asked.extend([recipe.key] if recipe.key not in asked else [])
        return x * (3 if asked.index(recipe.key) in wrong and abs(x).max() < 1000 else 2)

    item = Input("x", ("b", 4), min_value=-500.0, max_value=500.0)
    search = searching(double, item, backend, [SAMPLE])
    finding = search.run(search.check)
    assert verdict(finding) is expected, finding.invalid_reason or finding.failure
    assert search.judging.tally.listed > 20


def above_mean(x: torch.Tensor) -> torch.Tensor:
    return (x > x.mean(-1, keepdim=True)).float()


def another_mean(x: Array) -> Array:
    """One that is off by some units in its last place."""
    mean: Array = x.mean(-1, keepdims=True, dtype=np.float64) * (1 - 3e-7)
    return mean


def those_above(recipe: Recipe, x: Array) -> Array:
    chosen: Array = x[x > another_mean(x.reshape(1, -1))]
    return chosen


def above_another_mean(recipe: Recipe, x: Array) -> Array:
    return (x > another_mean(x)).astype(np.float32)


def below_another_mean(recipe: Recipe, x: Array) -> Array:
    return 1 - above_another_mean(recipe, x)


def no_less(recipe: Recipe, x: Array) -> Array:
    """Wrong at 0.5, and nowhere else."""
    return (x >= 0.5).astype(np.float32)


@pytest.mark.parametrize(
    ("forward", "backend", "expected"),
    [
        pytest.param(above_mean, above_another_mean, Verdict.PASS, id="a-sum"),
        pytest.param(lambda x: x[x > x.mean()], those_above, Verdict.PASS, id="how-many-are-above-a-sum"),
        pytest.param(lambda x: (x > 0.5).float(), no_less, Verdict.FAIL, id="an-input"),
        pytest.param(above_mean, below_another_mean, Verdict.FAIL, id="wrong-everywhere"),
    ],
)
def test_only_where_the_last_place_of_a_sum_decides_either_side_of_a_threshold_is_right(
    forward: Callable[[torch.Tensor], torch.Tensor], backend: Backend, expected: Verdict
) -> None:
    search = searching(forward, Input("x", ("b", 4), min_value=-0.5, max_value=0.5), backend)
    finding = search.run(search.check)
    assert verdict(finding) is expected, finding.invalid_reason or finding.failure
    assert (search.judging.tally.set_aside > 0) == (expected is Verdict.PASS)
