"""Whether the model file's samples are what it declares of its inputs.

Parity is tried on what is declared. A sample beyond that is a contradiction in the file (a forgotten division by 255,
more often than not), and a PASS would say nothing of the inputs that the model gets in use (issue 16).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import ModelError
from ..model.inputs import describe_span
from ..model.model import FLOAT_TYPES, Array, Input, Model
from ..model.ragged import Column

# A normalization rounds: so many units in the last place of the range's end are within.
ROUNDED = 4


def check_range(columns: Mapping[str, Column], model: Model, where: str) -> list[str]:
    """Compare samples with the declared ranges, in the type in which the file gives them: a cast would wrap them.

    Args:
        columns: by input; see ragged.

    Returns:
        what a person should know where the file declares no range there, or has prepare change what is drawn.

    Raises:
        ModelError: a sample is outside a range that the file declares, or has NaN or infinities that it excludes.
    """
    notes = []
    for item in model.inputs:
        parts = columns[item.name]
        found = [*_strange(item, parts := parts if isinstance(parts, list) else [parts]), *_beyond(item, parts, model)]
        if not found:
            continue
        said = f"{item.name}: {', '.join(one.text for one in found)}"
        if model.prepare is None and any(one.contradicts for one in found):
            raise ModelError(
                f"the samples of {item.name!r} are not what its Input declares",
                wanted=f"{_declared(item)}: parity is tried on nothing else",
                found=said,
                where=where,
                hint="scale them in samples() to what the model gets in use (a forgotten / 255?), or declare what they "
                "are: min_value, max_value, allow_nan, allow_infinity",
            )
        notes.append(
            f"samples lie outside the range on which parity is tried ({_declared(item)}), and its PASS says nothing of "
            f"what lies there: {said}. Declare the range in use: Input({item.name!r}, …, min_value=…, max_value=…)"
        )
    return notes


@dataclass(frozen=True)
class _Found:
    """Something in the samples that parity does not try; ``contradicts``: whether the file itself rules it out."""

    text: str
    contradicts: bool


def _strange(item: Input, parts: Sequence[Array]) -> Iterator[_Found]:
    floats = [part for part in parts if part.dtype.kind == "f" and not _is_finite(part)]
    for kind, allowed, test in (("NaN", item.allow_nan, np.isnan), ("infinity", item.allow_infinity, np.isinf)):
        count = 0 if allowed else sum(int(test(part).sum()) for part in floats)
        if count:
            yield _Found(f"{kind} in {count} element{'s' if count > 1 else ''}", contradicts=True)


def _beyond(item: Input, parts: Sequence[Array], model: Model) -> Iterator[_Found]:
    numbers = [part for part in parts if part.dtype.kind in "iuf"]
    finite = [part if _is_finite(part) else part[np.isfinite(part)] for part in numbers]
    finite = [part for part in finite if part.size]
    if not finite or item.dtype == "bool":
        return
    low, high = min(part.min().item() for part in finite), max(part.max().item() for part in finite)
    least, most = item.widest(model.dims).range
    floating = item.dtype in FLOAT_TYPES
    rounded = ROUNDED * float(np.spacing(np.asarray(max(abs(least), abs(most)), item.dtype))) if floating else 0
    below, above = low < least - rounded, high > most + rounded
    if below or above:
        declared = (below and item.min_value is not None) or (above and item.max_value is not None)
        yield _Found(describe_span(f"{low:g}", f"{high:g}"), declared)
    elif not floating and any((part % 1 != 0).any() for part in finite if part.dtype.kind == "f"):
        yield _Found(f"fractions, which {item.dtype} does not hold", contradicts=True)


def _is_finite(part: Array) -> bool:
    """Whether all elements are finite, told by the ends: samples may be gigabytes, and no copy of them is made."""
    return not part.size or bool(np.isfinite(part.min()) and np.isfinite(part.max()))


def _declared(item: Input) -> str:
    if item.dtype == "bool":
        return "bool"
    low, high = (item.min_value, item.max_value) if item.tied_to else item.range
    ends = [end if isinstance(end, str) else f"{end:g}" for end in (low, high)]
    default = ", as nothing is declared" if item.min_value is item.max_value is None else ""
    return f"{item.dtype} of {describe_span(*ends)}{default}"
