"""Concrete inputs for a model: sizes for its dimensions, arrays for its inputs; equal for equal seeds."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .model import FLOAT_TYPES, Array, Input, Model

Arrays = dict[str, Array]

# How many sizes of a dimension are searched for one that no other dimension has.
TRACED = 65


def uniform(item: Input, sizes: Mapping[str, int], seed: int) -> Array:
    """Draw finite values, uniformly over the input's range, at given sizes of its dimensions."""
    shape, item = item.sizes(sizes), item.at(sizes)
    low, high = item.range
    # Philox is counter-based: the same words on every machine.
    random = np.random.Generator(np.random.Philox(seed))
    if item.dtype in FLOAT_TYPES:
        values = random.random(shape)
        return as_dtype(low * (1 - values) + high * values, item)
    return np.asarray(random.integers(int(low), int(high), shape, endpoint=True), item.dtype)


def as_dtype(values: Array, item: Input) -> Array:
    """Round values to the input's element type; rounding must not carry a value over an end of its range."""
    low, high = item.range
    if item.dtype == "int64" and values.dtype.kind == "f":
        largest = 2**63 - 1024  # the largest float64 that an int64 can hold
        values = np.clip(values, low, min(high, largest)).astype(item.dtype)
    return np.asarray(np.clip(values, low, high), item.dtype)  # 0-d stays an array


def uniform_set(model: Model, sizes: Mapping[str, int], seed: int) -> Arrays:
    """Draw one array for each input, in their order, each from random numbers of its own."""
    return {item.name: uniform(item, sizes, 1000 * seed + index) for index, item in enumerate(model.inputs)}


def traced_sizes(model: Model) -> dict[str, int]:
    """Choose the sizes at which an export is traced: all different and neither 0 nor 1, where the ranges allow it.

    torch.export takes a dimension of size 0 or 1 for a constant, and two equal sizes for the same one.
    """
    sizes: dict[str, int] = {}
    # The dimension with the smallest largest size chooses first: so each gets a size of its own if it can.
    for name, allowed in sorted(model.dims.items(), key=lambda dim: dim[1][-1]):
        first = bisect_left(allowed, 2)
        free = (size for size in allowed[first : first + TRACED] if size not in sizes.values())
        sizes[name] = next(free, allowed[-1])
    return {name: sizes[name] for name in model.dims}


def measured_sets(model: Model, count: int) -> list[Arrays]:
    """Draw sets of inputs at the sizes that are measured; where those are drawn, at the largest."""
    return [uniform_set(model, model.measured_sizes, 1 + index) for index in range(count)]


def sizes_of(inputs: Sequence[Input], arrays: Mapping[str, Array]) -> dict[str, int]:
    """Read the sizes of the dimensions from arrays of the inputs."""
    return {
        name: size
        for item in inputs
        for name, size in zip(item.shape, arrays[item.name].shape, strict=True)
        if isinstance(name, str)
    }


def set_bytes(model: Model, sizes: Mapping[str, int]) -> int:
    """Compute the memory of one set of inputs, in bytes, without making it."""
    items = ((math.prod(item.sizes(sizes)), np.dtype(item.dtype).itemsize) for item in model.inputs)
    return sum(count * size for count, size in items)


def describe_sizes(sizes: Mapping[str, Any]) -> str:
    """Describe sizes: "batch = 1, height = 1080"; "" without dimensions."""
    return ", ".join(f"{name} = {size}" for name, size in sizes.items())


def describe_measured(model: Model) -> str:
    """Describe the sizes that are measured: "batch = 1", "side = 60…68, drawn"; "" without dimensions."""
    sizes = describe_sizes(model.described_sizes)
    return f"{sizes}, drawn" if model.measured_sizes.drawn else sizes


def describe_span(low: Any, high: Any) -> str:
    """Describe the span of values: "0 … 255"; of a single value, "100"."""
    return f"{low}" if low == high else f"{low} … {high}"


def at_sizes(sizes: Mapping[str, Any]) -> str:
    """Describe sizes for the end of a sentence: " at batch = 1, height = 1080"; "" without dimensions."""
    return f" at {describe_sizes(sizes)}" if sizes else ""


def describe(arrays: Mapping[str, Any]) -> str:
    """Describe arrays by name, type and shape: "image: float32[1, 3, 224, 224]"."""
    return ", ".join(f"{name}: {array.dtype}{list(array.shape)}" for name, array in arrays.items())
