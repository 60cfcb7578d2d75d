"""When the first part of each answer came, of an engine whose answers come in parts: those of a streaming endpoint."""

from __future__ import annotations

from typing import Any

import numpy as np

from .failure import NEVER, CallFailed
from .frames import Array
from .pacing import by_release


class FirstParts:
    """Runs an engine, and notes after each call how long its first part took (Engine.first_part_ns)."""

    def __init__(self, engine: Any, most: int) -> None:
        """Begin with none; the memory of the most that may come is taken now, so that it does not grow."""
        self._engine, self._count = engine, 0
        self._took = np.full(most, NEVER, dtype=np.int64)

    @classmethod
    def of(cls, engine: Any, most: int) -> FirstParts | None:
        """Make one for an engine whose answers come in parts; None for all others."""
        return cls(engine, most) if getattr(engine, "streams", False) else None

    def run(self, prepared: Any) -> Any:
        """Infer once, as Engine.run does."""
        try:
            result = self._engine.run(prepared)
        except CallFailed:
            self._count += 1
            raise
        self._took[self._count] = self._engine.first_part_ns
        self._count += 1
        return result

    def tensor(self, measured: Array) -> Array:
        """Return the times, int64[n], one for each duration, or for each release; NEVER for one that was dropped.

        Args:
            measured: what a loop has returned: durations, int64[n], or releases, int64[n, 3].
        """
        return by_release(self._took, measured, NEVER)
