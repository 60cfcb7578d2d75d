"""What the cells of a run ran on, and what becomes of their verdicts where some of it was damaged (issue 17).

Before an error or a broken limit becomes a cell's FAIL, what the cell runs on is hashed once more on its device. What
was measured or answered with a damaged file is no verdict on the model: neither a FAIL nor a PASS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from ..board import Board
from ..board.stored import describe
from ..cell import Cell
from ..checks.check import Check, Verdict
from ..deploy.deployer import Deployer
from ..errors import DeploymentError, HilgateError
from ..evidence.writer import Evidence


@dataclass
class DamageWatch:
    """The deployers of a run's cells."""

    evidence: Evidence
    _deployers: dict[tuple[str, str, str], Deployer] = field(default_factory=dict)

    def watch(self, deployer: Deployer) -> Deployer:
        """Note what a cell runs on."""
        self._deployers[deployer.cell.key] = deployer
        deployer.tainted = partial(self._taint, deployer)
        return deployer

    def damage(self, cell: Cell) -> str:
        """Hash what a cell runs on once more; say what is damaged, "" where nothing is."""
        deployer = self._deployers.get(cell.key)
        return deployer.damage() if deployer is not None else ""

    def confirmed(self, cell: Cell, check: Check) -> Check:
        """Return a check as it is judged once it is known on what: a FAIL with a damaged file is none."""
        if check.verdict is not Verdict.FAIL or not (damage := self.damage(cell)):
            return check
        return replace(check, verdict=Verdict.INCONCLUSIVE, reason=f"{damage}; run it again")

    def explained(self, cell: Cell, error: DeploymentError) -> HilgateError:
        """Return the error itself, or what explains it: that a file was damaged."""
        damage = self.damage(cell)
        return self._deployers[cell.key].damaged(damage) if damage else error

    def settle(self, board: Board) -> None:
        """Look at what was hashed in the background while a board was used; call it before the board is let go."""
        if damaged := board.snapshot.damage(again=False):
            for deployer in self._deployers.values():
                if deployer.board is board and deployer.begun:
                    self.evidence.add_interruption(deployer.cell, describe(board.device.name, damaged))

    def _taint(self, found_by: Deployer, damaged: Mapping[str, str]) -> None:
        """Leave open every cell that a damaged entry was used by: also those of which nothing seemed wrong."""
        for deployer in self._deployers.values():
            names = {entry.name for entry in deployer.bundle.entries}.union(deployer.board.snapshot.damage(again=False))
            if deployer.begun and deployer.board is found_by.board and names & set(damaged):
                self.evidence.add_interruption(deployer.cell, describe(deployer.cell.device.name, damaged))
