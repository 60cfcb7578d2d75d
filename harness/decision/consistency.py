"""What in a cell does not follow from its own numbers."""

from __future__ import annotations

from ..evidence.schema import CellEntry


def contradictions(cell: CellEntry) -> dict[str, str]:
    """Find nothing: the rule comes with the next merge."""
    return {}
