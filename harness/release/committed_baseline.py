"""The baseline of a device that counts instructions, as it was committed: a limit follows from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..device import Device
from ..errors import InputError
from ..evidence.schema import CellEntry, CheckEntry, RunEntry
from ..instructions.baseline import BY_CONTENT, VALUE, baseline_path, read_baseline
from .cell_conditions import name_of
from .refusal import AGAIN, Refusal


def baseline_refusals(project: Path, run: RunEntry, device: Device, cell: CellEntry) -> Iterator[Refusal]:
    """Refuse a cell that was compared with another baseline than the committed one, or with none.

    Args:
        project: the project's folder, as committed.
        run: the evidence.
        device: the cell's, as committed.
        cell: the cell.
    """
    place = baseline_path(project, device.name)
    if not (device.can_count and place.is_file()):
        return
    shown = str(place.relative_to(project))
    if device.name not in {entry.name for entry in run.files if entry.kind == "baseline"}:
        reason = f"the evidence was not judged by {shown}, which is committed"
        yield Refusal(reason, f"{AGAIN}, without --write-baseline")
        return
    try:
        baseline = read_baseline(project, device.name)
    except InputError as error:
        yield Refusal(f"{shown} cannot be read as committed: {error.found}", f"mend it, commit it, and {AGAIN}")
        return
    entry = None if baseline is None else baseline.entries.get((cell.model, cell.backend))
    for check in cell.checks:
        said = (check.model_extra or {}).get("baseline") if check.metric == VALUE else None
        if said is not None and not _is_of(entry, said, check):
            value = said.get("value") if isinstance(said, dict) else said
            committed = "no count of it" if entry is None else f"{entry[VALUE]}"
            reason = f"{name_of(cell)}: {VALUE} was compared with {value!r:.80}, and {shown} has {committed}"
            yield Refusal(reason, f"do not change evidence; {AGAIN}")


def _is_of(entry: Mapping[str, Any] | None, said: Any, check: CheckEntry) -> bool:
    """Tell whether what a check was compared with are an entry's counts, or none: then it is not judged by one."""
    if not isinstance(said, dict):
        return False
    if "value" not in said:
        return "refused" in said
    if entry is None:
        return False
    counts = dict(entry.get(BY_CONTENT, {}))
    content = (check.model_extra or {}).get("content")
    expected = [counts.get(content, entry[VALUE])] if isinstance(content, str) else [entry[VALUE], *counts.values()]
    each = said.get(BY_CONTENT, {})
    return said["value"] in expected and isinstance(each, dict) and all(counts.get(key) == each[key] for key in each)
