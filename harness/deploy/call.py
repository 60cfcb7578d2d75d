"""A call to a device by two clocks: the host's own, and what the device says it took."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any


def host_clock() -> float:
    """Seconds by the host's clock, its sleep included: a laptop's that is shut while a board goes on measuring."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True)
class Call:
    """One call.

    Attributes:
        host_s: what it took, by the host's clock.
        device_ns: what the device says it took; as it was said, whatever that is.
        bytes: of tensors, there and back.
    """

    host_s: float
    device_ns: Any
    bytes: int = 0
