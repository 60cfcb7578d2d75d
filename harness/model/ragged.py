"""Samples of different sizes, and outputs that cannot be stacked, such as detections and sequences (issue 16, A 3).

Such inputs come as a list with an array for each sample; such outputs go to ``score`` as a list, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .dimension import span_of
from .model import Array, Model

# An input's samples: one array whose first axis counts them, or a list with an array for each.
Column = Array | list[Array]


def read_column(value: Any) -> Column:
    """Read an input's samples: as one array if all have one shape, else as a list with an array for each."""
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        value = list(value)
    if isinstance(value, (list, tuple)):
        parts = [np.asarray(part) for part in value]
        if len({part.shape for part in parts}) > 1:
            return parts
    return np.asarray(value)


def read_labels(labels: Any) -> Array:
    """Read labels as an array whose first axis counts the samples; an array of objects if their shapes differ."""
    try:
        return np.asarray(labels)
    except ValueError:  # "inhomogeneous shape"
        objects = np.empty(len(labels), object)
        for index, label in enumerate(labels):
            objects[index] = label
        return objects


def typed(column: Column, dtype: str) -> Column:
    """Convert samples to an input's element type."""
    if isinstance(column, list):
        return [part.astype(dtype, copy=False) for part in column]
    return column.astype(dtype, copy=False)


def chosen_of(column: Column, chosen: Array) -> Column:
    """Select samples by their places, int[n]."""
    return [column[number] for number in chosen] if isinstance(column, list) else column[chosen]


def fit_each(columns: Mapping[str, Column], model: Model, count: int, bind: Callable[..., bool]) -> tuple[bool, str]:
    """Find out how samples of different sizes go into calls of their own.

    Args:
        columns: The samples by input.
        model: What the file declares.
        count: How many samples there are.
        bind: Tells whether sizes are what a shape allows; see sample_set.

    Returns:
        Whether each sample has the model's whole shape (else it lacks the first axis); and which one does not fit, ""
        if all do.
    """
    furthest, misfit = -1, ""
    for whole in (True, False):
        for index in range(count):
            if problem := _misfit(columns, model, index, whole, bind):
                break
        else:
            return whole, ""
        if index > furthest:  # the likelier reading is the one in which more samples fit
            furthest, misfit = index, problem
    return True, misfit


def _misfit(columns: Mapping[str, Column], model: Model, index: int, whole: bool, bind: Callable[..., bool]) -> str:
    sizes: dict[str, int] = {}
    for item in model.inputs:
        column = columns[item.name]
        found = column[index].shape if index < len(column) else None
        shape = tuple(item.shape)
        fits = found is not None and (
            bind(shape, found, model, sizes) if whole else bool(shape) and bind(shape, (1, *found), model, sizes)
        )
        if not fits:
            return f"{item.name}[{index}]: {'nothing' if found is None else list(found)}"
    return ""


def as_list(outputs: Sequence[Array], step: int, stacked: bool, repeated: int) -> list[Array]:
    """Join one output of all calls to a list with an array for each sample.

    If the output's first axis does not count samples, the list has an array for each call.

    Args:
        outputs: The output of each call.
        step: How many samples a call has.
        stacked: Whether a call is one sample with the model's whole shape.
        repeated: How many samples of the last call were also in the one before.
    """
    if stacked or any(output.shape[:1] != (step,) for output in outputs):
        return list(outputs)
    rows = [list(output) for output in outputs]
    return [row for call in [*rows[:-1], rows[-1][repeated:]] for row in call]


def described_sizes(each: Sequence[Mapping[str, int]]) -> dict[str, int | str]:
    """Describe the sizes of several sets of inputs: a number, or both ends where they differ, as in "40…120"."""
    return {name: span_of([sizes[name] for sizes in each]) for name in (each[0] if each else ())}
