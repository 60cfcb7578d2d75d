"""NaN and infinities are compared a chunk at a time, without a branch an element: as element by element."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.model.model import Array
from harness.parity.rule.comparison import CHUNK, Expected, compare_output
from harness.parity.rule.ulp import ulp

# Twice the range of float32 and of float16, and numbers whose difference is none of float64.
ODD = (math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-40, 1e-320, 7e4, -7e4, 3.4e38, 4e38, -4e38, 1.7e308, -1.7e308)


def is_accepted(answer: float, eager: float, exact: float) -> bool:
    """Tell whether an element may be what it is: where it is NaN or infinite, and where one of the others is."""

    def is_like(other: float) -> bool:
        both = math.isfinite(answer) and math.isfinite(other)
        return bool(both or answer == other or (math.isnan(answer) and math.isnan(other)))

    return is_like(eager) or is_like(np.float64(exact).astype(np.asarray(eager).dtype))


def ratio_of(answer: float, eager: float, exact: float, scale: float) -> float:
    """Return the rule's error of one element; see docs/parity.md. All are numpy's own scalars but the scale."""
    dtype = np.asarray(eager).dtype
    if not is_accepted(answer, eager, exact):
        return math.inf
    if not math.isfinite(answer):
        return 0.0
    if math.isfinite(eager) and not math.isfinite(np.float64(exact).astype(dtype)):
        unit = float(ulp(np.asarray(eager), dtype))
        return float(abs(np.float64(answer) - np.float64(eager)) / max(scale, unit))
    return float(abs(np.float64(answer) - np.float64(exact)) / scale)


def worst_of(wanted: Expected, answer: Array) -> tuple[float, tuple[int, ...]]:
    """Return the largest ratio, and where it is first; that of a chunk with a ratio of NaN does not count."""
    largest, refused = 0.0, []
    where: tuple[int, ...] = ()
    for start in range(0, answer.size, CHUNK):
        places = range(start, min(start + CHUNK, answer.size))
        elements = [(answer[place], wanted.eager[place], wanted.exact[place]) for place in places]
        ratios = [ratio_of(*element, wanted.scale) for element in elements]
        refused += [place for place, element in zip(places, elements, strict=True) if not is_accepted(*element)]
        if not any(map(math.isnan, ratios)) and max(ratios) > largest:
            largest = max(ratios)
            where = (start + ratios.index(largest),)
    return largest, (refused[0],) if largest == math.inf and refused else where


def drawn(seed: int, size: int, dtype: str, odd: Sequence[float], share: float) -> tuple[Expected, Array]:
    """Draw eager's output, the float64 run's and an answer, most of them alike, with odd numbers in all three."""
    random = np.random.default_rng(seed)
    exact = np.where(random.random(size) < share, random.choice(odd, size), random.standard_normal(size))
    eager, answer = ((exact * (1 + 1e-7 * random.standard_normal(size))).astype(dtype) for _ in range(2))
    if random.random() < 0.3:  # all that is not finite becomes one other thing
        answer[~np.isfinite(answer)] = random.choice([math.nan, math.inf, 0.5])
    for array in (exact, eager, answer):
        at = random.integers(0, size, max(0, int(random.integers(-3, 3))))  # often none
        array[at] = random.choice(ODD, at.size).astype(array.dtype)
    return Expected("output", eager, exact), answer


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from([1, 2, 3, 9, 64, 200]),
    dtype=st.sampled_from(["float16", "float32", "float64"]),
    odd=st.lists(st.sampled_from(ODD), min_size=1, max_size=3),
    share=st.sampled_from([0.0, 0.01, 0.5, 1.0]),
)
@np.errstate(all="ignore")
def test_each_chunk_is_judged_as_element_by_element(
    seed: int, size: int, dtype: str, odd: list[float], share: float
) -> None:
    wanted, answer = drawn(seed, size, dtype, odd, share)
    found = compare_output(wanted, answer)
    assert (found.ratio, found.index) == worst_of(wanted, answer)


@pytest.mark.parametrize("share", [pytest.param(share, id=f"{share:.0%}") for share in (0.01, 0.5, 1.0)])
@pytest.mark.parametrize("bad", [pytest.param(bad, id=str(bad)) for bad in (math.nan, math.inf)])
@np.errstate(all="ignore")
def test_a_chunk_after_others_is_judged_alike(bad: float, share: float) -> None:
    wanted, answer = drawn(1, CHUNK + 100, "float32", [bad], share)
    found = compare_output(wanted, answer)
    assert (found.ratio, found.index) == worst_of(wanted, answer)
