"""Concrete inputs: inside their range whatever the element type, and the same for the same seed."""

from collections.abc import Mapping

import numpy as np
import pytest

from harness.model.inputs import as_dtype, measured_sets, traced_sizes, uniform, uniform_set
from harness.model.model import Array, Input, Model

INT64 = np.iinfo(np.int64)
FLOAT32_MAX = float(np.finfo(np.float32).max)
FLOAT64_MAX = float(np.finfo(np.float64).max)


def build() -> None:
    """What a model file has; never called here."""


def model(dims: Mapping[str, tuple[int, int]], *inputs: Input) -> Model:
    return Model(build=build, inputs=inputs or [Input("x", shape=tuple(dims))], dims=dims)  # type: ignore[arg-type]


RANGES = [
    pytest.param("float16", -65504, 65504, id="float16-all"),
    pytest.param("float16", -0.3, 0.3, id="float16-ends-between-two-numbers"),
    pytest.param("float16", 0.1, 0.1001, id="float16-a-single-number"),
    pytest.param("float32", -FLOAT32_MAX, FLOAT32_MAX, id="float32-all"),
    pytest.param("float32", 0.1, 0.3, id="float32-ends-between-two-numbers"),
    pytest.param("float32", -1e-45, 1e-45, id="float32-subnormal"),
    pytest.param("float64", -FLOAT64_MAX, FLOAT64_MAX, id="float64-all"),
    pytest.param("float64", 0.1, 0.3, id="float64"),
    pytest.param("int8", -128, 127, id="int8-all"),
    pytest.param("uint8", 0, 255, id="uint8-all"),
    pytest.param("int16", -32768, 32767, id="int16-all"),
    pytest.param("int32", -(2**31), 2**31 - 1, id="int32-all"),
    pytest.param("int64", INT64.min, INT64.max, id="int64-all"),
    pytest.param("int64", INT64.max, INT64.max, id="int64-largest"),
    pytest.param("int64", INT64.min, INT64.min, id="int64-smallest"),
    pytest.param("int64", 2**53 + 1, 2**53 + 3, id="int64-beyond-float64"),
    pytest.param("bool", None, None, id="bool"),
]


def exact(array: Array) -> list[float]:
    """The elements as Python's own numbers: numpy would round the range to the element type to compare with it."""
    return array.reshape(-1).tolist()


@pytest.mark.parametrize(("dtype", "low", "high"), RANGES)
def test_values_stay_in_the_range(dtype: str, low: float | None, high: float | None) -> None:
    item = Input("x", shape=("n", 2), dtype=dtype, min_value=low, max_value=high)
    array = uniform(item, {"n": 500}, seed=3)
    assert (array.dtype.name, array.shape) == (dtype, (500, 2))
    assert min(exact(array)) >= (0 if low is None else low)
    assert max(exact(array)) <= (1 if high is None else high)


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        pytest.param("float16", -65504, 65504, id="float16"),
        pytest.param("float32", 0.0, 1.0, id="float32"),
        pytest.param("float64", -FLOAT64_MAX, FLOAT64_MAX, id="float64"),
        pytest.param("int64", INT64.min, INT64.max, id="int64"),
        pytest.param("uint8", 3, 200, id="uint8"),
    ],
)
def test_values_are_spread_evenly_over_the_range(dtype: str, low: float, high: float) -> None:
    item = Input("x", shape=(4000,), dtype=dtype, min_value=low, max_value=high)
    places = (np.array(exact(uniform(item, {}, seed=1))) / 2 - low / 2) / (high / 2 - low / 2)
    counts, _ = np.histogram(places, bins=10, range=(0, 1))
    assert counts.min() > 300


def test_without_a_range_floats_come_from_a_thousand_around_zero() -> None:
    array = uniform(Input("x", shape=(2000,)), {}, seed=1)
    assert -1000 <= array.min() < -900
    assert 900 < array.max() <= 1000


@pytest.mark.parametrize(
    ("dtype", "low", "high", "values"),
    [
        pytest.param("float16", -0.3, 0.3, [-1.0, -0.3, 0.3, 1.0], id="float16"),
        pytest.param("float32", 0.1, 0.3, [-np.inf, 0.1, 0.3, np.inf], id="float32"),
        pytest.param("int8", -3, 3, [-1e9, 0.0, 1e9], id="int8-from-floats"),
        pytest.param("int64", 0, INT64.max, [-1.0, 9.3e18], id="int64-from-floats"),
        pytest.param("int64", INT64.min, INT64.max, [-1e19, 1e19], id="int64-all-from-floats"),
        pytest.param("int64", 2**53 + 1, 2**53 + 1, [0.0, 1e18], id="int64-beyond-float64"),
        pytest.param("bool", None, None, [0.0, 1.0], id="bool"),
    ],
)
def test_rounding_carries_no_value_out_of_the_range(
    dtype: str, low: float | None, high: float | None, values: list[float]
) -> None:
    item = Input("x", shape=(len(values),), dtype=dtype, min_value=low, max_value=high)
    array = as_dtype(np.array(values), item)
    assert array.dtype.name == dtype
    assert all((0 if low is None else low) <= value <= (1 if high is None else high) for value in exact(array))


@pytest.mark.parametrize("dtype", [pytest.param(name, id=name) for name in ("float16", "float32", "int64", "bool")])
def test_the_same_seed_makes_the_same_array(dtype: str) -> None:
    item = Input("x", shape=(50,), dtype=dtype, min_value=0, max_value=100)
    np.testing.assert_array_equal(uniform(item, {}, seed=7), uniform(item, {}, seed=7))
    assert (uniform(item, {}, seed=7) != uniform(item, {}, seed=8)).any()


def test_two_inputs_of_a_set_differ() -> None:
    two = model({}, Input("a", shape=(50,)), Input("b", shape=(50,)))
    arrays = uniform_set(two, {}, seed=1)
    assert list(arrays) == ["a", "b"]
    assert (arrays["a"] != arrays["b"]).any()


def test_the_timed_sets_have_the_measured_sizes_and_differ() -> None:
    sets = measured_sets(model({"batch": (3, 8)}, Input("x", shape=("batch", 20))), 4)
    assert [arrays["x"].shape for arrays in sets] == [(8, 20)] * 4
    assert len({arrays["x"].tobytes() for arrays in sets}) == 4


def test_a_dimension_of_size_0_makes_an_empty_array() -> None:
    assert uniform(Input("x", shape=("n", 3)), {"n": 0}, seed=1).shape == (0, 3)


@pytest.mark.parametrize(
    ("dims", "sizes"),
    [
        pytest.param({}, {}, id="none"),
        pytest.param({"a": (1, 8)}, {"a": 2}, id="not-1"),
        pytest.param({"a": (0, 8)}, {"a": 2}, id="not-0"),
        pytest.param({"a": (5, 8)}, {"a": 5}, id="smallest"),
        pytest.param({"a": (1, 8), "b": (1, 8)}, {"a": 2, "b": 3}, id="different"),
        pytest.param({"a": (5, 5), "b": (5, 9)}, {"a": 5, "b": 6}, id="fixed-first"),
        pytest.param({"a": (1, 8), "b": (2, 2)}, {"a": 3, "b": 2}, id="fixed-last"),
        pytest.param({"a": (1, 4), "b": (1, 3), "c": (1, 2)}, {"a": 4, "b": 3, "c": 2}, id="staggered"),
        pytest.param({"a": (1, 1)}, {"a": 1}, id="only-1"),
        pytest.param({"a": (0, 0)}, {"a": 0}, id="only-0"),
        pytest.param({"a": (2, 2), "b": (2, 2)}, {"a": 2, "b": 2}, id="cannot-differ"),
        pytest.param({"a": (0, 10**9)}, {"a": 2}, id="huge"),
    ],
)
def test_traced_sizes_are_neither_alike_nor_0_nor_1_where_that_is_possible(
    dims: dict[str, tuple[int, int]], sizes: dict[str, int]
) -> None:
    found = traced_sizes(model(dims))
    assert list(found.items()) == list(sizes.items())


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
def test_an_input_without_dimensions_is_an_array_too(dtype: str) -> None:
    array = uniform(Input("x", shape=(), dtype=dtype, min_value=0, max_value=1), {}, 0)
    assert isinstance(array, np.ndarray)
    assert (array.shape, array.dtype) == ((), np.dtype(dtype))
