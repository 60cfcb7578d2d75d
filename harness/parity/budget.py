"""How long a search may go on: by the inputs that it tries and the time that is spent on them, not by the wall's clock.

On a busy machine the wall's clock runs on while nobody computes: a real network was PASS after 15 inputs, and FAIL
after 256 (issue 15). The wall's clock is a ceiling only, so that a run always ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

# The wall's clock may run for so many times the budget.
CEILING = 6.0
# A worst error of more than half the limit on fewer inputs says little about what more inputs would reach.
FEW = 100

Clock = Callable[[], float]


@dataclass
class Budget:
    """The time that a search has spent.

    Args:
        clocks: each returns seconds that somebody has computed, from a start of its own: the host's CPU time, the
            device's time.

    Attributes:
        by_wall: whether the wall's clock ended anything.
    """

    clocks: Sequence[Clock] = (time.process_time,)
    by_wall: bool = False
    _spent: float = field(init=False)
    _wall: float = field(init=False)

    def __post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Start counting from now on."""
        self._spent, self._wall = self._now(), time.monotonic()

    @property
    def spent_s(self) -> float:
        """Seconds that were computed since ``begin``."""
        return self._now() - self._spent

    def is_over(self, seconds: float) -> bool:
        """Tell whether so many seconds have been spent, or the wall's clock has reached the ceiling for them."""
        if self.spent_s > seconds:
            return True
        is_late = time.monotonic() - self._wall > CEILING * seconds
        self.by_wall |= is_late
        return is_late

    def _now(self) -> float:
        return sum(clock() for clock in self.clocks)


def effort_notes(value: float, limit: float, tried: int, listed: tuple[int, int], budget: Budget) -> tuple[str, ...]:
    """Return the notes that a PASS should be read with: how hard the search looked.

    Args:
        value: the worst error ratio of the search.
        limit: the largest that is allowed.
        tried: how many inputs were judged.
        listed: how many inputs of the fixed list were tried, and how many it has.
        budget: tells by which clock the search ended.
    """
    notes = []
    done, of = listed
    if done < of:
        why = "by the wall's clock: something else kept the machine busy" if budget.by_wall else "of computing"
        notes.append(f"parity tried {done} of the {of} inputs of its fixed list in its time {why}")
    if value > limit / 2 and tried < FEW:
        notes.append(
            f"parity is at {value:.3g} of {limit:g} after {tried} inputs only: more of them may reach further. A "
            "faster device, such as local, is asked the same list to its end; --hypothesis-seed N draws others"
        )
    return tuple(notes)
