"""A reason not to release, and what would satisfy it: a gate lists all of them at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..errors import HilgateError
from ..printable import printable, printable_lines

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


class Refused(HilgateError):
    """The gate, or a verification, says no: every reason, each with what would satisfy it.

    Args:
        what: what is refused, a sentence.
        refusals: the reasons, at least one.
        where: the policy's file.
    """

    def __init__(self, what: str, refusals: Sequence[Refusal], *, where: str) -> None:
        super().__init__(what, where=where)
        self.refusals = tuple(refusals)

    def __str__(self) -> str:
        count = len(self.refusals)
        lines = [f"refused: {printable(self.what)}: {count} reason{'s' if count != 1 else ''}"]
        for number, refusal in enumerate(self.refusals, 1):
            lines.append(f"  {number}. {printable_lines(refusal.reason, indent=' ' * 5)}")
            lines.append(f"     next: {printable_lines(refusal.remedy, indent=' ' * 11)}")
        return "\n".join([*lines, f"  policy: {printable(self.where)}"])
