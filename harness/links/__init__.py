"""Links: how bytes reach a device. One file or folder each, found by its name, with a class ``Link``.

A link knows nothing of models, bundles or frames: it starts programs on the device and carries their bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

from ..device.device import Device
from ..errors import DeviceError
from ..host.plugins import class_with, load_module, module_names
from ..protocol import BoardFacts

# What a chatty login shell may print before a program's first frame.
GREETING_ALLOWED = 1 << 16


class ChannelClosed(Exception):  # not an error by itself: how a program's output ends
    """The program on the device has closed its end."""


class Channel(Protocol):
    """A program, running: bytes to its stdin, bytes from its stdout. Deadlines are in time.monotonic()'s seconds."""

    def send(self, data: Any, deadline: float) -> None:
        """Write all of a buffer. Raises: ChannelClosed, LinkLost, TimeoutError."""

    def receive(self, size: int, deadline: float) -> bytearray:
        """Read exactly so many bytes. Raises: ChannelClosed, LinkLost, TimeoutError."""

    def finish(self, patience_s: float) -> int | None:
        """Close its stdin, wait so long, then kill it. Returns its exit status, negative for a signal, if known."""

    def stderr_tail(self) -> str:
        """The end of what it wrote to stderr."""


class LinkType(Protocol):
    """A way to one device.

    Attributes:
        where: the other end in words, such as "pi@192.168.1.20:22".
        shares_files: whether the device sees the host's own files, so that none has to be sent.
        store: where the device's store is, unless the device file says; "~" is the device's.
        python: the Python that the device file or the host's own environment names, if one does.
        described: what the evidence should say of the device beside what it says of itself.
    """

    where: str
    shares_files: bool
    store: str
    python: str | None

    @property
    def described(self) -> Mapping[str, Any]: ...

    def __init__(self, device: Device) -> None: ...

    def start(self, script: str, *, bulk: bool = False, kill: Callable[[], None] | None = None) -> Channel:
        """Run a POSIX shell script with a program that speaks through its stdin and stdout.

        Args:
            bulk: gigabytes will go through it: not on the connection that measurements use.
            kill: ends the program, for a link that can only let go of it.

        Raises:
            LinkError: the device cannot be reached, or the script not be started.
        """

    def learn(self, facts: BoardFacts) -> None:
        """Told once what the board is: what a link does may depend on it (which cipher is quick there)."""

    def abort(self) -> None:
        """The other end no longer answers: let everything that waits for it fail at once, as LinkLost."""

    def close(self) -> None:
        """Let go of the device. It may be started from anew."""

    def power_off(self) -> None:
        """The device is no longer needed: where a link has switched it on, it switches it off. Never raises."""


def stderr_of(channel: Channel, *, without: str = "\0") -> str:
    """What a program wrote to stderr, as an error quotes it; without lines that begin so."""
    lines = channel.stderr_tail().strip().splitlines()
    tail = "\n".join(line for line in lines if not line.startswith(without)).strip()
    return f"its stderr ends:\n{tail[-2000:]}" if tail else "it wrote nothing to stderr"


# What a link's file must have.
METHODS = ("start", "learn", "abort", "close", "power_off", "described")
LINK = {"Link": (class_with(*METHODS), "a class with the methods and attributes of harness.links.LinkType")}


def link_names() -> list[str]:
    """List every link that exists, plug-ins among them."""
    return module_names(__name__)


def open_link(device: Device) -> LinkType:
    """Make the link that a device file names. Nothing is connected before something is started.

    Raises:
        DeviceError: there is no such link; or its file cannot be imported, or lacks something.
    """
    if device.link not in link_names():
        raise DeviceError(
            f"there is no link {device.link!r}",
            wanted="one of " + ", ".join(link_names()),
            found=repr(device.link),
            where=f"{device.path}: device.link",
        )
    module: Any = load_module(__name__, device.link, LINK, "link", DeviceError)
    return cast(LinkType, module.Link(device))
