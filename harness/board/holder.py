"""Words about who holds a board, for errors and progress lines."""

from __future__ import annotations

from ..device.device import Device
from ..errors import DeviceBusy
from ..protocol.daemon import Holder

# At most this much of what another run says of itself is quoted.
QUOTED_CHARACTERS = 80


def busy_error(device: Device, store: str, holder: Holder, waited_s: float) -> DeviceBusy:
    """Build the error for a device that another run holds.

    Args:
        device: the device that was asked for.
        store: its store's folder, which has the lock file.
        holder: who holds it, as the board reported.
        waited_s: how many seconds this run has waited for it.
    """
    hint = "wait for it: --wait SECONDS"
    if holder.lock is not None:  # the machine-wide lock, which any user of the machine may hold indefinitely
        kill = f": sudo kill {holder.pid}" if holder.pid else ""
        hint += f"; or ask its user, or who administers the board{kill}"
    return DeviceBusy(
        f"device {device.name} is in use by another run",
        wanted="one run at a time: two would measure each other",
        found=describe_holder(holder) + (f"; waited {waited_s:g} s for it" if waited_s else ""),
        where=f"{holder.lock or f'{store}/lock'} there ({device.path})",
        hint=hint,
    )


def describe_holder(holder: Holder) -> str:
    """Describe who holds a board: the process's owner as the kernel reports it, then what the run says of itself."""
    words = []
    if holder.user:
        words.append(f"held by {holder.user}" + (f", pid {holder.pid}" if holder.pid else ""))
    if holder.lock is None or holder.since is not None:
        age = f" (for {_duration(holder.age_s)})" if holder.age_s is not None else ""
        since = (holder.since or "an unknown time")[:QUOTED_CHARACTERS]
        held = "as" if words else "held by"
        words.append(f"{held} {holder.who[:QUOTED_CHARACTERS]} since {since}{age}, run {holder.run[:32]}")
    return ", ".join(words)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
