"""What a benchmark yields: rows, each a figure with its alternative and, where there is one, its aim."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from .interleave import Block, ratios

RATIO = "×"
# With fewer rounds a tenth is less than one of them: the spread is all of them.
ROUNDS_FOR_TENTHS = 10
# What a row of a benchmark, or of a file, may be. Figures are finite: an infinite one says nothing.
STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
MOST_ROUNDS = 100_000
Words = Annotated[str, Field(max_length=4000)]


@dataclass(frozen=True)
class Aim:
    """What a figure should keep: at least ``low``, at most ``high``."""

    __pydantic_config__ = STRICT

    high: float = math.inf
    low: float = -math.inf

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"≥ {self.low:g}"
        return f"≤ {self.high:g}" if self.low == -math.inf else f"{self.low:g} … {self.high:g}"

    def as_json(self) -> dict[str, float]:
        """Return the bounds that it has; JSON knows no infinity."""
        return {name: bound for name, bound in vars(self).items() if math.isfinite(bound)}


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        what: what was measured.
        value: in ``unit``; RATIO where it is a multiple of the alternative's.
        against: the alternative that it was interleaved with, or what a figure without one means.
        aim: None for what is shown as information.
        details: whatever else one needs to believe it; only in the JSON file.
        rounds: the same figure of each round, in ``unit``: what they differ by is the noise of this run; empty where
            it was taken once.
    """

    __pydantic_config__ = STRICT

    what: Annotated[str, Field(min_length=1, max_length=500)]
    value: float
    unit: Annotated[str, Field(max_length=40)]
    against: Words = ""
    aim: Aim | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    rounds: Annotated[Sequence[float], Field(max_length=MOST_ROUNDS)] = ()

    @property
    def verdict(self) -> str:
        """Say whether the aim was kept: "kept", "missed", or "" where there is none."""
        if self.aim is None:
            return ""
        return "kept" if self.aim.low <= self.value <= self.aim.high else "missed"

    @property
    def spread(self) -> tuple[float, float] | None:
        """Between which figures the rounds are, but for the lowest and the highest tenth; None: fewer than two.

        The row's own figure is within: it may be the best of the rounds.
        """
        if len(self.rounds) < 2:
            return None
        low, high = min(self.rounds), max(self.rounds)
        if len(self.rounds) >= ROUNDS_FOR_TENTHS:
            low, *_, high = statistics.quantiles(self.rounds, n=10, method="inclusive")
        return min(low, self.value), max(high, self.value)

    def as_json(self) -> dict[str, Any]:
        """Return the row as it stands in the result's file."""
        aim = self.aim and self.aim.as_json()
        return {**vars(self), "aim": aim, "details": dict(self.details), "rounds": list(self.rounds)}


def ratio_row(
    what: str,
    blocks: Sequence[Block],
    others: Sequence[Block],
    against: str,
    aim: Aim | None = None,
    details: Mapping[str, Any] | None = None,
) -> Row:
    """Make the row of one side's durations ÷ another's: the median of the rounds' ratios.

    Args:
        what: what was measured.
        blocks: one side's durations, round by round.
        others: the alternative's.
        against: what that is.
        aim: what the ratio should keep.
        details: see Row.
    """
    each = ratios(blocks, others)
    return Row(what, statistics.median(each), RATIO, against, aim, details or {}, each)


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line.

    Attributes:
        quick: leave out what takes minutes: vit_base.
        time_limit_s: for measuring one cell of vit_base.
        commit: the commit that `house` compares this one with; "" to compare with none.
    """

    quick: bool = False
    time_limit_s: float = 120.0
    commit: str = ""
