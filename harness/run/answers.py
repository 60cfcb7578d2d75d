"""The answers of a cell that its release compares its own with: kept once parity has passed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..cell import Cell
from ..checks.check import Verdict
from ..evidence.schema import Allowed
from ..evidence.writer import Evidence
from ..export.binding import Binding
from ..model.model import Array
from ..parity import PARITY
from ..parity.answers import Case


def keep_answers(evidence: Evidence, cell: Cell, cases: Sequence[Case], binding: Binding | None) -> None:
    """Save what parity kept, in the order and under the names that the engine has; drop it where parity did not pass.

    Without any case nothing is saved; nor of a given file with outputs that the model does not have: there is nothing
    to compare these with.

    Args:
        evidence: the run's.
        cell: the cell.
        cases: what parity kept, by the model's names.
        binding: of an artifact whose inputs and outputs are not named and ordered as the model's.

    Raises:
        StorageError: they cannot be written.
    """
    record = evidence[cell]
    verdicts = {check.verdict for check in record.checks if check.finding.metric.name == PARITY.name}
    if verdicts != {Verdict.PASS}:
        evidence.drop_answers(cell)
        return
    count = len(record.load.outputs) if record.load is not None else 0
    if not cases or any(len(case.answers) != count for case in cases):
        return
    arrays: dict[str, Array] = {}
    allowed: list[list[Allowed]] = []
    for number, case in enumerate(cases):
        inputs, outputs = _names(case, binding)
        arrays |= {
            f"{number}.in.{place}": np.asarray(case.inputs[name], order="C") for place, name in enumerate(inputs)
        }
        arrays |= {
            f"{number}.out.{place}": np.asarray(case.answers[name], order="C") for place, name in enumerate(outputs)
        }
        each = (case.allowed[name] for name in outputs)
        allowed.append([Allowed(dtype=one.dtype, atol=one.atol, rtol=one.rtol) for one in each])
    evidence.save_answers(cell, arrays, allowed)


def _names(case: Case, binding: Binding | None) -> tuple[list[str], list[str]]:
    """Return the model's names of a case's inputs and outputs, in the engine's order."""
    if binding is None:
        return list(case.inputs), list(case.answers)
    outputs = sorted(binding.outputs, key=lambda pair: pair.place)
    return [pair.model for pair in binding.inputs], [pair.model for pair in outputs]
