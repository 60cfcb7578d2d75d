"""What the cells of a run ran on, and what becomes of their verdicts where some of it was damaged (issue 17).

Before an error or a broken limit becomes a cell's FAIL, what the cell runs on is hashed once more on its device. What
was measured or answered with a damaged file is no verdict on the model: neither a FAIL nor a PASS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from .cell import Cell
from .checks import Check, Verdict
from .deployer import Deployer
from .errors import DeploymentError, HilgateError
from .evidence import Evidence


@dataclass
class Stored:
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

    def _taint(self, found_by: Deployer, damaged: Mapping[str, str]) -> None:
        """Leave open every cell that a damaged entry was used by: also those of which nothing seemed wrong."""
        device = found_by.cell.device.name
        for deployer in self._deployers.values():
            names = {entry.name for entry in deployer.bundle.entries}
            if deployer.begun and deployer.cell.device.name == device and names & set(damaged):
                text = f"it ran on what was damaged on {device}: {', '.join(sorted(name[:22] for name in damaged))}"
                self.evidence.add_interruption(deployer.cell, text)
