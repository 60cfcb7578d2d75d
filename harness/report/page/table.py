"""The table of a section: a row for each backend, a column for each metric."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup

from ...checks.check import Verdict
from ...decision import CELL
from ..figures import DASH, bound_text, count_text, limit_text, unit_beside, value_text
from ..report import ReportCell, Section, shown_metrics
from .text import breakable, breakable_label, joined, name_of

# What a column's heading says where its fields say their own limits.
DIFFERENT = "limits differ"


@dataclass(frozen=True, kw_only=True)
class Column:
    """A metric: its name as a heading and as an attribute's text, and the limit that its backends share.

    Attributes:
        unit: where the name does not say it.
    """

    metric: str
    heading: Markup
    label: Markup
    unit: str
    limit: str


@dataclass(frozen=True, kw_only=True)
class Field:
    """A backend's check of a metric, as a table shows it; without one, a dash.

    Attributes:
        label: the metric, for a layout without columns.
        limit: its own, said in the field where the column's heading says another.
        beside: what to read the value with.
        kind: the verdict, as a class of the style.
    """

    label: Markup
    value: str
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
    contradicts: bool
    fields: tuple[Field, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """All of it."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


def make_table(section: Section) -> Table:
    """Lay out the table of a section: metrics of which no cell says anything have no column."""
    columns = tuple(_column(section, metric) for metric in shown_metrics(section.cells))
    return Table(columns=columns, rows=tuple(_row(section, cell, columns) for cell in section.cells))


def kind_of(verdict: Verdict) -> str:
    """Return a verdict as a class of the style."""
    return verdict.lower().replace("_", "-")


def _column(section: Section, metric: str) -> Column:
    checks = [check for cell in section.cells if (check := cell.check(metric)) is not None]
    limits = dict.fromkeys(map(limit_text, checks))
    return Column(
        metric=metric,
        heading=breakable(metric),
        label=breakable_label(metric),
        unit=name_of(unit_beside(metric, checks)),
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
        contradicts=CELL in cell.contradictions,
        fields=tuple(_field(cell, column) for column in columns),
    )


def _field(cell: ReportCell, column: Column) -> Field:
    if (check := cell.shown_check(column.metric)) is None:
        return Field(label=column.label, value=DASH)
    limit = limit_text(check)
    return Field(
        label=column.label,
        value=value_text(check),
        bound=bound_text(check),
        limit=limit,
        other_limit=limit != column.limit and (limit != "" or check.value is not None),
        beside=joined(map(name_of, (count_text(check), check.compared))),
        verdict="" if check.verdict is Verdict.MEASURED and check.value is not None else str(check.verdict),
        kind=kind_of(check.verdict),
        contradicts=column.metric in cell.contradictions,
    )
