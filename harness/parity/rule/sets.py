"""Outputs that are sets: an answer's rows are put beside the reference's before they are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...model.model import Array
from ...model.unordered import RowSet
from .comparison import SAME_ULPS, Expected
from .rows import MOST_ROWS, bottleneck, pairwise, tolerance_ratios

# Where more rows are not quite in place, those that are within the limit stay where they are.
MANY_ROWS = 512
# Two runs of the model itself whose rows are so near have them in one order.
NEAR_ULPS = 32


def arranged(
    expected: Sequence[Expected],
    answers: Sequence[Array],
    groups: Sequence[RowSet],
    limit: float = np.inf,
    leave: float = 1.0,
) -> list[Array]:
    """Put the rows of each group of an answer in the reference's order: one to one, so that the worst is nearest.

    A group in which shapes, types or counts of rows differ stays as it is: that is a difference whatever the order.

    Args:
        expected: what each output should be.
        answers: the outputs, in the same order.
        groups: outputs that are sets, with the axis of their rows.
        limit: where all rows are nearer than this, as a multiple of the error that counts as 1, no better order is
            looked for.
        leave: a row that is so near the one at its own place stays there, if the others find partners; of many rows
            that are not, one that is within the limit.
    """
    if len(expected) != len(answers):
        return list(answers)
    result = {one.name: answer for one, answer in zip(expected, answers, strict=True)}
    by_name = {one.name: one for one in expected}
    for group in groups:
        if group.outputs and all(_is_alike(by_name[name], result[name], group.axis) for name in group.outputs):
            result |= _arranged(by_name, result, group, limit, leave)
    return list(result.values())


def _is_alike(one: Expected, answer: Array, axis: int) -> bool:
    return answer.shape == one.eager.shape and answer.dtype == one.eager.dtype and answer.ndim > axis


def _arranged(
    expected: Mapping[str, Expected], answers: Mapping[str, Array], group: RowSet, limit: float, leave: float
) -> dict[str, Array]:
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
        wanted = {
            name: (rows(expected[name].eager)[index], rows(expected[name].exact)[index]) for name in group.outputs
        }
        each = [(expected[name], found[name][index], *wanted[name]) for name in group.outputs]
        partners = _partners(each, limit, leave)
        if partners is not None:
            for name in group.outputs:
                there = found[name][index].copy()
                found[name][index][partners] = there
    return {name: array.reshape(answers[name].shape) for name, array in found.items()}


def _partners(each: Sequence[tuple[Expected, Array, Array, Array]], limit: float, leave: float) -> Array | None:
    """Find, for each row of the answer, the reference's that it is; None where all stay.

    Only rows that are out of place are matched, first: time and memory go with the square of their number.

    Args:
        each: of each output of a group, the answer's rows, eager's and float64's.
        limit: as in ``arranged``.
        leave: as in ``arranged``.
    """
    count = len(each[0][1])
    places = [tolerance_ratios(*one, 1.0).reshape(count, -1).max(axis=1, initial=0.0) for one in each]
    place = np.max(places, axis=0)
    moved = np.flatnonzero(place > leave)
    if len(moved) > MANY_ROWS:  # right is right: the nearest would take too long
        moved = np.flatnonzero(place > limit)
    if not len(moved):
        return None
    partners, largest = _matched(each, moved)
    if (partners is None or largest > limit) and len(moved) < count <= MOST_ROWS:
        return _matched(each, np.arange(count))[0]
    return partners


def _matched(each: Sequence[tuple[Expected, Array, Array, Array]], moved: Array) -> tuple[Array | None, float]:
    """Match these rows, the others in place; return the partners, and how far the worst of these is from its own."""
    distances = np.zeros((len(moved), len(moved)))
    for one, answer, eager, exact in each:
        np.maximum(distances, pairwise(one, answer[moved], eager[moved], exact[moved], 1.0), out=distances)
    partners = bottleneck(distances)
    if partners is None:
        return None, np.inf
    result = np.arange(len(each[0][1]))
    result[moved] = moved[partners]
    return result, float(distances[np.arange(len(moved)), partners].max())


def aligned(eager: Mapping[str, Array], exact: Mapping[str, Array], groups: Sequence[RowSet]) -> dict[str, Array]:
    """Put the rows of each group of float64's outputs beside eager's: another order says nothing of float32's error."""
    wide = {name: array.astype(np.float64) if array.dtype.kind == "f" else array for name, array in eager.items()}
    as_reference = [Expected(name, wide[name], wide[name]) for name in eager]
    names = list(eager)
    answers = [exact[name] for name in names]
    return dict(zip(names, arranged(as_reference, answers, groups, limit=NEAR_ULPS, leave=SAME_ULPS), strict=True))
