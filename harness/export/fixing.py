"""Dimensions fixed for trial: what an exporter refuses with a free dimension, it may take with one size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ..model.model import Model

# More dimensions are tried all together only: each trial is an export.
MOST_ALONE = 4


def fixed_models(model: Model) -> Iterator[tuple[Model, Mapping[str, int]]]:
    """Give the model with a dimension fixed at its measured size: each one alone, then all of them."""
    free = {name: model.measure[name] for name, sizes in model.dims.items() if len(sizes) > 1}
    choices = [{name: size} for name, size in free.items()] if len(free) <= MOST_ALONE else []
    if len(free) > 1:
        choices.append(free)
    for fixed in choices:
        yield replace(model, dims={**model.dims, **{name: (size, size) for name, size in fixed.items()}}), fixed


def said_fixed(fixed: Mapping[str, int]) -> str:
    """Say what helps: "with samples = 16000 fixed it exports: dims={"samples": (16000, 16000)}"."""
    sizes = ", ".join(f"{name} = {size}" for name, size in fixed.items())
    dims = ", ".join(f'"{name}": ({size}, {size})' for name, size in fixed.items())
    return f"with {sizes} fixed it exports: dims={{{dims}}}"
