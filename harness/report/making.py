"""Making a report of evidence files. The decision is made anew of the cells, and never taken from a file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..checks.check import Verdict, overall
from ..decision import PREFER, WITHIN_PERCENT, cell_of_run, decide
from ..errors import InputError
from ..evidence.decision_entry import DecisionEntry
from ..evidence.folder import FILE
from ..evidence.reading import read_evidence
from ..evidence.schema import CellEntry
from .grouping import group_cells
from .report import Report, ReportCell, Section, Source

# How many files one report is made of, and how many cells they may have together: a page of more is read by nobody.
MOST_FILES = 100
MOST_CELLS = 5_000
# How many missing keys are named; and the preferred metrics of a stored decision that is made again.
MOST_NAMED = 12
MOST_PREFERRED = 100


def read_sources(paths: Sequence[Path]) -> list[Source]:
    """Read evidence files, each once.

    Args:
        paths: of each an evidence.json, or its folder.

    Raises:
        InputError: one cannot be read (see ``read_evidence``), or they are too many, or have too many cells.
    """
    if len(paths) > MOST_FILES:
        raise InputError(
            "these are too many evidence files for one report", wanted=f"at most {MOST_FILES}", found=str(len(paths))
        )
    sources: dict[Path, Source] = {}
    for path in paths:
        file = path / FILE if path.is_dir() else path
        if file.exists() and not file.is_file():  # a pipe that nobody writes to would be waited for
            what = "the evidence cannot be read"
            raise InputError(what, wanted="an evidence.json", found="no regular file", where=str(file))
        read = read_evidence(file)
        sources.setdefault(
            file.resolve(), Source(folder=file.parent, file=file.name, run=read.run, lacks=tuple(read.lacks))
        )
        cells = sum(len(source.run.cells) for source in sources.values())
        if cells > MOST_CELLS:
            raise InputError(
                "these are too many cells for one report",
                wanted=f"at most {MOST_CELLS} in all files",
                found=str(cells),
                where=str(file),
                hint="name fewer files",
            )
    return list(sources.values())


def make_report(
    sources: Sequence[Source], *, prefer: Sequence[str] = PREFER, within_percent: float = WITHIN_PERCENT
) -> Report:
    """Make the report that every format shows: a section for each model and device.

    Args:
        sources: the files; where several have a cell, the newer one counts, and the section's notes say so.
        prefer: the metrics by which backends are eliminated, in this order.
        within_percent: how far from the best bound still counts as good as it.
    """
    sections = []
    for group in group_cells(sources):
        decision = decide(_decided(group.cells), prefer=prefer, within_percent=within_percent)
        sections.append(Section(cells=tuple(group.cells), decision=decision, notes=tuple(group.notes)))
    return Report(sections=tuple(sections), sources=tuple(sources), remarks=tuple(_remarks(sources)))


def _decided(cells: Sequence[ReportCell]) -> list[CellEntry]:
    return [cell_of_run(cell.source.run, cell.entry) for cell in cells]


def measured_metrics(sources: Sequence[Source]) -> list[str]:
    """List the metrics that the evidence has, whoever measured them."""
    checks = (check for source in sources for cell in source.run.cells for check in cell.checks)
    return list(dict.fromkeys(check.metric for check in checks))


def _other_decisions(source: Source) -> Iterator[str]:
    """Yield where a file has another decision than what follows from its own cells."""
    if not source.run.decision:
        return
    stored: dict[tuple[object, ...], list[DecisionEntry]] = {}
    for entry in source.run.decision:
        stored.setdefault((entry.model, entry.device, entry.emulated, entry.model_sha256), []).append(entry)
    for group in group_cells([source]):
        cells = _decided(group.cells)
        keys = {(cell.model, cell.device, cell.emulated, cell.model_sha256) for cell in cells}
        found = [entry for key in keys for entry in stored.pop(key, [])]
        if found:
            yield from _difference(source, found, cells)
    if stored:
        yield f"{source.name} has a decision on what it has no cells of"


def _difference(source: Source, stored: Sequence[DecisionEntry], cells: Sequence[CellEntry]) -> Iterator[str]:
    first = stored[0]
    if len(stored) > 1 or len(first.prefer) > MOST_PREFERRED:
        yield f"the decision in {source.name} on {first.model} on {first.device} is not one that hilgate writes"
        return
    again = decide(cells, prefer=first.prefer, within_percent=first.within_percent)
    if _essence(again) != _essence(first):
        yield (
            f"the decision in {source.name} does not follow from its cells: it says {_said(first)}; "
            f"they say {_said(again)}"
        )


def _essence(decision: DecisionEntry) -> tuple[object, ...]:
    out = sorted((one.backend, one.verdict) for one in decision.out)
    return decision.taken, sorted(decision.tied), decision.order, sorted(decision.without_limit), out


def _said(decision: DecisionEntry) -> str:
    return f"“{decision.sentence[:200]}”"


def _remarks(sources: Sequence[Source]) -> Iterator[str]:
    """Yield what a reader should know of the files themselves."""
    for source in sources:
        run = source.run
        if not run.cells:
            yield f"{source.name} has no cells"
        if not run.has_ended:
            yield f"{source.name}: the run has not ended (still going on, or killed): its cells may be incomplete"
        follows = overall([cell.verdict for cell in run.cells]) if run.has_ended else Verdict.INCONCLUSIVE
        if run.cells and run.verdict is not follows:
            said = f"{source.name}: the run's verdict, {run.verdict}, does not follow from its cells"
            yield f"{said}: they make it {follows}"
        if run.asked is not None and run.asked.narrowed:
            chosen = f"-k {run.asked.selected}" if run.asked.selected else "some tests only were chosen"
            yield f"{source.name}: the run was narrowed ({chosen}): what it did not measure is not in the decision"
        if source.lacks:
            keys = list(dict.fromkeys(re.sub(r"\[\d+\]", "[]", key) for key in source.lacks))
            left = f" and {len(keys) - MOST_NAMED} more" if len(keys) > MOST_NAMED else ""
            yield (
                f"{source.name} was written by an older hilgate ({run.tool}), without "
                f"{', '.join(keys[:MOST_NAMED])}{left}: what rests on these cannot be shown"
            )
        yield from _other_decisions(source)
