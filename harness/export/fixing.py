"""Trying fixed dimensions: an exporter that refuses a free dimension may accept one size of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ..model.model import Model

# With more free dimensions only all of them together are tried, because each trial is an export.
MOST_ALONE = 4


def fixed_models(model: Model) -> Iterator[tuple[Model, Mapping[str, int]]]:
    """Yield variants of a model with dimensions fixed at their measured sizes, and these sizes.

    Each free dimension is fixed alone, then all of them together.
    """
    free = {name: model.measured_sizes[name] for name, sizes in model.dims.items() if len(sizes) > 1}
    choices = [{name: size} for name, size in free.items()] if len(free) <= MOST_ALONE else []
    if len(free) > 1:
        choices.append(free)
    for fixed in choices:
        yield replace(model, dims={**model.dims, **{name: (size, size) for name, size in fixed.items()}}), fixed


def describe_fixed(fixed: Mapping[str, int]) -> str:
    """Say which fixed dimensions help, and how to declare them.

    For example: "with samples = 16000 fixed it exports: dims={"samples": (16000, 16000)}".
    """
    sizes = ", ".join(f"{name} = {size}" for name, size in fixed.items())
    dims = ", ".join(f'"{name}": ({size}, {size})' for name, size in fixed.items())
    return f"with {sizes} fixed it exports: dims={{{dims}}}"
