"""Which cells are decided among each other, and by which metrics."""

from __future__ import annotations

from collections.abc import Sequence

from ..checks.check import Verdict
from ..evidence.schema import CellEntry

PREFER = ("latency_p99_ms", "memory_peak_mib", "energy_per_inference_mj", "load_time_s", "artifact_mib")
# What stands for time on an emulated board, whose clock says nothing.
_INSTRUCTIONS = "instructions_per_inference"

# The verdicts of cells that may be ranked.
MAY_BE_TAKEN = (Verdict.PASS, Verdict.MEASURED)

Key = tuple[str, str, bool, str | None]


def key_of(cell: CellEntry) -> Key:
    """Return what cells must have in common to be ranked against each other.

    Cells without a hash of the model are one group: their model has one name, and nothing says that it is not one. A
    note says that nobody can tell. They are never ranked against cells that have a hash.
    """
    return cell.model, cell.device, cell.emulated, cell.model_sha256


def group(cells: Sequence[CellEntry]) -> list[list[CellEntry]]:
    """Group cells that may be ranked against each other, in the order in which the groups first come.

    A cell that may not be taken anyway, such as one that could not run, is told beside the others of its model and
    device also where its own hash is not known.
    """
    hashed: dict[tuple[str, str, bool], set[Key]] = {}
    for cell in cells:
        if cell.model_sha256 is not None:
            hashed.setdefault(key_of(cell)[:3], set()).add(key_of(cell))
    groups: dict[Key, list[CellEntry]] = {}
    for cell in cells:
        key = key_of(cell)
        known = hashed.get(key[:3], set())
        if cell.model_sha256 is None and cell.verdict not in MAY_BE_TAKEN and len(known) == 1:
            (key,) = known
        groups.setdefault(key, []).append(cell)
    return list(groups.values())


def metrics_for(cells: Sequence[CellEntry], prefer: Sequence[str]) -> tuple[str, ...]:
    """Return the metrics by which cells of one group are compared, each once.

    On an emulated board instructions stand where a latency is preferred, and what none of its cells has a value of (its
    clock says nothing, so nothing was timed) is left out instead of skipped.
    """
    if not any(cell.emulated for cell in cells):
        return tuple(dict.fromkeys(prefer))
    known = {check.metric for cell in cells for check in cell.checks if check.value is not None}
    stand_ins = (_INSTRUCTIONS if metric.startswith("latency_") else metric for metric in prefer)
    return tuple(metric for metric in dict.fromkeys(stand_ins) if metric == _INSTRUCTIONS or metric in known)
