"""The state of a device, as harness.agent.telemetry reads it."""

from __future__ import annotations

from .fields import Answer, Few, Whole, Word


class DeviceState(Answer):
    """The state on which the validity of a measurement depends; see harness.agent.telemetry.state."""

    boot: Word
    governor: Few[Word]
    frequency_khz: Few[Whole]
    temperature_mc: Few[Whole]
    throttled_bits: Whole | None
    throttle_events: Whole
    swapped_pages: Whole
    swapped_kib: Whole
