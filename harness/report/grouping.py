"""Which cells stand together: one model on one device; of a cell that several runs have, the newest.

Cells are decided together only where they are known to be of the same model: that is its ``model_sha256``. Where that
is not known (null), a cell stands with others of its own run alone, and with those that have a hash only if it may not
be taken anyway.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ..checks.check import Verdict
from ..decision.consistency import contradictions
from ..decision.grouping import MAY_BE_TAKEN
from ..evidence.schema import CellEntry
from .figures import limit_text
from .report import ReportCell, Source

# The worst first: of two cells that nothing else tells apart, it counts.
WORST = (
    Verdict.FAIL,
    Verdict.INCONCLUSIVE,
    Verdict.INELIGIBLE,
    Verdict.NOT_APPLICABLE,
    Verdict.MEASURED,
    Verdict.PASS,
)

# How many runs, limits and lost checks are named.
MOST_NAMED = 10

Key = tuple[object, ...]


@dataclass(kw_only=True)
class Group:
    """Cells that are decided together, and what a reader should know of how they came together."""

    cells: list[ReportCell] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def group_cells(sources: Sequence[Source]) -> list[Group]:
    """Group the cells of all sources by model, device, emulated or not, and hash, in the order in which they come."""
    groups: dict[Key, Group] = {}
    for (place, known, _), same in _same_cells(sources).items():
        number, cell = max(same, key=lambda each: _newness(each[1]))
        group = groups.setdefault((*place, number if known is None else known), Group())
        group.cells.append(cell)
        group.notes += [_left_out(cell, other) for _, other in same if other is not cell]
    for key, group in groups.items():
        notes = [*_neighbours(key, group, groups), *_mixed(group.cells), *group.notes]
        group.notes[:] = list(dict.fromkeys(notes))
    return list(groups.values())


def moment_of(source: Source) -> datetime:
    """Return when a run ended, or began if it has not ended; the beginning of time where the file does not say."""
    try:
        moment = datetime.fromisoformat(source.run.finished or source.run.started)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _same_cells(
    sources: Iterable[Source],
) -> dict[tuple[Key, str | None, str], list[tuple[int, ReportCell]]]:
    """Collect each cell as all files have it, with the number of its file; by place, hash and backend."""
    same: dict[tuple[Key, str | None, str], list[tuple[int, ReportCell]]] = {}
    for number, source in enumerate(sources):
        hashes = _hashes(source)
        for entry in source.run.cells:
            cell = ReportCell(entry=entry, source=source, contradictions=contradictions(entry))
            key = (_place(entry), _hash_of(entry, hashes), entry.backend)
            same.setdefault(key, []).append((number, cell))
    return same


def _place(entry: CellEntry) -> Key:
    return entry.model, entry.device, entry.emulated


def _hashes(source: Source) -> dict[Key, set[str]]:
    """Return the hashes that a file has of each model and device."""
    found: dict[Key, set[str]] = {}
    for entry in source.run.cells:
        if entry.model_sha256 is not None:
            found.setdefault(_place(entry), set()).add(entry.model_sha256)
    return found


def _newness(cell: ReportCell) -> tuple[bool, bool, datetime, int]:
    """Order cells by age: what a run that has ended says comes before what one still going on says so far.

    What an emulated service says comes in no cloud's place.
    """
    is_real, worst = not cell.entry.service_emulated, WORST.index(cell.entry.verdict)
    return is_real, cell.source.run.has_ended, moment_of(cell.source), -worst


def _hash_of(entry: CellEntry, hashes: Mapping[Key, set[str]]) -> str | None:
    """Return a cell's hash; of one that is out anyway and has none, that of the other cells of its run."""
    known = hashes.get(_place(entry), set())
    if entry.model_sha256 is None and entry.verdict not in MAY_BE_TAKEN and len(known) == 1:
        return next(iter(known))
    return entry.model_sha256


def _left_out(kept: ReportCell, other: ReportCell) -> str:
    """Say which of two runs a cell was taken from, and what the one that was left out had judged beside it."""
    name, run, older = kept.name, _named(kept.source), _named(other.source)
    if other.entry.service_emulated and not kept.entry.service_emulated:
        return f"{name} is of {run}; {older}, whose service was emulated, is left out"
    if kept.source.run.has_ended and not other.source.run.has_ended:
        return f"{name} is of {run}; what {older}, a run still going on, has of it is left out"
    how = "the worse verdict, for both are as old" if moment_of(kept.source) == moment_of(other.source) else "the newer"
    have = {check.metric for check in kept.entry.checks}
    lost = [
        f"{check.metric} {check.verdict}"
        for check in other.entry.checks
        if check.metric not in have and check.verdict is not Verdict.NOT_APPLICABLE
    ]
    lacks = f"; it does not have {', '.join(lost[:MOST_NAMED])}, which the one left out has" if lost else ""
    return f"{name} stands in two files: {run} counts ({how}), {older} is left out{lacks}"


def _named(source: Source) -> str:
    return f"{source.name} ({source.run.finished or source.run.started})"


def _neighbours(key: Key, group: Group, groups: Iterable[Key]) -> Iterable[str]:
    """Yield why other cells of this model and device stand in a table of their own."""
    first = group.cells[0].entry
    others = [other for other in groups if other != key and other[:2] == key[:2]]
    if any(other[2] != key[2] for other in others):
        what, rest = ("emulated", "a real board") if first.emulated else ("of a real board", "an emulated one")
        yield (
            f"these cells are {what}; those of {rest} stand in a table of their own, "
            "for they are never ranked against each other"
        )
    if any(other[2] == key[2] for other in others):
        known = f"model_sha256 {str(first.model_sha256)[:12]}…" if first.model_sha256 else "a model_sha256 nobody knows"
        yield f"these cells have {known}; others of this name may be another model, and stand in a table of their own"


def _mixed(cells: Sequence[ReportCell]) -> Iterable[str]:
    """Yield what differs between cells of several runs, for a verdict is of the limit that was set then."""
    runs = {id(cell.source): cell.source for cell in cells}.values()
    if len(runs) < 2:
        return
    named = [f"{_named(run)} of commit {(run.run.commit or 'unknown')[:12]}" for run in list(runs)[:MOST_NAMED]]
    more = f" and {len(runs) - MOST_NAMED} more" if len(runs) > MOST_NAMED else ""
    yield f"these cells are of {len(runs)} runs: {', '.join(named)}{more}"
    limits: dict[str, dict[str, None]] = {}
    for cell in cells:
        for check in cell.entry.checks:
            if check.verdict is not Verdict.NOT_APPLICABLE:
                limits.setdefault(check.metric, {})[limit_text(check) or "none"] = None
    for metric, texts in limits.items():
        if len(texts) > 1:
            found = ", ".join(list(texts)[:MOST_NAMED])
            yield f"{metric} was judged by different limits ({found}): run the tests again before you compare"
