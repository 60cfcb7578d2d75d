"""The anonymous memory of one process while it infers, reading after reading: what growth is judged on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..checks.trend import Trend, trend
from ..deploy import plausibility

# How many readings a trend is fitted to, at most; spread evenly over the inferences.
PLACES = 60
# What is left out at the beginning: caches fill, arenas grow.
SETTLING = 0.2
# How many inferences a trend takes, and how many readings behind SETTLING: of 5000 inferences in blocks of 128 there
# are 31.
NEEDED = 5000
LEAST_READINGS = 20


@dataclass(kw_only=True)
class MemorySeries:
    """The readings of one process.

    Attributes:
        count: How many inferences it has done, the untimed ones included, since its warm-up.
        inferences: How many it had done before each reading.
        kib: What was read: RssAnon and VmSwap, without the harness's inputs.
        impossible: Why a reading cannot be true; "" if all may be.
    """

    count: int = 0
    inferences: list[int] = field(default_factory=list)
    kib: list[int] = field(default_factory=list)
    impossible: str = ""

    def add(self, reply: Mapping[str, Any], timed: int, *, are_new: bool, board_mib: float | None = None) -> None:
        """Add the readings of one call.

        Args:
            reply: The device's; see Operations.op_measure.
            timed: How many durations came with it.
            are_new: Whether each of its inferences had inputs of its own. If not, its inferences count, but not its
                readings: a leak may come with new inputs only, and other kept inputs take other memory.
            board_mib: The board's memory in MiB, if it is known.
        """
        self.impossible = self.impossible or plausibility.why_growth_impossible(reply, timed, board_mib)
        if are_new:
            self.inferences += [self.count + before for before in reply["inferences"]]
            self.kib += reply["anonymous_kib"]
        self.count += timed + reply["untimed"]

    @property
    def is_enough(self) -> bool:
        """Whether there are as many inferences, and readings of them, as a trend takes."""
        return self.count >= NEEDED and len(self._settled()) >= LEAST_READINGS

    def trend(self) -> Trend:
        """Compute the trend in KiB per 1000 inferences. There must be enough of them."""
        chosen = self._settled()
        return trend(np.array([self.inferences[each] for each in chosen]) / 1000, np.array(self.kib)[chosen])

    def fitted(self) -> list[list[int]]:
        """Return the readings that are fitted, each with the inferences before it; the same series as to its trend."""
        return [[self.inferences[each], self.kib[each]] for each in self._settled()]

    def _settled(self) -> list[int]:
        """Choose the readings that are fitted: of PLACES that are spread evenly those behind SETTLING."""
        places = np.arange(1, PLACES + 1) * self.count / PLACES
        at_or_after = np.searchsorted(self.inferences, places[places > SETTLING * self.count])
        return sorted({int(each) for each in at_or_after if each < len(self.inferences)})
