"""Inputs for the search: Hypothesis draws small recipes, numpy makes the arrays.

A recipe shrinks well (towards the smallest sizes, zeros, no special elements) and costs little to draw, whatever the
array's size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from ..inputs import Arrays, as_dtype, uniform
from ..model import FLOAT_TYPES, Array, Input, Model

MAX_SPECIAL = 4


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
        low, high = item.range
        shape = item.sizes(sizes)
        if self.kind == "constant":
            array = as_dtype(np.full(shape, self.value), item)
        elif self.kind == "ends":
            random = np.random.Generator(np.random.Philox(self.seed))
            array = as_dtype(random.choice(np.array([low, high, self.value]), shape), item)
        else:
            array = uniform(item, sizes, self.seed)
            if self.kind == "narrow":
                array = as_dtype(self.value + (array.astype(np.float64) - self.value) / 1000, item)
        for place, value in self.special if array.size else ():
            array.reshape(-1)[int(place * array.size)] = value
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
        fills = []
        for fill in self.fills:
            random = f", seed {fill.seed}" if fill.kind != "constant" else ""
            special = "".join(f", element {value:g} at {place:.3g}" for place, value in fill.special)
            fills.append(f"{fill.kind} (value {fill.value:g}{random}{special})")
        return "; ".join(filter(None, [sizes, *fills]))


def recipes(model: Model) -> st.SearchStrategy[Recipe]:
    """All recipes of a model: every size in its range, values all over theirs."""
    sizes = st.fixed_dictionaries({name: st.integers(low, high) for name, (low, high) in model.dims.items()})
    fills = st.tuples(*(_fills(item) for item in model.inputs))
    return st.builds(Recipe, sizes, fills)


def first_recipes(model: Model) -> list[Recipe]:
    """Tried before any that are drawn: the measured sizes, then the smallest and the largest; spread, ends, zeros."""
    corners = [dict(model.measure), _sizes(model, 0), _sizes(model, 1)]
    kinds = [Fill("uniform", seed=1), Fill("ends", seed=2), Fill("constant")]
    pairs = [(sizes, fill) for sizes in corners for fill in (kinds if sizes == model.measure else kinds[:1])]
    made = [Recipe(sizes, tuple(fill for _ in model.inputs)) for sizes, fill in pairs]
    return [recipe for index, recipe in enumerate(made) if recipe not in made[:index]]


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
    # An end that is no number of this type is rounded inwards.
    kind = np.dtype(item.dtype).type
    start = float(kind(low)) if float(kind(low)) >= low else float(np.nextafter(kind(low), kind(np.inf)))
    stop = float(kind(high)) if float(kind(high)) <= high else float(np.nextafter(kind(high), kind(-np.inf)))
    finite: st.SearchStrategy[Any] = st.floats(start, stop, width=width)  # type: ignore[arg-type]
    extra = [float("nan")] * (special and item.allow_nan)
    extra += [float("inf"), float("-inf")] * (special and item.allow_infinity)
    return finite | st.sampled_from(extra) if extra else finite
