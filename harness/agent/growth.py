"""The anonymous memory of this process while it infers: does what runs the model keep something of each inference?

It is read between two blocks of the ring and never inside a timed inference, at PLACES moments of a loop that are
spread evenly. The block's inputs are still there, and what they take is subtracted: once they are freed, it is chance
whether the allocator gives their pages back (seen: 4 MiB more or less). Python's garbage is collected first, for the
loop itself keeps the collector from doing so. What was alive before the loop is not looked through for it (gc.freeze),
which takes some microseconds instead of a tenth of a second.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from typing import Any

from . import telemetry
from .ring import Ring

# How often a loop's memory is read, at most; as in growth.hpp.
PLACES = 60


class Growth:
    """Hands on what a ring prepares, and reads the memory in between. Use it as a context manager.

    Attributes:
        inferences: how many inferences there were before each reading, the untimed ones included.
        anonymous_kib: what was read then (telemetry.anonymous_kib), without the ring's inputs.
    """

    def __init__(self, ring: Ring, samples: int) -> None:
        """Begin with nothing read.

        Args:
            ring: prepares the inputs.
            samples: how many inferences are timed, at most.
        """
        self.ring, self.samples = ring, max(samples, 1)
        self.inferences: list[int] = []
        self.anonymous_kib: list[int] = []
        self._timed = 0
        self._place = 1  # the number of the next, from 1 to PLACES

    def __enter__(self) -> Growth:
        gc.collect()
        gc.freeze()
        return self

    def __exit__(self, *_: object) -> None:
        gc.unfreeze()

    def renew(self, wanted: int) -> Sequence[Any]:
        """Return what Ring.renew does. Where a place was reached, the memory is read before."""
        if self._timed * PLACES >= self._place * self.samples:
            self._read()
        slots = self.ring.renew(wanted)
        self._timed += len(slots)
        return slots

    def end(self, timed: int) -> None:
        """Read the memory after the loop, of so many timed inferences, where it had one block: that was not read."""
        self._timed = timed
        if not self.inferences:
            self._read()

    def _read(self) -> None:
        self._place = self._timed * PLACES // self.samples + 1
        start = time.perf_counter_ns()
        gc.collect()
        kib = telemetry.anonymous_kib()
        if kib is not None:
            self.inferences.append(self._timed + self.ring.untimed)
            self.anonymous_kib.append(kib - self.ring.held_bytes // 1024)
        self.ring.making_ns += time.perf_counter_ns() - start
