"""How long a search may go on: by the inputs that it tries and the time that is spent on them, not by the wall's clock.

On a busy machine the wall's clock runs on while nobody computes: a real network was PASS after 15 inputs, and FAIL
after 256 (issue 15). The wall's clock is a ceiling only, so that a run always ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

# The wall's clock may show so many times the budget.
CEILING = 6.0
# A worst error of more than half the limit on fewer inputs says little of what more of them would reach.
FEW = 100

Clock = Callable[[], float]


@dataclass
class Budget:
    """What is spent.

    Args:
        clocks: seconds that were computed, by whom it may be, each from a start of its own: the host's CPU time, the
            device's time.

    Attributes:
        by_wall: whether it was the wall's clock that ended something.
    """

    clocks: Sequence[Clock] = (time.process_time,)
    by_wall: bool = False
    _spent: float = field(init=False)
    _wall: float = field(init=False)

    def __post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """From here on it counts."""
        self._spent, self._wall = self._now(), time.monotonic()

    @property
    def spent_s(self) -> float:
        """Seconds that were computed since it began."""
        return self._now() - self._spent

    def is_over(self, seconds: float) -> bool:
        """Whether so much has been spent, or the ceiling for so much is reached."""
        if self.spent_s > seconds:
            return True
        is_late = time.monotonic() - self._wall > CEILING * seconds
        self.by_wall |= is_late
        return is_late

    def _now(self) -> float:
        return sum(clock() for clock in self.clocks)


def effort_notes(value: float, limit: float, tried: int, listed: tuple[int, int], budget: Budget) -> tuple[str, ...]:
    """What a PASS should be read with: how hard was looked.

    Args:
        value: the worst error that was met.
        listed: of the fixed list, how many inputs were tried, and how many it has.
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
