"""Cells of a run as the table on a terminal shows them, without the decision."""

import io
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from rich.console import Console

from harness.decision import decide
from harness.evidence.cell_record import CellRecord
from harness.report.report import ReportCell, Section, Source
from harness.report.terminal import render_section

from .evidences import make_run, read

NOWHERE = Source(folder=Path("nowhere"), run=read(make_run([])))


def sections_of(records: Sequence[CellRecord]) -> list[Section]:
    """Make the sections of a run's records, each with its device's description."""
    sections = []
    for _, group in groupby(records, key=lambda record: record.cell.key[:2]):
        same = list(group)
        cells = tuple(ReportCell(entry=record.make_entry({}), source=NOWHERE) for record in same)
        decision = decide([cell.entry for cell in cells])
        sections.append(Section(cells=cells, decision=decision, description=same[0].cell.device.description))
    return sections


def tables(records: Sequence[CellRecord], *, width: int, color: bool) -> str:
    """Render the tables of a run's records, and the reasons below each."""
    output = io.StringIO()
    console = Console(file=output, width=width, force_terminal=color, color_system="standard" if color else None)
    for section in sections_of(records):
        render_section(section, console)
        console.print()
    return output.getvalue()
