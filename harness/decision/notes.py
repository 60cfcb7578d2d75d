"""What a decision does not know, and a reader should."""

from __future__ import annotations

from collections.abc import Sequence

from ..checks.check import Verdict
from ..evidence.schema import CellEntry
from .standing import Standing
from .words import EMULATED


def notes_on(standings: Sequence[Standing], taken: Standing | None) -> list[str]:
    """List what the cells alone cannot tell."""
    ranked = [standing.entry for standing in standings if not standing.is_out]
    notes: list[str] = []
    if standings and standings[0].entry.emulated:
        notes.append(f"{EMULATED}: decided by what an emulated CPU can know: answers, memory, instructions, size")
    if len(standings) > 1 and not any(standing.entry.model_sha256 for standing in standings):
        notes.append("whether these are one model cannot be told: the evidence has no hash of its weights and code")
    if len({_machine(cell) for cell in ranked if cell.fingerprint is not None}) > 1:
        notes.append("not all of these were measured on one machine: their figures may differ for that alone")
    if len({_conditions(cell) for cell in ranked}) > 1:
        notes.append("not all of these were measured at one size and with one number of threads: do not compare them")
    if taken is not None:
        notes += _on_taken(taken.entry)
    return notes


def _on_taken(cell: CellEntry) -> list[str]:
    """Say what was not shown of the cell that is taken."""
    notes: list[str] = []
    if not has_parity(cell):
        notes.append(f"whether the answers of {cell.backend} are right was not tested: it has no parity")
    if not any(check.limit is not None and check.metric != "parity" for check in cell.checks):
        notes.append(f"{cell.backend} had no limit but parity's own: nothing says what would be too slow, or too large")
    open_ones = [
        check.metric for check in cell.checks if check.verdict is Verdict.NOT_APPLICABLE and check.limit is not None
    ]
    if open_ones:
        notes.append(f"limits of {cell.backend} that could not be judged here: {', '.join(open_ones)}")
    return notes


def _conditions(cell: CellEntry) -> tuple[object, ...]:
    print_ = cell.fingerprint
    threads = () if print_ is None else (print_.threads, print_.interop_threads)
    return tuple(sorted(cell.measure.items())), threads


def _machine(cell: CellEntry) -> tuple[object, ...]:
    print_ = cell.fingerprint
    if print_ is None:
        return ()
    return print_.arch, print_.cpu, print_.cores, print_.memory_mib, print_.board, print_.serial


def has_parity(cell: CellEntry) -> bool:
    """Tell whether a cell's answers were compared with the model's, and found right."""
    return any(check.metric == "parity" and check.verdict is Verdict.PASS for check in cell.checks)
