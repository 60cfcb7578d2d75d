"""Shrinks a failing recipe step by step: Hypothesis shrinks only what it has drawn itself."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import replace

from ...model.model import Input, Model
from .fills import Fill
from .recipe import Recipe


def simplify(recipe: Recipe, model: Model, fails: Callable[[Recipe], bool]) -> Recipe:
    """Return the simplest recipe that can be reached by steps that all fail.

    Args:
        recipe: one that fails.
        model: whose sizes and ranges are kept.
        fails: asked for each step; may raise to end it.
    """
    tried = {recipe.key}
    again = True
    while again:
        again = False
        for simpler in _steps(recipe, model):
            if simpler.key in tried:
                continue
            tried.add(simpler.key)
            if fails(simpler):
                recipe, again = simpler, True
                break
    return recipe


def _steps(recipe: Recipe, model: Model) -> Iterator[Recipe]:
    """Yield recipes that are simpler in one thing, the largest steps first."""
    if all(fill.kind != "sample" for fill in recipe.fills):
        for name, allowed in model.dims.items():
            smaller = bisect_left(allowed, recipe.sizes[name])
            for place in dict.fromkeys((0, smaller // 2, smaller - 1)) if smaller else ():
                yield Recipe({**recipe.sizes, name: allowed[place]}, recipe.fills)
    for index, (fill, item) in enumerate(zip(recipe.fills, model.inputs, strict=True)):
        for other in _simpler(fill, item.at(recipe.sizes)):
            yield Recipe(recipe.sizes, (*recipe.fills[:index], other, *recipe.fills[index + 1 :]))


def _simpler(fill: Fill, item: Input) -> Iterator[Fill]:
    if fill.special:
        yield replace(fill, special=())
        for index in range(len(fill.special)) if len(fill.special) > 1 else ():
            yield replace(fill, special=fill.special[:index] + fill.special[index + 1 :])
    if fill.kind == "sample":
        if fill.changed:
            yield replace(fill, changed=0.0)
        return
    if fill.kind != "constant":
        low, high = item.range
        nought = 0.0 if low <= 0 <= high else low
        for value in dict.fromkeys((nought, fill.value)):
            yield Fill("constant", value, special=fill.special)
        if fill.kind != "uniform":
            yield Fill("uniform", seed=1, special=fill.special)
    elif fill.value and item.range[0] <= 0:
        yield replace(fill, value=0.0)
