"""Whether a device was in a state to be measured: throttling, swapping, a governor that changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Bits of the Raspberry Pi firmware's get_throttled: under-voltage, frequency capped, throttled, soft temperature limit;
# the same 16 bits higher for "since boot". See vcgencmd in the Raspberry Pi documentation.
PI_NOW = 0xF
PI_SINCE_BOOT = 0xF0000
# Pages that may be swapped during a measurement: other programs' idle pages come back now and then, while a device that
# is out of memory moves far more.
SWAPPED_PAGES_ALLOWED = 256


def is_answered(warm_up: Mapping[str, Any]) -> bool:
    """Tell whether most calls of a warm-up were answered, where inferences are calls to another computer.

    Fewer than that say nothing of whether the model was warm. A few that fail are what a link's calls do, before the
    samples and among them.

    Args:
        warm_up: The device's report; see harness.agent.timing.
    """
    failed = sum((warm_up.get("failed") or {}).values())
    return not failed or bool(2 * failed <= warm_up["iterations"])


def doubt(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Explain why a measurement between two states of the device may not be believed; "" if it may.

    Args:
        before: The device's state before it, as harness.agent.telemetry.state reports it.
        after: The state after it.
    """
    reasons = []
    bits = (before.get("throttled_bits") or 0, after.get("throttled_bits") or 0)
    if (bits[0] | bits[1]) & PI_NOW or (bits[1] & ~bits[0]) & PI_SINCE_BOOT:
        reasons.append(
            f"the board was throttled (get_throttled {bits[0]:#x}, then {bits[1]:#x}): check supply and cooling"
        )
    if (events := after["throttle_events"] - before["throttle_events"]) > 0:
        reasons.append(f"the CPU was throttled {events} times by its temperature")
    if swapped := swap_doubt(before, after):
        reasons.append(swapped)
    if change := changed(before, after):
        reasons.append(change)
    return "; ".join(reasons)


def swap_doubt(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Explain that the device swapped, so that neither times nor resident memory may be believed; "" if it did not."""
    pages = after["swapped_pages"] - before["swapped_pages"]
    if after["swapped_kib"] > 0 or pages > SWAPPED_PAGES_ALLOWED:
        return f"the device swapped ({pages} pages; {after['swapped_kib']} KiB of the model's process)"
    return ""


def changed(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """Explain how the device changed between two states (restarted, another governor); "" if it did not."""
    if first["boot"] != second["boot"]:
        return "the board was restarted while it was measured"
    if first["governor"] != second["governor"]:
        return f"the governor changed: {first['governor']}, then {second['governor']}"
    return ""
