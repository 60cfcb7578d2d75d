"""A model on a sensor's clock, as a list of durations: nothing else moves the time."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence

import pytest

from harness.agent.frames import Array
from harness.agent.pacing import Clock, Pace, paced_loop


class FakeClock(Clock):
    """A clock that is moved by hand, and whose waits end late as told."""

    def __init__(self, lateness: Mapping[int, int] | int) -> None:
        """Begin at a time that means nothing.

        Args:
            lateness: by how much a wait that has to wait ends late, of all of them or by its number.
        """
        self.time = 1_000_000_007
        self.waits = 0
        self.lateness = lateness

    def now(self) -> int:
        """Read it."""
        return self.time

    def wait_until(self, due_ns: int) -> None:
        """Move it."""
        late = self.lateness if isinstance(self.lateness, int) else self.lateness.get(self.waits, 0)
        self.waits += 1
        if due_ns > self.time:
            self.time = due_ns + late


class FakeSensor:
    """Inferences that take as long as the durations say, one after the other, again from the first after the last."""

    def __init__(
        self,
        durations: Sequence[int],
        *,
        ring: int = 1000,
        making: int = 0,
        lateness: Mapping[int, int] | int = 0,
    ) -> None:
        """Begin.

        Args:
            durations: in nanoseconds, as are making and lateness.
            ring: how many inputs are made at a time.
            making: how long that takes.
            lateness: see FakeClock.
        """
        self.durations, self.ring, self.making = durations, ring, making
        self.clock = FakeClock(lateness)
        self.runs = self.made = 0
        self.seen: list[int] = []

    def run(self, item: int) -> None:
        """One inference."""
        self.clock.time += self.durations[self.runs % len(self.durations)]
        self.runs += 1
        self.seen.append(item)

    def renew(self, wanted: int) -> list[int]:
        """Make inputs."""
        self.clock.time += self.making
        first, self.made = self.made, self.made + min(wanted, self.ring)
        return list(range(first, self.made))

    def measure(self, pace: Pace, releases: int, budget: int) -> Array:
        """Run the agent's paced loop; it collects no garbage first, of which pytest has much: 0.25 s."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(gc, "collect", lambda: 0)
            return paced_loop(self.run, self.renew, pace, releases, budget, self.clock)
