"""What the cells of a run ran on, and their verdicts where some of that was damaged (issue 17).

Before an error or a broken limit becomes a cell's FAIL, what the cell runs on is hashed once more on its device. What
was measured or answered with a damaged file is no verdict on the model: neither a FAIL nor a PASS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain

from ..board import Board
from ..board.store_check import describe
from ..cell import Cell
from ..checks.check import Check, Verdict
from ..deploy.deployer import Deployer
from ..errors import DeploymentError, HilgateError
from ..evidence.writer import Evidence


@dataclass
class DamageWatch:
    """Knows the deployers of a run's cells, and so which cells ran on a damaged file."""

    evidence: Evidence
    _deployers: dict[tuple[str, str, str], list[Deployer]] = field(default_factory=dict)

    def add(self, deployer: Deployer) -> Deployer:
        """Watch what a cell runs on, and what it is compared with; returns the deployer."""
        self._deployers.setdefault(deployer.cell.key, []).append(deployer)
        deployer.tainted = partial(self._taint, deployer)
        return deployer

    def damage(self, cell: Cell) -> str:
        """Hash what a cell runs on once more; say what is damaged, "" where nothing is."""
        return next(filter(None, (deployer.damage() for deployer in self._deployers.get(cell.key, ()))), "")

    def confirm(self, cell: Cell, check: Check) -> Check:
        """Return the check, as INCONCLUSIVE if it is a FAIL and the cell ran on a damaged file."""
        if check.verdict is not Verdict.FAIL or not (damage := self.damage(cell)):
            return check
        return replace(check, verdict=Verdict.INCONCLUSIVE, reason=f"{damage}; run it again")

    def explain(self, cell: Cell, error: DeploymentError) -> HilgateError:
        """Return the error, or the one that explains it: the cell ran on a damaged file."""
        damage = self.damage(cell)
        return self._deployers[cell.key][0].damaged(damage) if damage else error

    def settle(self, board: Board) -> None:
        """Leave open the cells that ran on what a board found damaged in the background; before it is released."""
        if damaged := board.snapshot.damage(again=False):
            for deployer in self._all():
                if deployer.board is board and deployer.begun:
                    self.evidence.add_interruption(deployer.cell, describe(board.device.name, damaged))

    def _all(self) -> list[Deployer]:
        return list(chain.from_iterable(self._deployers.values()))

    def _taint(self, found_by: Deployer, damaged: Mapping[str, str]) -> None:
        """Leave open every cell that used a damaged entry, also those in which nothing seemed wrong."""
        for deployer in self._all():
            names = {entry.name for entry in deployer.bundle.entries}.union(deployer.board.snapshot.damage(again=False))
            if deployer.begun and deployer.board is found_by.board and names & set(damaged):
                self.evidence.add_interruption(deployer.cell, describe(deployer.cell.device.name, damaged))
