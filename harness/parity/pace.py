"""How long a search goes on, and how much it asks of the device in one call."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from .budget import Budget
from .judging import Judging
from .search_state import SearchState
from .trials.generate import EXAMPLES
from .trials.recipe import Recipe

# So many inputs are tried besides the essential ones, however slow the device is.
LEAST = 10
# One call has no more inputs than take about this long, than this number, and than give so many bytes of outputs.
CALL_S = 0.5
CALL_SETS = 32
CALL_BYTES = 16 << 20
# The seconds of the wall's clock that shrinking may take after the first failure.
SHRINK_S = 20.0


@dataclass(kw_only=True)
class Pace:
    """The pace of one search, by what its judging and its budget show.

    Attributes:
        search_s: for how long to search, by the budget's clocks.
        least: so many inputs are tried at least, however slow the device is.
        total: so many inputs will be tried, by the pace so far.
    """

    state: SearchState
    judging: Judging
    budget: Budget
    search_s: float
    least: int = LEAST
    total: int = 0
    _shrink_until: float = float("inf")

    @property
    def each_s(self) -> float:
        """Seconds that one input has taken so far, on average."""
        return self.budget.spent_s / max(self.judging.tally.tried, 1)

    def begin_shrinking(self) -> None:
        """Limit the time from now on by SHRINK_S of the wall's clock, in place of the budget."""
        self._shrink_until = time.monotonic() + SHRINK_S

    def is_over(self, share: float = 1.0) -> bool:
        """Tell whether the time is up.

        Args:
            share: of the search's time, as long as nothing has failed.
        """
        if self.state.failing is not None:
            return time.monotonic() > self._shrink_until
        tried = self.judging.tally.tried + self.judging.tally.set_aside
        return tried >= self.least and self.budget.is_over(share * self.search_s)

    def next_call(self, waiting: Sequence[Recipe]) -> Sequence[Recipe]:
        """Return those of the waiting recipes that go into the next call.

        One, until it is known how long that takes; never so many that a small board has no room for their outputs.
        """
        self.total = min(max(int(self.search_s / self.each_s), self.least), self.least + EXAMPLES)
        most = min(int(CALL_S / self.each_s), CALL_SETS) if self.judging.tally.tried else 1
        space = self.judging.reference.space
        sizes = (space.bytes(recipe) * self.judging.expansion for recipe in waiting[:most])
        return waiting[: max(sum(total <= CALL_BYTES for total in accumulate(sizes)), 1)]
