"""A check that the model file's samples lie in the ranges that it declares for its inputs.

Parity is tried on the declared ranges. A sample outside of them is a contradiction in the file, most often a forgotten
division by 255, and a PASS would say nothing about the inputs that the model gets in use (issue 16).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import ModelError
from ..model.inputs import describe_span
from ..model.model import FLOAT_TYPES, Array, Input, Model
from ..model.ragged import Column

# In units in the last place of a range's end: a normalization rounds, so samples may be this far beyond it.
ROUNDED = 4


def check_range(columns: Mapping[str, Column], model: Model, where: str) -> list[str]:
    """Compare samples with the declared ranges, in the type in which the file gives them: a cast would wrap them.

    Args:
        columns: The samples by input; see harness.model.ragged.
        model: What the file declares.
        where: The file, for messages.

    Returns:
        Notes for the reader, where samples lie outside a range that the file leaves open, or has ``prepare``, which may
        leave the range.

    Raises:
        ModelError: A sample is outside a declared range, or has NaN or infinity that the file excludes.
    """
    notes = []
    for item in model.inputs:
        parts = columns[item.name]
        parts = parts if isinstance(parts, list) else [parts]
        deviations = [*_non_finite(item, parts), *_outside(item, parts, model)]
        if not deviations:
            continue
        description = f"{item.name}: {', '.join(each.text for each in deviations)}"
        if model.prepare is None and any(each.is_contradiction for each in deviations):
            raise ModelError(
                f"the samples of {item.name!r} are not what its Input declares",
                wanted=f"{_declared(item)}: parity is tried on nothing else",
                found=description,
                where=where,
                hint="scale them in samples() to what the model gets in use (a forgotten / 255?), or declare what they "
                "are: min_value, max_value, allow_nan, allow_infinity",
            )
        notes.append(
            f"samples lie outside the range on which parity is tried ({_declared(item)}), and its PASS says nothing of "
            f"what lies there: {description}. "
            f"Declare the range in use: Input({item.name!r}, …, min_value=…, max_value=…)"
        )
    return notes


@dataclass(frozen=True)
class _Deviation:
    """Something in the samples that parity does not try.

    Attributes:
        text: What it is.
        is_contradiction: Whether the file's own declaration rules it out.
    """

    text: str
    is_contradiction: bool


def _non_finite(item: Input, parts: Sequence[Array]) -> Iterator[_Deviation]:
    floats = [part for part in parts if part.dtype.kind == "f" and not _is_finite(part)]
    for kind, allowed, test in (("NaN", item.allow_nan, np.isnan), ("infinity", item.allow_infinity, np.isinf)):
        count = 0 if allowed else sum(int(test(part).sum()) for part in floats)
        if count:
            yield _Deviation(f"{kind} in {count} element{'s' if count > 1 else ''}", is_contradiction=True)


def _outside(item: Input, parts: Sequence[Array], model: Model) -> Iterator[_Deviation]:
    numbers = [part for part in parts if part.dtype.kind in "iuf"]
    finite = [part if _is_finite(part) else part[np.isfinite(part)] for part in numbers]
    finite = [part for part in finite if part.size]
    if not finite or item.dtype == "bool":
        return
    low, high = min(part.min().item() for part in finite), max(part.max().item() for part in finite)
    least, most = item.widest(model.dims).range
    floating = item.dtype in FLOAT_TYPES
    rounding = ROUNDED * float(np.spacing(np.asarray(max(abs(least), abs(most)), item.dtype))) if floating else 0
    below, above = low < least - rounding, high > most + rounding
    if below or above:
        declared = (below and item.min_value is not None) or (above and item.max_value is not None)
        yield _Deviation(describe_span(f"{low:g}", f"{high:g}"), declared)
    elif not floating and any((part % 1 != 0).any() for part in finite if part.dtype.kind == "f"):
        yield _Deviation(f"fractions, which {item.dtype} does not hold", is_contradiction=True)


def _is_finite(part: Array) -> bool:
    """Tell whether all elements are finite, from the smallest and the largest: samples may be gigabytes, so no copy."""
    return not part.size or bool(np.isfinite(part.min()) and np.isfinite(part.max()))


def _declared(item: Input) -> str:
    if item.dtype == "bool":
        return "bool"
    low, high = (item.min_value, item.max_value) if item.tied_to else item.range
    ends = [end if isinstance(end, str) else f"{end:g}" for end in (low, high)]
    default = ", as nothing is declared" if item.min_value is item.max_value is None else ""
    return f"{item.dtype} of {describe_span(*ends)}{default}"
