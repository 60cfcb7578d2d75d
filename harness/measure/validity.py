"""Whether a device was in a state to be measured: throttling, swapping, a governor that changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Raspberry Pi firmware: under-voltage, frequency capped, throttled, soft temperature limit; now, and 16 bits up since
# boot.
PI_NOW = 0xF
PI_SINCE_BOOT = 0xF0000
# Other programs' idle pages come back from swap now and then; a device that is out of memory moves far more.
SWAPPED_PAGES_ALLOWED = 256


def doubt(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Why a measurement between two states may not be believed; "" where nothing speaks against it.

    Args:
        before, after: see harness.agent.telemetry.state.
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
    if other := changed(before, after):
        reasons.append(other)
    return "; ".join(reasons)


def swap_doubt(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Why neither times nor resident memory may be believed: memory was full."""
    pages = after["swapped_pages"] - before["swapped_pages"]
    if after["swapped_kib"] > 0 or pages > SWAPPED_PAGES_ALLOWED:
        return f"the device swapped ({pages} pages; {after['swapped_kib']} KiB of the model's process)"
    return ""


def changed(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """Why what was measured in one state does not belong to the other: the device was not the same any more."""
    if first["boot"] != second["boot"]:
        return "the board was restarted while it was measured"
    if first["governor"] != second["governor"]:
        return f"the governor changed: {first['governor']}, then {second['governor']}"
    return ""
