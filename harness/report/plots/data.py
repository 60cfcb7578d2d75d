"""What plots are made of: a section, and what is read for several of them but once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from ...decision.figures import as_number
from ...evidence.entry import Figure
from ..report import ReportCell, Section
from .durations import CONTENTS, Durations, read_durations
from .scale import LARGEST, SMALLEST
from .series import shortened


@dataclass(frozen=True)
class SectionData:
    """A section and its raw samples, which are read when a plot asks for them."""

    section: Section

    @cached_property
    def durations(self) -> list[Durations]:
        """The durations of each cell that says to have some."""
        return read_durations(self.section.cells)

    def said_of(self, drawn: Sequence[Durations]) -> Iterator[str]:
        """Yield sentences on what the durations are of, and what a reader should know of them."""
        for content in dict.fromkeys(each.content for each in drawn if each.content):
            names = [named(each.cell) for each in drawn if each.content == content]
            yield f"Drawn is what was timed on {CONTENTS[content]} ({', '.join(names)})."

    def problems(self, timed: Sequence[Durations]) -> str:
        """Return why some cells' durations are not drawn, or with which doubt."""
        missing = [f"{named(each.cell)}: {each.problem}" for each in timed if each.problem]
        return " ".join([*missing, *(f"{named(each.cell)}: {said}" for each in timed for said in each.remarks)])


def named(cell: ReportCell) -> str:
    """Return how a sentence calls a cell."""
    return shortened(cell.name, 40)


def number_of(figure: Figure | None) -> float | None:
    """Return a figure as a number; None where there is none, or it is not one.

    What is beyond all measure counts as infinite, and what is below it as zero: arithmetic with it leaves the numbers.
    """
    number = as_number(figure)
    if number is None or math.isnan(number):
        return None
    if abs(number) > LARGEST:
        return math.copysign(math.inf, number)
    return number if abs(number) > SMALLEST else 0.0
