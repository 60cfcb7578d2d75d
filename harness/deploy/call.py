"""A call to a device by two clocks: the host's, and the device's."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any


def host_clock() -> float:
    """Read the host's clock, in seconds. It counts while the host sleeps, as a board goes on measuring meanwhile."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True)
class Call:
    """One call that was answered.

    Attributes:
        host_s: what it took by the host's clock, in seconds.
        device_ns: what the device reported that it took, unchecked.
        bytes: of tensors that travelled, there and back.
    """

    host_s: float
    device_ns: Any
    bytes: int = 0
