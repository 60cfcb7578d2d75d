"""Links: how bytes reach a device. One file each, found by its name, with a class ``Link``.

A link knows nothing of models or frames: it says what the board is, puts a bundle there, and starts the agent in it.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from typing import Any, Protocol, cast

from ..bundle import Bundle
from ..device import Device
from ..errors import DeviceError


class ChannelClosed(Exception):  # not an error by itself: how a program's output ends
    """The program on the device has closed its end."""


class Channel(Protocol):
    """The agent, running: bytes to its stdin, bytes from its stdout. Deadlines are in time.monotonic()'s seconds."""

    def send(self, data: Any, deadline: float) -> None:
        """Write all of a buffer. Raises: ChannelClosed, TimeoutError."""

    def receive(self, size: int, deadline: float) -> bytearray:
        """Read exactly so many bytes. Raises: ChannelClosed, TimeoutError."""

    def finish(self, patience_s: float) -> int | None:
        """Close its stdin, wait so long, then kill it. Returns its exit status, negative for a signal, if known."""

    def stderr_tail(self) -> str:
        """The end of what it wrote to stderr."""


class LinkType(Protocol):
    """A way to one device."""

    def __init__(self, device: Device) -> None: ...

    def probe(self, packages: Sequence[str]) -> dict[str, Any]:
        """What the board is: see harness.agent.facts. Raises: LinkError."""

    def put(self, bundle: Bundle) -> str:
        """Make sure that the bundle is there, whole and verified; returns its folder. Raises: LinkError,
        StorageError."""

    def start(self, folder: str) -> Channel:
        """Start the agent of a bundle. Raises: LinkError."""

    def close(self) -> None:
        """Let go of the device."""


def link_names() -> list[str]:
    """Every link that exists."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def open_link(device: Device) -> LinkType:
    """The link that a device file names.

    Raises:
        DeviceError: there is no such link.
        LinkError: the device cannot be reached.
    """
    if device.link not in link_names():
        raise DeviceError(
            f"there is no link {device.link!r}",
            wanted="one of " + ", ".join(link_names()),
            found=repr(device.link),
            where=f"{device.path}: device.link",
        )
    module = importlib.import_module(f"{__name__}.{device.link}")
    return cast(LinkType, module.Link(device))
