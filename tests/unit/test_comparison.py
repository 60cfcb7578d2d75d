"""The rule of parity: an error counts in multiples of what float32 arithmetic itself is off."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness import Closeness
from harness.model.model import Array
from harness.parity.rule.comparison import CHUNK, Expected, compare, compare_output
from harness.parity.rule.ulp import SMALLEST

NAN, INF = math.nan, math.inf
ULP = 2.0**-23  # of 1 in float32


def expected(eager: Any, exact: Any = None, dtype: str = "float32") -> Expected:
    """What an output should be; without ``exact`` float32 is not off at all."""
    own = np.array(eager, dtype=dtype)
    if own.dtype.kind != "f":
        return Expected("output", own, own if exact is None else np.array(exact, dtype=dtype))
    return Expected("output", own, np.array(own if exact is None else exact, dtype=np.float64))


def ratio(wanted: Expected, found: Any) -> float:
    return compare_output(wanted, np.array(found, dtype=wanted.eager.dtype)).ratio


@pytest.mark.parametrize(
    ("eager", "exact", "found", "wanted"),
    [
        pytest.param([1.0, 0.5], [1.0, 0.5], [1.0, 0.5], 0, id="equal"),
        pytest.param([1.0, 0.5], [1.0, 0.5], [1.0, 0.5 + ULP], 1, id="one-ulp-of-the-largest-is-the-least-scale"),
        pytest.param([1.0, 0.5], [1.0, 0.5], [1.0 + 10 * ULP, 0.5], 10, id="ten-of-them"),
        pytest.param([1.0, 0.5], [1.0, 0.5 + 4 * ULP], [1.0, 0.5 - 4 * ULP], 2, id="eagers-own-error-is-the-scale"),
        pytest.param([1.0, 0.5], [1.0 + 4 * ULP, 0.5], [1.0, 0.5 + 12 * ULP], 3, id="wherever-in-the-tensor-it-is"),
        pytest.param([-4.0, 0.5], [-4.0, 0.5], [-4.0, 0.5 + 8 * ULP], 2, id="magnitude-has-no-sign"),
        pytest.param([0.0, 0.0], [0.0, 0.0], [0.0, -0.0], 0, id="zeros-have-no-sign"),
        pytest.param([0.0], [0.0], [3 * SMALLEST], 3, id="among-zeros-the-smallest-normal-number"),
        pytest.param([1e-40], [1e-40], [0.0], 1e-40 / SMALLEST, id="a-subnormal-taken-for-zero"),
        pytest.param([3e38], [3e38], [3e38], 0, id="near-the-end-of-the-range"),
    ],
)
def test_the_error_counts_in_multiples_of_float32s_own(
    eager: list[float], exact: list[float], found: list[float], wanted: float
) -> None:
    reference = np.array(np.array(exact, dtype=np.float32), dtype=np.float64)
    assert ratio(expected(eager, reference), found) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(
    ("dtype", "found", "wanted"),
    [
        pytest.param("float16", 1 + 2**-9, 2, id="float16-its-own"),
        pytest.param("float32", 1 + 2**-22, 2, id="float32-its-own"),
        pytest.param("float64", 1 + 2**-22, 2, id="float64-that-of-float32"),
    ],
)
def test_a_unit_in_the_last_place_is_that_of_the_type(dtype: str, found: float, wanted: float) -> None:
    assert ratio(expected([1.0], dtype=dtype), [found]) == wanted


@pytest.mark.parametrize(
    ("eager", "exact", "found", "accepted"),
    [
        pytest.param([NAN, 1], [NAN, 1], [NAN, 1], True, id="nan"),
        pytest.param([NAN, 1], [NAN, 1], [1, 1], False, id="nan-lost"),
        pytest.param([1, 1], [1, 1], [1, NAN], False, id="nan-added"),
        pytest.param([INF, 1], [INF, 1], [INF, 1], True, id="infinity"),
        pytest.param([INF, 1], [INF, 1], [-INF, 1], False, id="infinity-of-the-other-sign"),
        pytest.param([INF, 1], [INF, 1], [NAN, 1], False, id="nan-for-infinity"),
        pytest.param([INF, 1], [INF, 1], [3.4028235e38, 1], False, id="the-largest-number-for-infinity"),
        pytest.param([1, 1], [1, 1], [INF, 1], False, id="infinity-added"),
        pytest.param([INF, 1], [5.0, 1], [INF, 1], True, id="only-eager-overflows-as-eager"),
        pytest.param([INF, 1], [5.0, 1], [5.0, 1], True, id="only-eager-overflows-as-float64"),
        pytest.param([INF, 1], [5.0, 1], [6.0, 1], False, id="only-eager-overflows-another-number"),
        pytest.param([INF, 1], [1e39, 1], [INF, 1], True, id="float64-is-infinity-when-rounded"),
        pytest.param([INF, 1], [1e39, 1], [3e38, 1], False, id="float64-is-infinity-when-rounded-a-number"),
        pytest.param([3e38, 1], [1e39, 1], [INF, 1], True, id="only-float64-overflows-as-float64"),
        pytest.param([3e38, 1], [1e39, 1], [3e38, 1], True, id="only-float64-overflows-as-eager"),
        pytest.param([3e38, 1], [1e39, 1], [2e38, 1], False, id="only-float64-overflows-another-number"),
        pytest.param([0.5, 1], [NAN, 1], [NAN, 1], True, id="only-float64-is-nan-as-float64"),
        pytest.param([0.5, 1], [NAN, 1], [0.5, 1], True, id="only-float64-is-nan-as-eager"),
        pytest.param([0.5, 1], [NAN, 1], [0.6, 1], False, id="only-float64-is-nan-another-number"),
        pytest.param([NAN, 1], [NAN, 1], [NAN, 1.5], False, id="a-number-beside-a-nan"),
        pytest.param([-3e38, 1], [-1e308, 1], [-3e38, 1.5], False, id="a-number-beside-one-out-of-range"),
    ],
)
def test_nan_and_infinity_are_where_eager_or_float64_has_them(
    eager: list[float], exact: list[float], found: list[float], accepted: bool
) -> None:
    # Among many others, so that it is one chunk of several that has them.
    rest = [0.25] * (2 * CHUNK)
    assert (ratio(expected(rest + eager + rest, rest + exact + rest), rest + found + rest) <= 10) is accepted


@pytest.mark.parametrize(
    ("eager", "exact", "found", "accepted"),
    [
        pytest.param([1, 2], [1, 2], [1, 2], True, id="equal"),
        pytest.param([1, 2], [1, 2], [1, 3], False, id="another"),
        pytest.param([1, 2], [1, 3], [1, 3], True, id="as-float64"),
        pytest.param([1, 2], [0, 3], [0, 2], True, id="one-as-eager-one-as-float64"),
    ],
)
@pytest.mark.parametrize("dtype", [pytest.param("int64", id="int64"), pytest.param("uint8", id="uint8")])
def test_integers_equal_eager_or_float64(
    dtype: str, eager: list[int], exact: list[int], found: list[int], accepted: bool
) -> None:
    assert (ratio(expected(eager, exact, dtype), found) == 0) is accepted


def test_integers_are_not_compared_as_floats() -> None:
    assert ratio(expected([2**53], dtype="int64"), [2**53 + 1]) == INF


def test_a_wrong_boolean_is_found() -> None:
    assert ratio(expected([True, False], dtype="bool"), [True, True]) == INF


@pytest.mark.parametrize(
    ("found", "what"),
    [
        pytest.param(np.zeros((2, 1), np.float32), "shape: wanted (2,); found (2, 1)", id="shape"),
        pytest.param(np.zeros(1, np.float32), "shape: wanted (2,); found (1,)", id="shape-that-numpy-would-broadcast"),
        pytest.param(np.zeros(2, np.float64), "dtype: wanted float32; found float64", id="wider"),
        pytest.param(np.zeros(2, np.int32), "dtype: wanted float32; found int32", id="integer"),
    ],
)
def test_shape_and_type_are_eagers(found: Array, what: str) -> None:
    difference = compare_output(expected([0.0, 0.0]), found)
    assert (difference.ratio, difference.what) == (INF, what)


@pytest.mark.parametrize("dtype", [pytest.param(name, id=name) for name in ("float16", "float32", "float64", "int32")])
@pytest.mark.parametrize(
    "shape", [pytest.param((), id="0-d"), pytest.param((0,), id="0"), pytest.param((2, 0), id="2-0")]
)
def test_tensors_without_dimensions_or_elements_can_be_compared(dtype: str, shape: tuple[int, ...]) -> None:
    assert ratio(expected(np.ones(shape), dtype=dtype), np.ones(shape)) == 0


@pytest.mark.parametrize(
    ("eager", "found", "what"),
    [
        pytest.param(1.0, 2.0, "wanted 1.0 (eager float32: 1.0); found 2.0", id="float"),
        pytest.param(NAN, 2.0, "wanted nan; found 2.0 (1 of 1 elements differ)", id="nan"),
    ],
)
def test_a_difference_in_a_tensor_without_dimensions_has_an_empty_index(eager: float, found: float, what: str) -> None:
    difference = compare_output(expected(eager), np.array(found, dtype=np.float32))
    assert (difference.index, difference.what) == ((), what)


@pytest.mark.parametrize("at", [pytest.param((0, 0), id="first"), pytest.param((1, CHUNK), id="in-a-later-chunk")])
def test_the_worst_element_is_named_with_its_place_and_all_three_values(at: tuple[int, int]) -> None:
    exact = np.full((2, CHUNK + 1), 0.25)
    answer = exact.astype(np.float32)
    answer[0, 5] = 0.5
    answer[at] = 1.25
    difference = compare_output(Expected("output", exact.astype(np.float32), exact), answer)
    assert (difference.output, difference.index) == ("output", at)
    assert difference.what == "wanted 0.25 (eager float32: 0.25); found 1.25"


@pytest.mark.parametrize(
    ("reference", "found", "what"),
    [
        pytest.param(
            expected([1, 2, 3], dtype="int32"), [1, 5, 5], "wanted 2; found 5 (2 of 3 elements differ)", id="integers"
        ),
        pytest.param(
            expected([1, 2], [1, 3], dtype="int32"),
            [1, 5],
            "wanted 2 (eager) or 3 (float64); found 5 (1 of 2 elements differ)",
            id="either",
        ),
        pytest.param(expected([1, NAN]), [1, 0], "wanted nan; found 0.0 (1 of 2 elements differ)", id="nan"),
        pytest.param(
            expected([1, INF], [1, 5]),
            [1, NAN],
            "wanted inf (eager) or 5.0 (float64); found nan (1 of 2 elements differ)",
            id="infinity",
        ),
    ],
)
def test_elements_that_may_not_differ_are_counted(reference: Expected, found: list[float], what: str) -> None:
    difference = compare_output(reference, np.array(found, dtype=reference.eager.dtype))
    assert (difference.index, difference.what) == ((1,), what)


ONE, TWO = Expected("a", np.zeros(2, np.float32), np.zeros(2)), Expected("b", np.ones(2, np.float32), np.ones(2))


@pytest.mark.parametrize(
    ("names", "answers", "what"),
    [
        pytest.param(("a", "b"), 2, "", id="as-wanted"),
        pytest.param(("b", "a"), 2, "outputs: wanted a, b; found b, a", id="another-order"),
        pytest.param(("a", "c"), 2, "outputs: wanted a, b; found a, c", id="another-name"),
        pytest.param(("a",), 1, "outputs: wanted a, b; found a", id="one-missing"),
        pytest.param(("a", "b", "c"), 3, "outputs: wanted a, b; found a, b, c", id="one-more"),
        pytest.param((), 0, "outputs: wanted a, b; found ", id="none"),
        pytest.param(("a", "b"), 1, "outputs: wanted 2 (a, b); found 1", id="fewer-than-it-says"),
        pytest.param(("a", "b"), 3, "outputs: wanted 2 (a, b); found 3", id="more-than-it-says"),
    ],
)
def test_outputs_have_the_models_names_in_its_order(names: tuple[str, ...], answers: int, what: str) -> None:
    found = [ONE.eager, TWO.eager, TWO.eager][:answers]
    difference = compare([ONE, TWO], names, found)
    assert (difference.ratio, difference.what) == (INF if what else 0, what)


def test_the_worst_of_all_outputs_is_named() -> None:
    answers = [ONE.eager, TWO.eager + np.float32(0.5)]
    assert compare([ONE, TWO], ("a", "b"), answers).output == "b"


@pytest.mark.parametrize(
    ("eager", "exact", "found"),
    [
        pytest.param([1.7e308], [1.7e308], [-1.7e308], id="float64-whose-error-overflows"),
        pytest.param([NAN], [1.0], [1.0], id="nan"),
        pytest.param([1.0], [1e308], [INF], id="float64-beyond-the-range-of-float32"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_extreme_values_make_no_warnings(eager: list[float], exact: list[float], found: list[float]) -> None:
    for dtype in ("float32", "float64"):
        with np.errstate(over="ignore"):
            arguments = expected(eager, exact, dtype), np.array(found, dtype=dtype)
        assert compare_output(*arguments).ratio >= 0


@pytest.mark.parametrize(
    ("eager", "exact", "nothing"),
    [
        pytest.param([1.0, 2.0], [1.0, 2.0], False, id="exact"),
        pytest.param([1.0, 2.0], [1.0, 2.1], False, id="off-by-a-twentieth"),
        pytest.param([1.0, 2.0], [1.0, 2.3], True, id="off-by-more-than-a-tenth"),
        pytest.param([0.0], [0.0], False, id="zeros"),
        pytest.param([1e-45], [1e-45], False, id="subnormal"),
        pytest.param([NAN], [NAN], False, id="nan"),
    ],
)
def test_where_zeros_would_pass_a_comparison_says_nothing(
    eager: list[float], exact: list[float], nothing: bool
) -> None:
    assert expected(eager, exact).is_uninformative(10) is nothing


CLOSENESS = [
    pytest.param([1.0, 100.0], [1.0, 101.0], 0.1 + 0.02 * 100, 1.0, id="a-fraction-and-more"),
    pytest.param([1.0, 100.0], [1.5, 100.0], 0.1 + 0.02, 0.5, id="element-by-element"),
    pytest.param([0.0, INF, NAN], [0.05, INF, NAN], 0.1, 0.05, id="nan-and-infinity-where-eager-has-them"),
]


@pytest.mark.parametrize(("eager", "found", "allowed", "error"), CLOSENESS)
def test_what_is_close_enough_may_be_said_outright(
    eager: list[float], found: list[float], allowed: float, error: float
) -> None:
    assert ratio(close(eager), found) == pytest.approx(error / allowed)


@pytest.mark.parametrize("found", [pytest.param([1.0, value], id=str(value)) for value in (INF, NAN)])
def test_nan_and_infinity_are_never_close_to_a_number(found: list[float]) -> None:
    assert ratio(close([1.0, 2.0]), found) == INF


def test_where_nothing_is_allowed_only_what_is_equal_passes() -> None:
    wanted = replace(close([0.0, 2.0]), closeness=Closeness(rtol=0.1))
    assert ratio(wanted, [0.0, 2.1]) == pytest.approx(0.5)
    assert ratio(wanted, [1e-9, 2.0]) == INF


def close(eager: list[float]) -> Expected:
    return replace(expected(eager), closeness=Closeness(rtol=0.02, atol=0.1))


def test_closeness_is_seen_in_every_chunk() -> None:
    values = np.zeros(2 * CHUNK + 7)
    values[-1] = 0.2
    assert ratio(close([0.0] * len(values)), values) == pytest.approx(2)


@pytest.mark.parametrize("dtype", [pytest.param(name, id=name) for name in ("float16", "float32", "float64")])
def test_beside_the_largest_number_there_still_is_an_error(dtype: str) -> None:
    largest = float(np.finfo("float32" if dtype == "float64" else dtype).max)
    wanted = expected([3.0, -largest], dtype=dtype)
    assert np.isfinite(wanted.scale)
    assert ratio(wanted, [3.0, 0.0]) > 100
