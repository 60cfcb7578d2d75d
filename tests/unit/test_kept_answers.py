"""Inputs that are kept with their answers: right by the plainest rule, the best first, and within bounds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness import Closeness, Input, Model
from harness.model.build import build_model
from harness.model.model import Array
from harness.model.model_file import ModelFile
from harness.parity import answers as module
from harness.parity.answers import Allowance, KeptAnswers
from harness.parity.judging import Judging
from harness.parity.rule.comparison import Expected
from harness.parity.rule.reference import Reference
from harness.parity.trials.fills import Fill
from harness.parity.trials.recipe import Recipe

LIMIT = 10.0
SAMPLE = Fill("sample")
SPREAD = Fill("uniform", seed=1)


def recipe(fill: Fill = SPREAD) -> Recipe:
    return Recipe({}, (fill,))


def floats(*values: float, eager: Sequence[float] = (), **more: Any) -> Expected:
    """Expected float32 whose own error is one in a million."""
    exact = np.array(values, np.float64)
    near = np.array(eager or values, np.float32)
    return Expected("y", near, exact, perturbation=1e-6, **more)


def whole(*values: int, dtype: str = "int64") -> Expected:
    array = np.array(values, dtype)
    return Expected("y", array, array)


def inputs(value: float = 1.0, size: int = 2) -> dict[str, Array]:
    return {"x": np.full(size, value, np.float32)}


def offered(expected: Expected, answer: Array, fill: Fill = SPREAD) -> KeptAnswers:
    kept = KeptAnswers(LIMIT)
    kept.offer(recipe(fill), inputs(), [answer], [expected])
    return kept


@pytest.mark.parametrize(
    ("expected", "answer", "allowed"),
    [
        pytest.param(floats(1, 2), np.array([1, 2.000004], "f4"), Allowance("float32", 1e-5, 0.0), id="near"),
        pytest.param(floats(1, 2), np.array([1, 2.00002], "f4"), None, id="too far off"),
        pytest.param(floats(1, 2), np.array([1, 2], "f8"), None, id="another type"),
        pytest.param(floats(1, 2), np.array([[1, 2]], "f4"), None, id="another shape"),
        pytest.param(floats(1, 2), np.array([1, np.nan], "f4"), None, id="NaN"),
        pytest.param(floats(1, np.nan), np.array([1, np.nan], "f4"), None, id="NaN wanted"),
        pytest.param(floats(1, np.inf), np.array([1, np.inf], "f4"), None, id="infinity wanted"),
        pytest.param(whole(1, 2), np.array([1, 2]), Allowance("int64", 0.0, 0.0), id="whole numbers"),
        pytest.param(whole(1, 2), np.array([1, 3]), None, id="another number"),
        pytest.param(whole(1, 2), np.array([1, 2], "int32"), None, id="another type of number"),
        pytest.param(whole(0, 1, dtype="bool"), np.array([False, True]), Allowance("bool", 0.0, 0.0), id="booleans"),
        pytest.param(
            floats(1, 2, closeness=Closeness(rtol=0.001, atol=0.01)),
            np.array([1, 2.05], "f4"),
            Allowance("float32", 0.1, 0.01),
            id="as close as the model file says",
        ),
    ],
)
def test_an_answer_is_kept_where_it_is_right_element_by_element(
    expected: Expected, answer: Array, allowed: Allowance | None
) -> None:
    kept = offered(expected, answer)
    assert len(kept.cases) == (allowed is not None)
    for case in kept.cases:
        assert allowed is not None
        found = case.allowed["y"]
        assert found.dtype == allowed.dtype
        assert [found.atol, found.rtol] == pytest.approx([allowed.atol, allowed.rtol])
        assert (case.answers["y"] == expected.exact).all()


def filled(*fills: Fill) -> list[float]:
    """The values of the inputs that are kept of these, each with a value of its own: its place."""
    kept = KeptAnswers(LIMIT)
    for place, fill in enumerate(fills):
        kept.offer(recipe(fill), inputs(place), [np.array([1, 2], "f4")], [floats(1, 2)])
    return [float(case.inputs["x"][0]) for case in kept.cases]


ZEROS, ENDS, NAN = Fill("constant"), Fill("ends"), Fill("uniform", special=((0.5, np.nan),))
CHANGED = Fill("sample", changed=0.5)


@pytest.mark.parametrize(
    ("fills", "kept"),
    [
        pytest.param([ZEROS, SPREAD, ENDS, NAN], [1, 2, 0], id="constants last, the first of them"),
        pytest.param([ZEROS, SPREAD, SPREAD, SPREAD, SPREAD], [1, 2, 3], id="the first of those that are as good"),
        pytest.param([SPREAD, SPREAD, SPREAD, SAMPLE], [3, 0, 1], id="samples first"),
        pytest.param([SAMPLE, SAMPLE, SAMPLE, SPREAD], [0, 1, 3], id="a spread one beside samples"),
        pytest.param([CHANGED, SAMPLE, SPREAD, ENDS], [1, 2, 0], id="changed samples are drawn ones"),
    ],
)
def test_what_the_model_gets_in_use_comes_first_and_zeros_last(fills: list[Fill], kept: list[float]) -> None:
    assert filled(*fills) == kept


def test_an_input_is_kept_once() -> None:
    kept = KeptAnswers(LIMIT)
    for fill in (SPREAD, ENDS):
        kept.offer(recipe(fill), inputs(), [np.array([1, 2], "f4")], [floats(1, 2)])
    assert len(kept.cases) == 1


def test_an_answer_near_the_limit_gives_way_to_any_other() -> None:
    kept = KeptAnswers(LIMIT)
    near, right = np.array([1, 2.000009], "f4"), np.array([1, 2], "f4")
    for place, (fill, answer) in enumerate([(SAMPLE, near), (ZEROS, right), (ZEROS, right), (ZEROS, right)]):
        kept.offer(recipe(fill), inputs(place), [answer], [floats(1, 2)])
    assert [float(case.inputs["x"][0]) for case in kept.cases] == [1, 2, 3]


def test_an_input_on_which_zeros_would_pass_is_no_better_than_zeros() -> None:
    expected = Expected("y", np.array([1e-3], "f4"), np.array([1e-3]), perturbation=1.0)
    (case,) = offered(expected, np.array([1e-3], "f4")).cases
    assert case.rank == module.DULL


def sized(*sizes: int) -> list[int]:
    """The sizes of the inputs that are kept of these, in bytes, each better than the one before."""
    kept = KeptAnswers(LIMIT)
    ranks = [NAN, ENDS, SPREAD, SAMPLE][-len(sizes) :]
    for fill, size in zip(ranks, sizes, strict=True):
        kept.offer(recipe(fill), inputs(size, size // 4), [np.array([1, 2], "f4")], [floats(1, 2)])
    return [case.inputs["x"].nbytes for case in kept.cases]


MIB = 1 << 20


@pytest.mark.parametrize(
    ("sizes", "kept"),
    [
        pytest.param([2, 3, 4, 5], [5, 4, 3], id="three"),
        pytest.param([8, 10], [10], id="within sixteen MiB"),
        pytest.param([8, 6, 10], [10], id="the best, not the most"),
        pytest.param([5, 8, 10], [10, 5], id="and what has room beside it"),
        pytest.param([8, 40], [8], id="one within sixteen MiB rather than a larger one"),
        pytest.param([30, 40], [40], id="one alone that is larger"),
        pytest.param([65], [], id="none that is too large"),
    ],
)
def test_all_that_is_kept_is_bounded(sizes: list[int], kept: list[int]) -> None:
    assert sized(*(size * MIB for size in sizes)) == [size * MIB for size in kept]


def test_looking_for_answers_ends_where_none_fits() -> None:
    kept, computed = KeptAnswers(LIMIT), []

    def compute() -> list[Expected]:
        computed.append(1)
        return []

    for place in range(1000):
        kept.offer(recipe(), inputs(place), [np.array([1, 2], "f4")], compute)
    assert (len(computed), kept.cases) == (module.COMPUTED, [])


# In a search


class Rows(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2


def judging(backend: Any, **more: Any) -> Judging:
    model = Model(lambda: Rows().eval(), [Input("x", shape=("n", 2))], dims={"n": (3, 3)}, name="rows", **more)
    reference = Reference(build_model(ModelFile(Path("rows.py"), model, ())))

    def infer(recipes: Sequence[Recipe]) -> list[list[Array]]:
        return [[backend(reference.space.make(one)["x"])] for one in recipes]

    return Judging(reference, infer, ("output",))


def first_two(outputs: Any) -> dict[str, Any]:
    return {"rows": np.sort(outputs, axis=0)}


@pytest.mark.parametrize(
    ("backend", "more", "count"),
    [
        pytest.param(lambda x: x * 2, {}, 2, id="right"),
        pytest.param(lambda x: x * 3, {}, 0, id="wrong"),
        pytest.param(lambda x: x * 2, {"canonical": first_two}, 2, id="canonical, in eager's order"),
        pytest.param(lambda x: x[::-1] * 2, {"canonical": first_two}, 0, id="canonical, in another order"),
        pytest.param(lambda x: x * 2, {"unordered": ["output"]}, 2, id="a set, in eager's order"),
        pytest.param(lambda x: x[::-1] * 2, {"unordered": ["output"]}, 0, id="a set, in another order"),
    ],
)
def test_of_what_was_judged_right_that_is_kept_which_needs_no_more_than_the_plain_rule(
    backend: Any, more: dict[str, Any], count: int
) -> None:
    judged = judging(backend, **more)
    for one in judged.reference.space.whole_range():
        judged.judge(one, climbed=False)
    assert [[*case.answers] for case in judged.kept.cases] == [["output"]] * count
    for case in judged.kept.cases:
        assert (case.answers["output"] == case.inputs["x"].astype(np.float64) * 2).all()


def test_inputs_of_other_sizes_than_the_measured_stay_only_where_there_is_none_of_those() -> None:
    kept = KeptAnswers(LIMIT, {"batch": 1})

    def offer(batch: int, value: float, second: float = 2) -> list[int]:
        answer = np.array([1, second], np.float32)
        kept.offer(Recipe({"batch": batch}, (SPREAD,)), inputs(value, batch), [answer], [floats(1, 2)])
        return [case.inputs["x"].size for case in kept.cases]

    assert offer(4, 1.0) == [4]
    assert offer(1, 2.0, 2.000008) == [4, 1]  # near the limit: no better than one of another size
    assert offer(1, 3.0) == [1]
    assert offer(4, 4.0) == [1]
    assert offer(1, 5.0) == [1, 1]
