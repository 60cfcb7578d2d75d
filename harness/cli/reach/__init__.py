"""The way to a device, as commands look at it before they start anything there: one file a link, of the link's name.

A file has ``checks(device)``, which yields the first checks of `hilgate doctor`; and ``state(device)``, which returns a
few words for `hilgate devices` where a device should not be started for a look, else None. A link needs no file here:
without one there are no such checks, and `hilgate devices` asks the device itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...device.device import Device
from ...host.plugins import function, load_module, module_names
from ..report import Check

# What a file here must have.
REACH = {
    "checks": (function, "checks(device): yields a Check for each step on the way to it"),
    "state": (function, "state(device): how it is, in a few words; None to have it asked"),
}


def checks_of(device: Device) -> Iterator[Check]:
    """Look at each step on the way to a device, as far as its link has any; stops where the rest depends on it."""
    module = _module(device)
    yield from module.checks(device) if module is not None else ()


def state_of(device: Device) -> str | None:
    """Say in a few words how a device is that should not be started for a look; None for one that can be asked."""
    module = _module(device)
    state: str | None = module.state(device) if module is not None else None
    return state


def _module(device: Device) -> Any:
    """Load the file of a device's link; None where it has none."""
    return load_module(__name__, device.link, REACH, "reach") if device.link in module_names(__name__) else None
