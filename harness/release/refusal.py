"""A reason not to release, and what would satisfy it: a gate lists all of them at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

# What most reasons need.
AGAIN = "run the tests again"


@dataclass(frozen=True)
class Refusal:
    """One reason not to release.

    Attributes:
        reason: what is not as it must be, by its name: the device, the cell, the metric, and the figures.
        remedy: what would satisfy it.
    """

    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.reason}\n  next: {self.remedy}"


def each_once(refusals: Iterable[Refusal]) -> list[Refusal]:
    """Return refusals in their order, each reason once: two conditions may find the same thing."""
    return list({refusal.reason: refusal for refusal in reversed(list(refusals))}.values())[::-1]
