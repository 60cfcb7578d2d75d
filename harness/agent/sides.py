"""Which side answered each inference, of an engine that has a fallback (see remote.fallback): noted by measuring loops.

This file is shipped with every agent, and read on the host; numpy is imported where a reply needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .failure import KINDS

if TYPE_CHECKING:
    from .frames import Array

# What is noted of an inference, a byte each: the computer elsewhere has answered it …
FAR = 0
# … or its call failed, and the device answered it: from 1 on, how it failed, by its place in failure.KINDS …
MISSED = range(1, len(KINDS) + 1)
# … or the device answered it, and called nobody: the far end had missed an earlier one.
UNASKED = len(KINDS) + 1
# Of a release that was dropped: nobody answered it.
DROPPED = 255
# How a request names the side that is to answer: for parity and accuracy each is asked alone.
FAR_END, NEAR = SIDES = ("far", "near")


class Sides:
    """Runs an engine that has a fallback, and notes after each inference which side answered it (its ``side``)."""

    def __init__(self, engine: Any, most: int) -> None:
        """Begin with none; the memory of the most that may come is taken now, so that it does not grow."""
        self._engine, self._run, self._count = engine, engine.run, 0
        self._sides = bytearray(most)

    @classmethod
    def of(cls, engine: Any, most: int) -> Sides | None:
        """Make one for an engine that has a fallback; None for all others."""
        return cls(engine, most) if hasattr(engine, "run_on") else None

    def run(self, prepared: Any) -> Any:
        """Infer once, as Engine.run does."""
        result = self._run(prepared)
        self._sides[self._count] = self._engine.side
        self._count += 1
        return result

    def tensor(self, measured: Array) -> Array:
        """Return the sides, uint8[n], one for each duration, or for each release.

        Args:
            measured: what a loop has returned: durations, int64[n], or releases, int64[n, 3].
        """
        import numpy as np

        from .pacing import by_release

        return by_release(np.frombuffer(self._sides, np.uint8, self._count), measured, DROPPED)
