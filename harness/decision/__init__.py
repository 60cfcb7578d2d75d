"""The decision: which backend to deploy, why not the others, and what would change that.

A pure function of evidence: it reads the cells' checks and nothing else, so whoever has the evidence can make it again.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..evidence.decision_entry import DecisionEntry
from ..evidence.schema import CellEntry

PREFER = ("latency_p99_ms", "memory_peak_mib", "energy_per_inference_mj", "load_time_s", "artifact_mib")


def decide(cells: Sequence[CellEntry], *, prefer: Sequence[str] = PREFER, within_percent: float = 5.0) -> DecisionEntry:
    """Decide nothing: the rule comes with the next merge."""
    first = cells[0]
    return DecisionEntry(
        model=first.model,
        device=first.device,
        emulated=first.emulated,
        model_sha256=first.model_sha256,
        prefer=list(prefer),
        within_percent=within_percent,
        taken=None,
        sentence="not decided",
        cells=len(cells),
    )
