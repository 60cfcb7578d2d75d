"""Expected outputs made of a model's runs in its own types and in float64."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from ...model.inputs import Arrays, describe
from ...model.model import Array, Closeness
from ...model.unordered import RowSet
from .comparison import Expected
from .sets import aligned


def expected_of(
    eager: Mapping[str, Array], exact: Mapping[str, Array], groups: Sequence[RowSet] = ()
) -> list[Expected]:
    """Make the expected outputs of two runs that have the same forms.

    Args:
        eager: the run in the model's own types, by output.
        exact: the run in float64.
        groups: outputs that are sets: float64's rows are put beside eager's.
    """
    exact = aligned(eager, exact, groups) if groups else exact
    return [Expected(name, array, exact[name]) for name, array in eager.items()]


def outright(eager: Mapping[str, Array], closeness: Closeness) -> list[Expected]:
    """Make the expected outputs where the model file says how close is close enough: eager's are the reference."""
    wide = {name: array.astype(np.float64) if array.dtype.kind == "f" else array for name, array in eager.items()}
    return [Expected(name, array, wide[name], closeness=closeness) for name, array in eager.items()]


def forms(arrays: Mapping[str, Array]) -> str:
    """Describe outputs by names, kinds of number and shapes: what both runs must agree in."""
    kinds = {"f": "float", "i": "int", "u": "unsigned", "b": "bool"}
    kind = {name: kinds.get(array.dtype.kind, array.dtype.name) for name, array in arrays.items()}
    return ", ".join(f"{name}: {kind[name]}{list(array.shape)}" for name, array in arrays.items())


def sizes_differ(one: Mapping[str, Array], other: Mapping[str, Array]) -> bool:
    """Tell whether two runs have the same outputs, of as many axes, in other sizes."""

    def kinds(arrays: Mapping[str, Array]) -> list[tuple[str, str, int]]:
        return [(name, array.dtype.kind, array.ndim) for name, array in arrays.items()]

    return kinds(one) == kinds(other) and forms(one) != forms(other)


def digest_of(arrays: Arrays) -> str:
    """Hash inputs: their names, shapes, types and bytes."""
    digest = hashlib.sha256(describe(arrays).encode())
    for array in arrays.values():
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def size_of(expected: list[Expected]) -> int:
    """Count the bytes that expected outputs take."""
    return sum(one.eager.nbytes + one.exact.nbytes for one in expected)
