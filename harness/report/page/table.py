"""The table of a section: a row for each backend, a column for each metric."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup

from ...checks.check import Verdict
from ...evidence.schema import CheckEntry
from ..figures import bound_text, count_text, limit_text, value_text
from ..report import ReportCell, Section
from .text import breakable, breakable_label, joined, name_of

# What the table writes in place of a verdict that is a word too long for a column, or that says no more than the value.
SHORT = {Verdict.NOT_APPLICABLE: "not applicable", Verdict.MEASURED: ""}
# What a column's heading says where its fields say their own limits.
DIFFERENT = "limits differ"


@dataclass(frozen=True, kw_only=True)
class Column:
    """A metric: its name as a heading and as an attribute's text, and the limit that its backends share."""

    heading: Markup
    label: Markup
    limit: str


@dataclass(frozen=True, kw_only=True)
class Field:
    """A backend's check of a metric, as a table shows it; without one, ``there`` is False.

    Attributes:
        label: the metric, for a layout without columns.
        limit: its own, said in the field where the column's heading says another.
        beside: what to read the value with.
        kind: the verdict, as a class of the style.
    """

    label: Markup
    there: bool = False
    value: str = ""
    bound: str = ""
    limit: str = ""
    other_limit: bool = False
    beside: str = ""
    verdict: str = ""
    kind: str = ""
    contradicts: bool = False


@dataclass(frozen=True, kw_only=True)
class Row:
    """A backend."""

    name: str
    verdict: str
    kind: str
    taken: bool
    tied: bool
    fields: tuple[Field, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """All of it."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


def make_table(section: Section) -> Table:
    """Lay out the table of a section."""
    columns = tuple(_column(section, metric) for metric in section.metrics)
    return Table(columns=columns, rows=tuple(_row(section, cell, columns) for cell in section.cells))


def kind_of(verdict: Verdict) -> str:
    """Return a verdict as a class of the style."""
    return verdict.lower().replace("_", "-")


def _column(section: Section, metric: str) -> Column:
    checks = (cell.check(metric) for cell in section.cells)
    limits = dict.fromkeys(limit_text(check) for check in checks if check is not None)
    return Column(
        heading=breakable(metric),
        label=breakable_label(metric),
        limit=DIFFERENT if len(limits) > 1 else next(iter(limits), ""),
    )


def _row(section: Section, cell: ReportCell, columns: Iterable[Column]) -> Row:
    verdict = cell.entry.verdict
    return Row(
        name=name_of(cell.name),
        verdict=str(verdict),
        kind=kind_of(verdict),
        taken=cell.name == section.decision.taken,
        tied=cell.name in section.decision.tied,
        fields=tuple(_field(cell, metric, column) for metric, column in zip(section.metrics, columns, strict=True)),
    )


def _field(cell: ReportCell, metric: str, column: Column) -> Field:
    check = cell.check(metric)
    if check is None or not _says_something(check):
        return Field(label=column.label)
    limit = limit_text(check)
    return Field(
        label=column.label,
        there=True,
        value=value_text(check),
        bound=bound_text(check),
        limit=limit,
        other_limit=limit != column.limit,
        beside=joined(map(name_of, (count_text(check), check.compared))),
        verdict=SHORT.get(check.verdict, str(check.verdict)),
        kind=kind_of(check.verdict),
        contradicts=metric in cell.contradictions,
    )


def _says_something(check: CheckEntry) -> bool:
    return check.asked or check.verdict is not Verdict.NOT_APPLICABLE
