"""What parity tries: every input that a model file declares can come, and no other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from harness import Input, Model
from harness.model.inputs import Arrays
from harness.model.model import Array
from harness.parity.trials.fills import KINDS, Fill
from harness.parity.trials.generate import drawn
from harness.parity.trials.recipe import Recipe
from harness.parity.trials.samples import SAMPLES, samples_of
from harness.parity.trials.space import InputSpace

INT64 = np.iinfo(np.int64)
FLOAT64_MAX = float(np.finfo(np.float64).max)
FLOAT32_MAX = float(np.finfo(np.float32).max)


def declared(inputs: Sequence[Input], dims: Mapping[str, tuple[int, int]], **more: Any) -> Model:
    return Model(build=lambda: None, inputs=inputs, dims=dims, **more)  # type: ignore[arg-type, return-value]


def tried(model: Model) -> list[Recipe]:
    """All recipes that are tried whatever a backend answers."""
    space = InputSpace(model)
    return [*space.essential(), *space.corners(), *drawn(space, 0)]


def made(model: Model) -> list[Arrays]:
    """The inputs of these."""
    space = InputSpace(model)
    return [space.make(recipe) for recipe in tried(model)]


RANGES = [
    pytest.param("float16", -65504, 65504, id="float16-all"),
    pytest.param("float16", 0.1, 0.3, id="float16-ends-between-two-numbers"),
    pytest.param("float32", -FLOAT32_MAX, FLOAT32_MAX, id="float32-all"),
    pytest.param("float32", 0.1, 0.3, id="float32-ends-between-two-numbers"),
    pytest.param("float32", 0.1, 0.1, id="float32-a-single-value"),
    pytest.param("float32", -1e-40, 1e-45, id="float32-subnormal"),
    pytest.param("float64", -FLOAT64_MAX, FLOAT64_MAX, id="float64-all"),
    pytest.param("int8", -128, 127, id="int8-all"),
    pytest.param("uint8", 3, 255, id="uint8"),
    pytest.param("int16", 5, 5, id="int16-a-single-value"),
    pytest.param("int32", -(2**31), 2**31 - 1, id="int32-all"),
    pytest.param("int64", INT64.min, INT64.max, id="int64-all"),
    pytest.param("int64", 2**53 + 1, 2**53 + 5, id="int64-beyond-float64"),
    pytest.param("int64", 2**53 + 1, 2**53 + 1, id="int64-one-beyond-float64"),
    pytest.param("int64", 2**63 - 3, 2**63 - 1, id="int64-at-its-end"),
    pytest.param("int64", np.int64(3), np.int64(7), id="int64-of-numpy"),
    pytest.param("float32", np.float32(-1), np.float32(2), id="float32-of-numpy"),
    pytest.param("bool", None, None, id="bool"),
]


def elements(arrays: Sequence[Array]) -> set[float]:
    """All elements as Python's own numbers: numpy would round the range to the element type to compare with it."""
    return set(itertools.chain.from_iterable(array.reshape(-1).tolist() for array in arrays))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("dtype", "low", "high"), RANGES)
def test_values_are_of_the_type_and_in_the_range_and_reach_its_ends(
    dtype: str, low: float | None, high: float | None
) -> None:
    item = Input("x", shape=("n", 3), dtype=dtype, min_value=low, max_value=high)
    model = declared([item], {"n": (1, 4)})
    arrays = [arrays["x"] for arrays in made(model)]
    assert {array.dtype.name for array in arrays} == {dtype}
    values = elements(arrays)
    assert (min(values), max(values)) == item.range
    if low is not None and high is not None and low < high:
        assert low <= min(values) <= max(values) <= high


@pytest.mark.parametrize(
    ("nan", "infinity"),
    [
        pytest.param(False, False, id="neither"),
        pytest.param(True, False, id="nan"),
        pytest.param(False, True, id="infinity"),
        pytest.param(True, True, id="both"),
    ],
)
@pytest.mark.parametrize("dtype", [pytest.param(name, id=name) for name in ("float16", "float32", "float64")])
def test_nan_and_infinity_come_where_they_are_allowed_and_only_there(dtype: str, nan: bool, infinity: bool) -> None:
    inputs = [
        Input("x", shape=(5,), dtype=dtype, min_value=0, max_value=1, allow_nan=nan, allow_infinity=infinity),
        Input("y", shape=(5,), dtype=dtype, min_value=0, max_value=1),
    ]
    model = declared(inputs, {})
    inputs_tried = made(model)
    values = {repr(value) for value in elements([arrays["x"] for arrays in inputs_tried]) if not math.isfinite(value)}
    assert values == ({"nan"} if nan else set()) | ({"inf", "-inf"} if infinity else set())
    assert all(np.isfinite(arrays["y"]).all() for arrays in inputs_tried)


def test_nan_and_infinity_come_before_anything_is_drawn() -> None:
    model = declared([Input("x", shape=(5,), allow_nan=True, allow_infinity=True)], {})
    space = InputSpace(model)
    firsts = np.stack([space.make(recipe)["x"] for recipe in space.essential()])
    assert np.isnan(firsts).any()
    assert np.isposinf(firsts).any()
    assert np.isneginf(firsts).any()


def test_nan_comes_at_any_place() -> None:
    model = declared([Input("x", shape=(3,), allow_nan=True)], {})
    places = {index for arrays in made(model) for index in np.flatnonzero(np.isnan(arrays["x"])).tolist()}
    assert places == {0, 1, 2}


@pytest.mark.parametrize(
    "ends",
    [pytest.param((0, 3), id="from-0"), pytest.param((2, 2), id="fixed"), pytest.param((1, 300), id="wide")],
)
def test_sizes_reach_both_ends_of_their_range(ends: tuple[int, int]) -> None:
    inputs = [Input("x", shape=("n", "m")), Input("y", shape=("m", 2, "n"))]
    model = declared(inputs, {"n": ends, "m": (1, 2)})
    shapes = []
    for arrays in made(model):
        n, m = arrays["x"].shape
        assert arrays["y"].shape == (m, 2, n)
        shapes.append((n, m))
    assert (min(n for n, _ in shapes), max(n for n, _ in shapes)) == ends
    assert {m for _, m in shapes} == {1, 2}


@pytest.mark.parametrize("dtype", [pytest.param(name, id=name) for name in ("float32", "int64", "bool")])
@pytest.mark.parametrize(
    "kind",
    [pytest.param(name, id=name) for name in KINDS if name not in ("sample", "magnitudes", "denormal")],
)
def test_an_input_without_dimensions_is_an_array(kind: str, dtype: str) -> None:
    item = Input("x", shape=(), dtype=dtype, min_value=0, max_value=5)
    array = Fill(kind, value=1, special=((0.5, 1),)).make(item, {})
    assert (type(array), array.shape, array.dtype.name, array.item()) == (np.ndarray, (), dtype, 1)


@pytest.mark.parametrize(
    ("low", "high", "step"),
    [
        pytest.param(0.0, 255.0, 0.5, id="pixels"),
        pytest.param(-1.0, 1.0, 2.0**-7, id="one-either-way"),
        pytest.param(1000.0, 1001.0, 2.0**-8, id="far-from-0"),
    ],
)
def test_a_coarse_fill_meets_halves_and_thresholds(low: float, high: float, step: float) -> None:
    numbers = Fill("coarse", seed=6).make(Input("x", shape=(4000,), min_value=low, max_value=high), {})
    assert (numbers % step == 0).all()
    assert (numbers.min(), numbers.max()) == (low, high)
    assert len(np.unique(numbers)) > 200


def test_every_model_of_floats_is_asked_coarse_numbers() -> None:
    for dtype, expected in (("float32", 1), ("int64", 0)):
        space = InputSpace(declared([Input("x", shape=(3,), dtype=dtype, min_value=0, max_value=9)], {}))
        recipes = [recipe for recipe in space.corners() if recipe.fills[0].kind == "coarse"]
        assert len(recipes) == expected
        assert all(space.holds(recipe) for recipe in recipes)


@pytest.mark.parametrize(
    ("fill", "wanted"),
    [
        pytest.param(Fill("constant", value=2.5), [2.5] * 4, id="constant"),
        pytest.param(Fill("constant", special=((0.5, 3.0),)), [0, 0, 3, 0], id="special-in-the-middle"),
        pytest.param(Fill("constant", special=((0, 3.0), (1 - 2**-53, 4.0))), [3, 0, 0, 4], id="special-at-the-ends"),
        pytest.param(Fill("constant", special=((0, 3.0), (0.1, 4.0))), [4, 0, 0, 0], id="the-last-special-wins"),
    ],
)
def test_a_fill_puts_values_where_it_says(fill: Fill, wanted: list[float]) -> None:
    item = Input("x", shape=(2, 2), min_value=-9, max_value=9)
    np.testing.assert_array_equal(fill.make(item, {}).reshape(-1), np.array(wanted, dtype=np.float32))


def test_a_narrow_fill_stays_within_a_thousandth_of_the_range_of_its_value() -> None:
    item = Input("x", shape=(1000,), min_value=0, max_value=1)
    array = Fill("narrow", value=0.5, seed=3).make(item, {})
    assert 0.4994 < array.min() < array.max() < 0.5006


def test_an_ends_fill_has_the_ends_and_its_value_only() -> None:
    item = Input("x", shape=(100,), min_value=-1, max_value=2)
    assert set(Fill("ends", value=0.5, seed=3).make(item, {}).tolist()) == {-1, 0.5, 2}


def test_the_same_recipe_makes_the_same_arrays() -> None:
    inputs = [Input("x", shape=("n", 3)), Input("i", shape=("n",), dtype="int8", min_value=0, max_value=9)]
    model = declared(inputs, {"n": (0, 4)})
    space = InputSpace(model)
    for recipe in tried(model)[:30]:
        first, second = space.make(recipe), InputSpace(model).make(Recipe.read(recipe.key))
        assert list(first) == ["x", "i"]
        for name in first:
            np.testing.assert_array_equal(first[name], second[name])


def test_two_inputs_alike_do_not_get_the_same_numbers() -> None:
    model = declared([Input("a", shape=(9,)), Input("b", shape=(9,))], {})
    space = InputSpace(model)
    arrays = space.make(space.essential()[0])
    assert (arrays["a"] != arrays["b"]).any()


def test_the_measured_sizes_come_first_then_the_smallest_and_the_largest() -> None:
    model = declared([Input("x", shape=("n", "m"))], {"n": (1, 8), "m": (2, 5)}, measure={"n": 4})
    sizes = [tuple(recipe.sizes.values()) for recipe in InputSpace(model).essential()]
    assert list(dict.fromkeys(sizes)) == [(4, 2), (1, 2), (8, 5)]


def test_no_input_comes_twice_before_anything_is_drawn() -> None:
    space = InputSpace(declared([Input("x", shape=(2,))], {}))
    keys = [recipe.key for recipe in (*space.essential(), *space.corners())]
    assert len(set(keys)) == len(keys)
    assert len(space.essential()) == 3


def test_a_recipe_says_what_it_is() -> None:
    fills = (Fill("uniform", 0.5, seed=3, special=((0.25, math.nan),)), Fill("constant", 2**53 + 1))
    inputs = [Input("x", shape=("n",)), Input("count", ("m",), "int64", min_value=0, max_value=2**60)]
    space = InputSpace(declared(inputs, {"n": (1, 2), "m": (1, 3)}))
    assert space.told(Recipe({"n": 2, "m": 3}, fills)) == (
        "n = 2, m = 3; x: uniform (seed 3, element nan at 0.25 of the array); count: constant (value 9007199254740993)"
    )


def fractions_of(kind: str, item: Input, **more: Any) -> list[float]:
    """The distinct elements of a fill of a thousand, sorted."""
    return sorted({float(element) for element in Fill(kind, seed=3, **more).make(item, {})})


def test_a_near_equal_fill_has_neighbours_of_its_value_only() -> None:
    item = Input("x", shape=(1000,), min_value=0, max_value=1)
    wanted = [0.25 - 2**-25, 0.25 - 2**-26, 0.25, 0.25 + 2**-25, 0.25 + 2**-24]
    assert fractions_of("near-equal", item, value=0.25) == wanted


def test_a_near_equal_fill_stays_in_the_range() -> None:
    item = Input("x", shape=(1000,), dtype="int8", min_value=-3, max_value=4)
    assert fractions_of("near-equal", item, value=4) == [2, 3, 4]


def test_a_fill_of_ties_has_three_values() -> None:
    assert len(fractions_of("ties", Input("x", shape=(1000,), min_value=0, max_value=1))) == 3


@pytest.mark.parametrize(
    ("kind", "ends"),
    [pytest.param("ascending", (-1, 3), id="ascending"), pytest.param("descending", (3, -1), id="descending")],
)
def test_a_sorted_fill_goes_from_the_one_end_to_the_other(kind: str, ends: tuple[float, float]) -> None:
    array = Fill(kind).make(Input("x", shape=(9,), min_value=-1, max_value=3), {})
    np.testing.assert_array_equal(array, np.linspace(*ends, 9, dtype=np.float32))


def test_denormal_numbers_come_where_the_range_has_them_and_only_there() -> None:
    item = Input("x", shape=(1000,), min_value=-1, max_value=1)
    tiny = float(np.finfo(np.float32).tiny)
    assert 0 < max(fractions_of("denormal", item)) < tiny
    assert -tiny < min(fractions_of("denormal", item)) < 0
    kinds = {
        fill.kind
        for recipe in tried(declared([Input("x", (3,), min_value=1, max_value=2)], {}))
        for fill in recipe.fills
    }
    assert "denormal" not in kinds


def test_magnitudes_have_all_exponents() -> None:
    exponents = {math.frexp(value)[1] for value in fractions_of("magnitudes", Input("x", (5000,), max_value=1e30))}
    assert min(exponents) < -100
    assert max(exponents) > 95


def test_minus_zero_comes() -> None:
    zeros = [arrays["x"] for arrays in made(declared([Input("x", shape=(3,))], {})) if not arrays["x"].any()]
    assert {bool(np.signbit(array).all()) for array in zeros} == {True, False}


def test_sizes_at_which_programs_go_wrong_come_before_anything_is_drawn() -> None:
    model = declared([Input("x", shape=("n", "m"))], {"n": (0, 300), "m": (1, 2)}, measure={"n": 16})
    sizes = {recipe.sizes["n"] for recipe in InputSpace(model).corners()}
    assert {0, 1, 2, 3, 7} <= sizes | {recipe.sizes["n"] for recipe in InputSpace(model).essential()}


SAMPLED = declared(
    [Input("x", shape=("n", 50)), Input("i", shape=("n",), dtype="int8", min_value=0, max_value=9)], {"n": (1, 4)}
)


def sampled() -> InputSpace:
    sets: list[Arrays] = [
        {"x": np.full((1, 50), index, np.float32), "i": np.full(1, index, np.int8)} for index in range(9)
    ]
    return InputSpace(SAMPLED, samples_of(sets, SAMPLED))


def test_real_samples_come_as_they_are_and_with_some_elements_replaced() -> None:
    space = sampled()
    assert [int(arrays["i"][0]) for arrays in space.samples] == [0, 3, 5, 8]
    recipes = [recipe for recipe in (*space.corners(), *drawn(space, 0)) if recipe.fills[0].kind == "sample"]
    replaced = []
    for recipe in recipes:
        found, sample = space.make(recipe)["x"], space.samples[recipe.fills[0].base]["x"]
        replaced.append(int(np.count_nonzero(found != sample)))
    assert len(recipes) > 10
    assert 0 in replaced
    assert 20 < max(replaced) < 40


def test_a_recipe_of_a_sample_that_is_gone_is_no_longer_one() -> None:
    recipe = Recipe({"n": 1}, (Fill("sample", base=SAMPLES - 1), Fill("sample", base=SAMPLES - 1)))
    assert sampled().holds(recipe)
    assert not InputSpace(SAMPLED, sampled().samples[:2]).holds(recipe)
    assert not sampled().holds(Recipe({"n": 5}, (Fill("constant"), Fill("constant"))))
