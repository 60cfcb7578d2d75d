"""A section laid out: what is decided and why, the table, the plots, the cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ...decision.figures import as_number
from ...evidence.decision_entry import DecisionEntry, StepEntry
from ...evidence.entry import Figure as Number
from ..plots.plot import Plot
from ..reasons import sizes_of
from ..report import Section
from .cells import Details, Fact, bounded, make_all_details
from .table import Table, kind_of, make_table
from .text import joined, name_of, text_of


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A plot, and its picture as markup; None where it could not be drawn."""

    plot: Plot
    svg: Markup | None


@dataclass(frozen=True, kw_only=True)
class Out:
    """A backend that may not be taken, and why."""

    name: str
    verdict: str
    kind: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Part:
    """All of it, as texts.

    Attributes:
        description: what the device's file says that it is; "" where nobody knows.
        sentence: the decision; sentences: what it says of the other backends.
        taken: whether a backend is.
        headroom: what is left to each limit of what is taken.
        steps: how the decision came about, metric by metric.
        facts: what is true of all cells.
        notes: what a reader should know beside the table.
    """

    id: str
    title: str
    description: str
    sentence: str
    sentences: str
    taken: bool
    headroom: tuple[str, ...]
    table: Table
    notes: tuple[str, ...]
    out: tuple[Out, ...]
    changes: tuple[str, ...]
    steps: tuple[str, ...]
    figures: tuple[Figure, ...]
    facts: tuple[Fact, ...]
    cells: tuple[Details, ...]

    @property
    def switches(self) -> int:
        """How many backends can be shown and hidden in the plots; 0 where there is nothing to choose."""
        return len(self.cells) if len(self.cells) > 1 and any(figure.svg is not None for figure in self.figures) else 0


def make_part(section: Section, title: str, name: str, plots: Sequence[Plot]) -> Part:
    """Lay out a section.

    Args:
        section: what the report has of it.
        title: what it is called, unlike any other.
        name: what its ids begin with.
        plots: its plots.
    """
    decision = section.decision
    first, rest = _first_sentence(text_of(decision.sentence))
    facts, cells = make_all_details(section.cells)
    return Part(
        id=name,
        title=title,
        description=text_of(section.description),
        sentence=first,
        sentences=rest,
        taken=decision.taken is not None,
        headroom=tuple(_headroom(decision)),
        table=make_table(section),
        notes=bounded([text_of(note) for note in (*decision.notes, *section.notes, sizes_of(section)) if note]),
        out=tuple(_out(decision)),
        changes=bounded([text_of(change.text) for change in decision.changes]),
        steps=bounded([_step(step) for step in decision.steps]),
        figures=tuple(Figure(plot=plot, svg=_picture(plot)) for plot in plots),
        facts=facts,
        cells=cells,
    )


def _first_sentence(text: str) -> tuple[str, str]:
    first, end, rest = text.partition(". ")
    return first + end.rstrip(), rest


def _headroom(decision: DecisionEntry) -> Iterator[str]:
    for room in decision.headroom:
        left = as_number(room.percent)
        yield f"{name_of(room.metric)} " + ("nothing" if left is None else f"{left:.3g} %")


def _out(decision: DecisionEntry) -> Iterator[Out]:
    for out in decision.out:
        yield Out(
            name=name_of(out.backend),
            verdict=str(out.verdict),
            kind=kind_of(out.verdict),
            reason=text_of(out.reason),
        )


def _step(step: StepEntry) -> str:
    metric = name_of(step.metric)
    if step.skipped is not None:
        return f"{metric}: skipped, {text_of(step.skipped)}"
    best = f"best {_shown(step.best)}; " if step.best is not None else ""
    kept = f"kept {joined(map(name_of, step.kept)) or 'none'}"
    dropped = f"; dropped {joined(map(name_of, step.dropped))}" if step.dropped else ""
    return f"{metric}: {best}{kept}{dropped}"


def _shown(number: Number) -> str:
    return f"{as_number(number):.3g}"


def _picture(plot: Plot) -> Markup | None:
    """Return a plot's SVG as markup: it is ours, without ids, and what it says was escaped when it was drawn."""
    return None if plot.svg is None else Markup(plot.svg)  # noqa: S704
