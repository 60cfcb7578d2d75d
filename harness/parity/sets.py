"""Outputs that are sets: an answer's rows are put beside the reference's before they are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..model import Array
from ..unordered import RowSet
from .comparison import Expected
from .rows import bottleneck, pairwise


def arranged(expected: Sequence[Expected], answers: Sequence[Array], groups: Sequence[RowSet]) -> list[Array]:
    """An answer with the rows of each group in the order of the reference's: one to one, so that the worst is nearest.

    A group in which shapes, types or counts of rows differ stays as it is: that is a difference whatever the order.
    """
    if len(expected) != len(answers):
        return list(answers)
    found = {one.name: answer for one, answer in zip(expected, answers, strict=True)}
    by_name = {one.name: one for one in expected}
    for group in groups:
        if group.outputs and all(_is_alike(by_name[name], found[name], group.axis) for name in group.outputs):
            found |= _arranged(by_name, found, group)
    return list(found.values())


def _is_alike(one: Expected, answer: Array, axis: int) -> bool:
    return answer.shape == one.eager.shape and answer.dtype == one.eager.dtype and answer.ndim > axis


def _arranged(expected: Mapping[str, Expected], answers: Mapping[str, Array], group: RowSet) -> dict[str, Array]:
    shapes = {answers[name].shape[: group.axis + 1] for name in group.outputs}
    if len(shapes) != 1:
        return {}
    (shape,) = shapes
    count, number = shape[-1], int(np.prod(shape[:-1], dtype=int))
    if not count:
        return {}

    def rows(array: Array) -> Array:
        return array.reshape(number, count, -1)

    found = {name: rows(answers[name]).copy() for name in group.outputs}
    for index in range(number):
        each = []
        for name in group.outputs:
            one = expected[name]
            eager, exact = rows(one.eager)[index], rows(one.exact)[index]
            each.append(pairwise(one, found[name][index], eager, exact, 1.0))
        partners = bottleneck(np.max(each, axis=0))
        if partners is not None:
            for name in group.outputs:
                there = found[name][index].copy()
                found[name][index][partners] = there
    return {name: array.reshape(answers[name].shape) for name, array in found.items()}


def aligned(eager: Mapping[str, Array], exact: Mapping[str, Array], groups: Sequence[RowSet]) -> dict[str, Array]:
    """float64's outputs with the rows of each group beside eager's: another order says nothing of float32's error."""
    wide = {name: array.astype(np.float64) if array.dtype.kind == "f" else array for name, array in eager.items()}
    as_reference = [Expected(name, wide[name], wide[name]) for name in eager]
    names = list(eager)
    return dict(zip(names, arranged(as_reference, [exact[name] for name in names], groups), strict=True))
