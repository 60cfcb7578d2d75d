"""What a benchmark yields: rows, each a figure with its alternative and, where there is one, its aim."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

RATIO = "×"


@dataclass(frozen=True)
class Aim:
    """What a figure should keep: at least ``low``, at most ``high``."""

    high: float
    low: float = -math.inf

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"≥ {self.low:g}"
        return f"≤ {self.high:g}" if self.low == -math.inf else f"{self.low:g} … {self.high:g}"


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        what: what was measured.
        value: in ``unit``; RATIO where it is a multiple of the alternative's.
        against: the alternative that it was interleaved with, or what a figure without one means.
        aim: None for what is shown as information.
        details: whatever else one needs to believe it; only in the JSON file.
    """

    what: str
    value: float
    unit: str
    against: str = ""
    aim: Aim | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """Say whether the aim was kept: "kept", "missed", or "" where there is none."""
        if self.aim is None:
            return ""
        return "kept" if self.aim.low <= self.value <= self.aim.high else "missed"

    def as_json(self) -> dict[str, Any]:
        """Return the row as it stands in bench.json."""
        return {**asdict(self), "aim": str(self.aim) if self.aim else None, "verdict": self.verdict or None}


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line.

    Attributes:
        quick: leave out what takes minutes: vit_base.
        time_limit_s: for measuring one cell of vit_base.
        against: the commit that `house` compares this one with; "" to compare with none.
    """

    quick: bool = False
    time_limit_s: float = 120.0
    against: str = ""
