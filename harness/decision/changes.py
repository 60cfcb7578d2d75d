"""What would change the decision, found by deciding again on changed evidence."""

from __future__ import annotations

from collections.abc import Sequence

from ..evidence.decision_entry import ChangeEntry
from .figures import Better
from .ranking import Ranking


def find_changes(
    ranking: Ranking, prefer: Sequence[str], better: Sequence[Better | None], within: float
) -> list[ChangeEntry]:
    """List what would change the decision, nearest first."""
    return []
