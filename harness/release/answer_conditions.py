"""The answers that a release compares its own with: how far off they may be must follow from the committed model file.

Nothing but the evidence says how far float32 itself was off, which a tolerance that is a number is a multiple of. So
that cannot be made again; but a check that would take an output of zeros for every answer checks nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..errors import InputError
from ..evidence.schema import Allowed, AnswersEntry, CellEntry
from ..model.model import Closeness
from .cell_conditions import name_of
from .check_folder import make_cases, read_arrays
from .refusal import AGAIN, Refusal

Arrays = Mapping[str, np.ndarray[Any, np.dtype[Any]]]


def answer_refusals(cell: CellEntry, content: bytes, closeness: Closeness | None) -> Iterator[Refusal]:
    """Find what a cell says of how far its answers may be off that cannot be so.

    Args:
        cell: the cell; of one without answers, or that was not loaded, it is told elsewhere.
        content: of the file that it names.
        closeness: the model file's tolerance, where it is one; None where it is a number.
    """
    entry, load, name = cell.answers, cell.load, name_of(cell)
    if entry is None or load is None:
        return
    try:
        make_cases(load, entry, content)  # what they would be laid out as
        arrays = read_arrays(content, entry.path)
    except InputError as error:
        yield Refusal(f"{name}: {error.what}: {error.found}", error.hint or AGAIN)
        return
    for place, allowed in _of_floats(entry):
        said = allowed.atol, allowed.rtol
        if closeness is not None and said != (closeness.atol, closeness.rtol):
            meant = f"{closeness.atol:g} and {closeness.rtol:g} by the model file's tolerance"
        elif closeness is None and allowed.rtol:
            meant = "no rtol by the model file's tolerance, which is a number"
        else:
            continue
        reason = f"{name}: answers.allowed: {place} may be off by atol {said[0]:g} and rtol {said[1]:g}, and {meant}"
        yield Refusal(reason, f"do not change evidence; {AGAIN}")
        return
    if closeness is None and _takes_zeros(entry, arrays):
        reason = (
            f"{name}: answers.allowed is so wide that zeros would be right answers: the release would check nothing"
        )
        yield Refusal(reason, f"do not change evidence; {AGAIN}; if it stays so, give the model file's tolerance")


def _of_floats(entry: AnswersEntry) -> Iterator[tuple[str, Allowed]]:
    """Yield what is allowed of each output of floats, with its place: of others nothing is."""
    for case, outputs in enumerate(entry.allowed):
        for number, allowed in enumerate(outputs):
            if allowed.dtype.startswith("float"):
                yield f"{case}.out.{number}", allowed


def _takes_zeros(entry: AnswersEntry, arrays: Arrays) -> bool:
    """Tell whether all that is compared are floats, none of which zeros would be too far off from."""
    if any(not allowed.dtype.startswith("float") for outputs in entry.allowed for allowed in outputs):
        return False
    told = [(allowed, arrays[place]) for place, allowed in _of_floats(entry) if place in arrays]
    largest = [(allowed, float(np.abs(array).max(initial=0.0))) for allowed, array in told if array.dtype.kind == "f"]
    return any(size for _, size in largest) and all(size <= allowed.atol for allowed, size in largest)
