"""Two runs of the benchmarks, line by line: what changed by more than the noise that was seen in them.

The noise of a row is what its rounds differ by (Row.spread). A row has changed where each run's figure is outside of
the other's spread. Of a row that was taken once nothing can be said, and nothing is.
"""

from __future__ import annotations

import enum
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from .result import Outcome, Result
from .row import Aim, Row

# What two machines, or two environments, may differ by: figures of them do not compare.
MACHINE = ("arch", "cpu", "cores", "memory_mib", "kernel", "python", "packages")


class Change(enum.Enum):
    """What came of a row."""

    NOISE = "within noise"
    BETTER = "better"
    WORSE = "worse"
    MORE = "more"
    LESS = "less"
    ONCE = "taken once"
    NEW = "new"
    GONE = "gone"

    @property
    def is_beyond_noise(self) -> bool:
        """Tell whether the figure changed by more than the noise."""
        return self in (Change.BETTER, Change.WORSE, Change.MORE, Change.LESS)


@dataclass(frozen=True)
class Line:
    """One row in both runs; None where a run has none."""

    benchmark: str
    old: Row | None
    new: Row | None

    @property
    def row(self) -> Row:
        """The new row, else the old one."""
        row = self.new or self.old
        if row is None:
            raise AssertionError("a line has a row")
        return row

    @property
    def percent(self) -> float | None:
        """How much the figure grew; None where there is nothing that it grew from."""
        if self.old is None or self.new is None or self.old.value == 0:
            return None
        return 100 * (self.new.value - self.old.value) / abs(self.old.value)

    @property
    def noise_percent(self) -> float | None:
        """Half the width of the wider spread, of the old figure; None where a run has no spread."""
        if self.old is None or self.new is None or self.old.value == 0:
            return None
        spreads = [row.spread for row in (self.old, self.new)]
        widths = [high - low for low, high in filter(None, spreads)]
        return 50 * max(widths) / abs(self.old.value) if len(widths) == len(spreads) else None

    @property
    def change(self) -> Change:
        """Say what came of it."""
        if self.old is None or self.new is None:
            return Change.NEW if self.old is None else Change.GONE
        spreads = self.old.spread, self.new.spread
        if spreads[0] is None or spreads[1] is None:
            return Change.ONCE
        if _is_within(self.new.value, spreads[0]) or _is_within(self.old.value, spreads[1]):
            return Change.NOISE
        return _direction(self.new.value > self.old.value, self.new.aim)


def _is_within(value: float, spread: tuple[float, float]) -> bool:
    return spread[0] <= value <= spread[1]


def _direction(is_more: bool, aim: Aim | None) -> Change:
    """Tell better from worse where an aim says which is which."""
    if aim is None or (math.isfinite(aim.low) and math.isfinite(aim.high)):
        return Change.MORE if is_more else Change.LESS
    return Change.BETTER if is_more is math.isfinite(aim.low) else Change.WORSE


def compare_results(old: Result, new: Result) -> list[Line]:
    """Put the rows of two runs side by side; of benchmarks that both have run, in the new one's order."""
    earlier = {outcome.name: outcome for outcome in old.outcomes}
    return [
        line
        for outcome in new.outcomes
        if outcome.name in earlier
        for line in _lines(outcome.name, earlier[outcome.name], outcome)
    ]


def _lines(name: str, old: Outcome, new: Outcome) -> Iterator[Line]:
    earlier, later = _keyed(old), _keyed(new)
    for key in [*later, *(key for key in earlier if key not in later)]:
        yield Line(name, earlier.get(key), later.get(key))


def _keyed(outcome: Outcome) -> dict[tuple[str, str, int], Row]:
    """Return rows by what they measured, their unit, and how many such there were before; ``against`` has figures."""
    seen: Counter[tuple[str, str]] = Counter()
    keyed = {}
    for row in outcome.rows:
        key = row.what, row.unit
        keyed[(*key, seen[key])] = row
        seen[key] += 1
    return keyed


def differing_facts(old: Result, new: Result) -> list[str]:
    """Name what makes the figures of two runs incomparable."""
    facts = [
        f"{key}: {old.machine.get(key)!s:.80} before, {new.machine.get(key)!s:.80} now"
        for key in MACHINE
        if old.machine.get(key) != new.machine.get(key)
    ]
    if old.quick != new.quick:
        facts.append(f"--quick: {old.quick} before, {new.quick} now")
    return facts
