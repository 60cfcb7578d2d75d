"""The sensor's clock that a model file declares: how often inputs come, and what becomes of one that is too early."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..agent.pacing import DROP, LATE, QUEUE
from ..checks.limits import is_finite_number
from ..errors import ModelError
from ..host.suggestion import did_you_mean

# A sensor that comes less often than this would deliver too few inputs in any time that a person waits, …
LEAST_HZ = 0.01
# … and between releases that come more often, a wake-up by Linux (50 µs and more) is no small matter any more.
MOST_HZ = 10_000.0


@dataclass(frozen=True)
class SensorClock:
    """A sensor's clock.

    Attributes:
        rate_hz: How many inputs come in a second.
        late: What becomes of one that finds the model busy: "drop" or "queue".
    """

    rate_hz: float
    late: str

    @property
    def period_ns(self) -> int:
        """The time from one input to the next, in whole nanoseconds."""
        return round(1e9 / self.rate_hz)

    def paced_s(self, inference_s: float) -> float:
        """Return how long a release takes, all in all, where an inference takes so many seconds."""
        period_s = self.period_ns / 1e9
        return max(period_s, inference_s) if self.late == QUEUE else period_s

    @property
    def period_ms(self) -> float:
        """The time from one input to the next, in milliseconds."""
        return 1000 / self.rate_hz


def read_clock(rate_hz: Any, late: Any) -> SensorClock | None:
    """Validate ``rate_hz`` and ``late``; None where the file declares no clock.

    Raises:
        ModelError: The rate is no number from LEAST_HZ to MOST_HZ; or ``late`` is none of LATE, or given without a
            rate.
    """
    if rate_hz is None:
        if late is not None:
            hint = f"rate_hz=30, late={late!r}; or leave late out: without a rate one inference follows the other"
            wanted = "rate_hz, the rate at which the sensor delivers"
            raise ModelError("late without rate_hz", wanted=wanted, found="none", where="Model(late=…)", hint=hint)
        return None
    if not is_finite_number(rate_hz) or not LEAST_HZ <= rate_hz <= MOST_HZ:
        wanted = f"how many inputs the sensor delivers in a second, a number from {LEAST_HZ:g} to {MOST_HZ:g}"
        raise ModelError("rate_hz is not usable", wanted=wanted, found=f"{rate_hz!r:.50}", where="Model(rate_hz=…)")
    chosen = DROP if late is None else late
    if chosen not in LATE:
        wanted, hint = " or ".join(map(repr, LATE)), did_you_mean(chosen, LATE) if isinstance(chosen, str) else ""
        raise ModelError("late is not usable", wanted=wanted, found=f"{late!r:.50}", where="Model(late=…)", hint=hint)
    return SensorClock(float(rate_hz), chosen)
