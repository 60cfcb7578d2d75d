"""The report: what every format shows, made once of one or several evidence files.

A format (terminal, html, markdown, github, json) is a function of a ``Report`` and knows nothing else, so all of them
say the same. Texts are as the evidence has them, whoever wrote it: each format makes them harmless in its own way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..checks.check import Verdict
from ..evidence.decision_entry import DecisionEntry
from ..evidence.folder import FILE
from ..evidence.schema import CellEntry, CheckEntry, RunEntry
from ..host.shown_path import shown_path


@dataclass(frozen=True, kw_only=True)
class Source:
    """An evidence file that a report was made of.

    Attributes:
        folder: where it lies, with the raw samples that its checks name.
        lacks: keys that today's hilgate always writes and that it does not have.
        file: its name there.
    """

    folder: Path
    run: RunEntry
    lacks: tuple[str, ...] = ()
    file: str = FILE

    @property
    def name(self) -> str:
        """The path by which a person knows it."""
        return shown_path(self.folder / self.file)


@dataclass(frozen=True, kw_only=True)
class ReportCell:
    """A cell as a report shows it: what the evidence has, and what does not follow from it.

    Attributes:
        contradictions: of a metric whose stored verdict does not follow from its numbers, what is wrong, in words.
    """

    entry: CellEntry
    source: Source
    contradictions: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The backend, which names the cell within its section."""
        return self.entry.backend

    def check(self, metric: str) -> CheckEntry | None:
        """Return the cell's check of a metric; None where it has none."""
        return next((check for check in self.entry.checks if check.metric == metric), None)

    def shown_check(self, metric: str) -> CheckEntry | None:
        """Return the check that a table shows; None where it has a dash: nobody asked for what cannot be asked here."""
        check = self.check(metric)
        return None if check is None or (check.verdict is Verdict.NOT_APPLICABLE and not check.asked) else check


def shown_metrics(cells: Iterable[ReportCell]) -> list[str]:
    """Name the metrics that say something of a cell: why others cannot be asked here is said below the table."""
    checks = (check for cell in cells for check in cell.entry.checks)
    told = (check for check in checks if check.verdict is not Verdict.NOT_APPLICABLE or check.value is not None)
    return list(dict.fromkeys(check.metric for check in told))


@dataclass(frozen=True, kw_only=True)
class Section:
    """One model on one device: a table of backends, the decision among them, what a reader should know beside it.

    Attributes:
        description: what the device's file says that it is; "" where only the evidence is known.
    """

    cells: tuple[ReportCell, ...]
    decision: DecisionEntry
    notes: tuple[str, ...] = ()
    description: str = ""

    @property
    def title(self) -> str:
        """The model and the device, in words."""
        first = self.cells[0].entry
        return f"{first.model} on {first.device}{', emulated' if first.emulated else ''}"

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that say something of a cell, in the order of the evidence."""
        checks = (check for cell in self.cells for check in cell.entry.checks)
        return tuple(dict.fromkeys(check.metric for check in checks if check.value is not None or check.asked))


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that is shown: a section for each model and device, and remarks on the files.

    Attributes:
        remarks: what concerns no section alone: a run that has not ended, keys that an older hilgate did not write.
    """

    sections: tuple[Section, ...]
    sources: tuple[Source, ...]
    remarks: tuple[str, ...] = ()

    def cells(self) -> Iterator[ReportCell]:
        """Yield all cells, section by section."""
        return (cell for section in self.sections for cell in section.cells)
