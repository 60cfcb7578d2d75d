"""Inputs for the search: Hypothesis draws small recipes, numpy makes the arrays.

A recipe shrinks well (towards the smallest sizes, zeros, no special elements) and costs little to draw, whatever the
array's size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from ..inputs import Arrays, as_dtype, uniform
from ..model import FLOAT_TYPES, Array, Input, Model

MAX_SPECIAL = 4
NARROW = 1e-3


@dataclass(frozen=True)
class Fill:
    """How one array is filled.

    Attributes:
        kind: "constant", every element ``value``; "ends", one of the range's ends or the value; "uniform", spread over
            the range; "narrow", spread over a thousandth of it around the value.
        seed: of the random kinds.
        special: (place as a fraction of the array, value) of single elements set last, NaN and infinity among them.
    """

    kind: str
    value: float = 0.0
    seed: int = 0
    special: tuple[tuple[float, float], ...] = ()

    def make(self, item: Input, sizes: Mapping[str, int]) -> Array:
        """The array."""
        # An array also where the input has no dimensions, for which numpy's functions return scalars.
        array = np.array(self._filled(item, sizes))
        for place, value in self.special if array.size else ():
            array.reshape(-1)[int(place * array.size)] = value
        return array

    def __str__(self) -> str:
        random = f", seed {self.seed}" if self.kind != "constant" else ""
        special = "".join(f", element {value} at {place:.3g} of the array" for place, value in self.special)
        return f"{self.kind} (value {self.value}{random}{special})"

    def _filled(self, item: Input, sizes: Mapping[str, int]) -> Array:
        low, high = item.range
        shape = item.sizes(sizes)
        if self.kind == "constant":
            return as_dtype(np.full(shape, self.value), item)
        if self.kind == "ends":
            three = as_dtype(np.array([low, high, self.value], dtype=object), item)
            random = np.random.Generator(np.random.Philox(self.seed))
            return three[random.integers(0, len(three), shape)]
        array = uniform(item, sizes, self.seed)
        if self.kind == "narrow":
            array = as_dtype(self.value * (1 - NARROW) + array.astype(np.float64) * NARROW, item)
        return array


@dataclass(frozen=True)
class Recipe:
    """Sizes and one fill for each input."""

    sizes: Mapping[str, int]
    fills: tuple[Fill, ...]

    def make(self, model: Model) -> Arrays:
        """The arrays, by name."""
        return {item.name: fill.make(item, self.sizes) for item, fill in zip(model.inputs, self.fills, strict=True)}

    def __str__(self) -> str:
        """For a message: what somebody needs to see what kind of input it is."""
        sizes = ", ".join(f"{name}={size}" for name, size in self.sizes.items())
        return "; ".join(filter(None, [sizes, *map(str, self.fills)]))


def recipes(model: Model) -> st.SearchStrategy[Recipe]:
    """All recipes of a model: every size in its range, values all over theirs."""
    sizes = st.fixed_dictionaries({name: st.integers(low, high) for name, (low, high) in model.dims.items()})
    fills = st.tuples(*(_fills(item) for item in model.inputs))
    return st.builds(Recipe, sizes, fills)


def first_recipes(model: Model) -> list[Recipe]:
    """Tried before any that are drawn.

    At the measured sizes: spread, ends, zeros, and each of NaN and the infinities that is allowed; then the smallest
    and the largest sizes.
    """
    spread = Fill("uniform", seed=1)
    corners = [dict(model.measure), _sizes(model, 0), _sizes(model, 1)]
    made = [*whole_range(model), _recipe(model, corners[0], Fill("constant"))]
    for value in (math.nan, math.inf, -math.inf):
        if any(value in _specials(item) for item in model.inputs):
            made.append(_recipe(model, corners[0], spread, value))
    made += [_recipe(model, sizes, spread) for sizes in corners[1:]]
    return [recipe for index, recipe in enumerate(made) if recipe not in made[:index]]


def whole_range(model: Model) -> list[Recipe]:
    """At the measured sizes: values spread over the range, and its ends mixed."""
    return [_recipe(model, model.measure, fill) for fill in (Fill("uniform", seed=1), Fill("ends", seed=2))]


def _recipe(model: Model, sizes: Mapping[str, int], fill: Fill, value: float = 0.0) -> Recipe:
    """Every input filled alike, but not with the same numbers; with a special value amid each that may have it."""
    fills = []
    for index, item in enumerate(model.inputs):
        special = ((0.5, value),) if value in _specials(item) else ()
        fills.append(replace(fill, seed=fill.seed + index, special=special))
    return Recipe(sizes, tuple(fills))


def _specials(item: Input) -> tuple[float, ...]:
    return (math.nan,) * item.allow_nan + (math.inf, -math.inf) * item.allow_infinity


def _sizes(model: Model, end: int) -> dict[str, int]:
    return {name: ends[end] for name, ends in model.dims.items()}


def _fills(item: Input) -> st.SearchStrategy[Fill]:
    kinds = st.sampled_from(["constant", "uniform", "ends", "narrow"])
    places = st.floats(0, 1, exclude_max=True)
    special = st.lists(st.tuples(places, _elements(item, special=True)), max_size=MAX_SPECIAL).map(tuple)
    return st.builds(Fill, kinds, _elements(item, special=False), st.integers(0, 2**32 - 1), special)


def _elements(item: Input, *, special: bool) -> st.SearchStrategy[Any]:
    low, high = item.range
    if item.dtype not in FLOAT_TYPES:
        return st.integers(int(low), int(high))
    width = {"float16": 16, "float32": 32, "float64": 64}[item.dtype]
    finite: st.SearchStrategy[Any] = st.floats(low, high, width=width)  # type: ignore[arg-type]
    extra = _specials(item) if special else ()
    return finite | st.sampled_from(extra) if extra else finite
