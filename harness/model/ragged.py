"""Samples of different sizes, and outputs that cannot be stacked: detections, sequences (issue 16, A 3).

Inputs come as a list with an array for each sample, outputs go to ``score`` as one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .model import Array, Model

# One array whose first axis counts the samples; or an array for each.
Column = Array | list[Array]


def read_column(value: Any) -> Column:
    """Read an input's samples: one array where all have one shape, else an array for each."""
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        value = list(value)
    if isinstance(value, (list, tuple)):
        parts = [np.asarray(part) for part in value]
        if len({part.shape for part in parts}) > 1:
            return parts
    return np.asarray(value)


def read_labels(labels: Any) -> Array:
    """Read labels as an array whose first axis counts the samples: of objects, where theirs have several shapes."""
    try:
        return np.asarray(labels)
    except ValueError:  # "inhomogeneous shape"
        found = np.empty(len(labels), object)
        for index, label in enumerate(labels):
            found[index] = label
        return found


def typed(column: Column, dtype: str) -> Column:
    """The same elements in an input's own type."""
    if isinstance(column, list):
        return [part.astype(dtype, copy=False) for part in column]
    return column.astype(dtype, copy=False)


def chosen_of(column: Column, chosen: Array) -> Column:
    """Those of some samples."""
    return [column[number] for number in chosen] if isinstance(column, list) else column[chosen]


def fit_each(columns: Mapping[str, Column], model: Model, count: int, bind: Callable[..., bool]) -> tuple[bool, str]:
    """Find out how samples of different sizes go into calls of their own.

    Args:
        bind: whether sizes are what a shape allows; see accuracy.

    Returns:
        (whether each has the model's whole shape, else it lacks the first axis; which does not fit, "" where all do).
    """
    furthest, found = -1, ""
    for whole in (True, False):
        for index in range(count):
            if problem := _misfit(columns, model, index, whole, bind):
                break
        else:
            return whole, ""
        if index > furthest:  # read the other way, the samples before it do not even fit
            furthest, found = index, problem
    return True, found


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
    """One output of every call as a list: an array for each sample; for each call, where its first axis is not theirs.

    Args:
        repeated: so many samples of the last call were in the one before.
    """
    if stacked or any(output.shape[:1] != (step,) for output in outputs):
        return list(outputs)
    rows = [list(output) for output in outputs]
    return [row for call in [*rows[:-1], rows[-1][repeated:]] for row in call]


def described_sizes(each: Sequence[Mapping[str, int]]) -> dict[str, int | str]:
    """The sizes that several sets have: a number, or the ends where they differ, as in "40…120"."""
    found: dict[str, int | str] = {}
    for name in each[0] if each else ():
        low, high = min(sizes[name] for sizes in each), max(sizes[name] for sizes in each)
        found[name] = low if low == high else f"{low}…{high}"
    return found
