"""What Hypothesis draws: sizes, and fills with their values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from ...model.model import FLOAT_TYPES, Input
from .fills import Fill, denormal_places

MAX_SPECIAL = 4
SEEDS = 2**32 - 1
# Sizes at which programs go wrong: the loop that is never run, run once, has no rest, has one.
SIZES = (0, 1, 2, 3, 7)
# The number of steps in which an input's range is walked along.
STEPS = 1 << 12
# Whole numbers at which a narrower type ends, or a float can no longer tell neighbours apart.
LANDMARKS = tuple(2**bits + off for bits in (7, 8, 15, 16, 24, 31, 32, 53, 63) for off in (-1, 0, 1))


def special_values(item: Input) -> tuple[float, ...]:
    """List the NaN and infinities that an input may have."""
    return (math.nan,) * item.allow_nan + (math.inf, -math.inf) * item.allow_infinity


def drawn_kinds(item: Input) -> list[str]:
    """List the kinds of fill that are drawn for an input, without "sample"; the simplest first."""
    kinds = ["constant", "uniform", "ends", "narrow", "near-equal", "ties", "ascending", "descending"]
    if item.dtype in FLOAT_TYPES and not item.tied_to:  # of those whether there are any depends on the sizes
        first, last = denormal_places(item)
        kinds += ["magnitudes"] + ["denormal"] * (first < last)
    return kinds


def listed_kinds(item: Input) -> list[str]:
    """List the kinds of fill that an input can have.

    Besides the drawn ones that is "coarse", in the fixed list only: one more kind would change all draws of a seed.
    """
    return drawn_kinds(item) + ["coarse"] * (item.dtype in FLOAT_TYPES)


def draw_size(allowed: Sequence[int]) -> st.SearchStrategy[int]:
    """Draw a dimension's size, odd ones more often."""
    landmarks = [size for size in (*SIZES, allowed[-1]) if size in allowed]
    if isinstance(allowed, range) and allowed.step == 1:
        return st.integers(allowed[0], allowed[-1]) | st.sampled_from(landmarks)
    return st.integers(0, len(allowed) - 1).map(lambda place: allowed[place]) | st.sampled_from(landmarks)


def draw_fill(item: Input, kinds: Sequence[str]) -> st.SearchStrategy[Fill]:
    """Draw an input's fill, of one of these kinds."""
    special = st.lists(_special(item), max_size=MAX_SPECIAL).map(tuple)
    return st.builds(Fill, st.sampled_from(kinds), _elements(item), seed=st.integers(0, SEEDS), special=special)


def _special(item: Input) -> st.SearchStrategy[tuple[float, float]]:
    places = st.floats(0, 1, exclude_max=True)
    extra = special_values(item)
    return st.tuples(places, _elements(item) | st.sampled_from(extra) if extra else _elements(item))


def draw_flags(inputs: Sequence[Input]) -> st.SearchStrategy[Any]:
    """Draw, for each input, one element of its own among a sample's, or none."""
    return st.tuples(*(st.none() | _special(item) for item in inputs))


def _elements(item: Input) -> st.SearchStrategy[Any]:
    low, high = item.range
    if item.dtype not in FLOAT_TYPES:
        landmarks = [value for one in LANDMARKS for value in (one, -one) if low <= value <= high]
        drawn = st.integers(int(low), int(high))
        return drawn | st.sampled_from(landmarks) if landmarks else drawn
    width = {"float16": 16, "float32": 32, "float64": 64}[item.dtype]
    finite: st.SearchStrategy[Any] = st.floats(low, high, width=width)  # type: ignore[arg-type]
    # Hypothesis climbs well along whole numbers, and hardly along floats.
    steps = st.integers(0, STEPS).map(lambda step: low * (1 - step / STEPS) + high * (step / STEPS))
    return finite | steps
