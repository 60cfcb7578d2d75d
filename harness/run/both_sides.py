"""Parity and accuracy of a cell with a fallback: each side is asked alone, and the worse one counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..agent.sides import FAR_END, SIDES
from ..cell import Cell
from ..checks.finding import Finding
from ..checks.sides import worse_of
from ..deploy.deployer import Deployer
from ..parity.rule.comparison import Difference
from ..parity.search import ParitySearch, Property
from ..parity.trials.recipe import Recipe


@dataclass
class BothSearches:
    """The search for an input on which an answer is wrong, of the far end and then of the device; see ParitySearch.

    Attributes:
        cell: the cell, which has a fallback.
        deployer: what starts its processes.
        searches: makes a side's search; called when that side is asked.
        made: the searches that were begun, by their sides.
    """

    cell: Cell
    deployer: Deployer
    searches: Callable[[str], ParitySearch]
    made: dict[str, ParitySearch] = field(default_factory=dict)

    def check(self, recipe: Recipe) -> Difference:
        """Judge one input on the side that is searched; see ParitySearch.check."""
        return [*self.made.values()][-1].check(recipe)

    def run(self, prop: Property) -> Finding:
        """Search both sides, one after the other; return the finding of the one that is judged worse.

        Raises:
            HilgateError: see ParitySearch.run.
        """

        def of_side(side: str) -> Finding:
            self.made[side] = self.searches(side)
            return self.made[side].run(prop)

        return ask_both(self.cell, self.deployer, of_side)


def ask_both(cell: Cell, deployer: Deployer, ask: Callable[[str], Finding]) -> Finding:
    """Ask each side alone; return the finding of the one that is judged worse, with what both found."""
    findings: dict[str, Finding] = {}
    told: Mapping[str, str] = names_of_sides(cell)
    for side in SIDES:
        with deployer.asking(side):
            findings[told[side]] = ask(side)
    return worse_of(findings, cell.limits)


def names_of_sides(cell: Cell) -> dict[str, str]:
    """Name the sides of a cell with a fallback, as people read them."""
    names = {side: f"the fallback {cell.fallback.name if cell.fallback is not None else ''}".rstrip() for side in SIDES}
    return {**names, FAR_END: "the far end"}
