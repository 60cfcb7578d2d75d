"""What a link is, and what it starts on a device."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from ..device.device import Device
from ..errors import DeviceError, HilgateError, TunnelError
from ..protocol import BoardFacts, Packets

if TYPE_CHECKING:
    from ..emulator.image import Image
    from ..emulator.snapshot_store import Snapshot

# What a chatty login shell may print before a program's first frame.
GREETING_ALLOWED = 1 << 16
STORE = "~/.cache/hilgate"


class ChannelClosed(Exception):  # not an error by itself: how a program's output ends
    """The program on the device has closed its end."""


class Channel(Protocol):
    """A running program: bytes to its stdin, bytes from its stdout. Deadlines are in time.monotonic()'s seconds."""

    def send(self, data: Any, deadline: float) -> None:
        """Write all of a buffer.

        Raises:
            ChannelClosed: the program no longer reads.
            LinkLost: the connection dropped.
            TimeoutError: it was not written by the deadline.
        """

    def receive(self, size: int, deadline: float) -> bytearray:
        """Read exactly ``size`` bytes.

        Raises:
            ChannelClosed: the program's output ended.
            LinkLost: the connection dropped.
            TimeoutError: they did not come by the deadline.
        """

    def finish(self, patience_s: float) -> int | None:
        """Close the program's stdin, wait up to ``patience_s``, then kill it.

        Returns:
            Its exit status, negative for a signal; None where it is not known.
        """

    def stderr_tail(self) -> str:
        """Return the end of what it wrote to stderr."""


class Tunnel(Protocol):
    """A port of the device's loopback that leads to one of this machine's, while the connection lasts.

    Attributes:
        port: the device's.
    """

    port: int

    def check(self) -> None:
        """Make it anew, at the same port, where the connection was made anew.

        Raises:
            TunnelError: the device refuses that.
            LinkLost: the connection dropped.
        """

    def close(self) -> None:
        """End it, with the connections that go through it. Never raises."""


class SnapshotPower(Protocol):
    """The power switch of a device that starts from an image, or from a snapshot of itself (see emulator)."""

    def power_on(self, image: Image, snapshot: Snapshot | None = None, home: Path | None = None) -> None:
        """Boot the device, or restore a snapshot of it.

        Args:
            image: what it boots from.
            snapshot: what is restored, made from that image.
            home: a disk with the user's home folder; it becomes the device's own.

        Raises:
            DeviceError: the device file does not say what to emulate.
            EmulatorError: it does not come up.
            StorageError: the disk is full.
        """

    def save(self, snapshot: Snapshot) -> None:
        """Save the device as it is now into a snapshot's empty folder, and switch it off.

        Raises:
            EmulatorError: it is off, or cannot be saved.
            StorageError: the disk is full.
        """


class WayStatus(enum.Enum):
    """How a check of the way to a device ended."""

    OK = "ok"
    FAILED = "failed"
    WARNING = "warning"
    SKIPPED = "skipped"


@dataclass(frozen=True, kw_only=True)
class WayCheck:
    """One check of the way to a device, as ``hilgate doctor`` shows it.

    Attributes:
        name: what was checked, in a word or two.
        status: how it ended.
        found: what was found, in words.
        hint: what to do about it.
        error: the error that it ended with, in place of ``found`` and ``hint``.
        failed_before: the check whose failure is why this one was skipped.
        is_last: whether no device can be looked at after this, although nothing failed.
    """

    name: str
    status: WayStatus = WayStatus.OK
    found: str = ""
    hint: str = ""
    error: HilgateError | None = None
    failed_before: str = ""
    is_last: bool = False


def skip_checks(names: Sequence[str], failed: str) -> Iterator[WayCheck]:
    """Make the checks that were skipped because another one failed."""
    for name in names:
        yield WayCheck(name=name, status=WayStatus.SKIPPED, failed_before=failed)


class LinkType(ABC):
    """A way to one device. A link's class ``Link`` derives from this, and has to have ``start``.

    Class attributes, which say what every device of the link is:
        emulated: its CPU is emulated: durations there say nothing of a real board.
        can_count: it can be made to count instructions in place of time; see harness.instructions.counting.
        is_this_machine: it is the host itself, with the host's own compiler and folders.
        has_host_keys: it is known by SSH host keys, which ``hilgate trust`` pins.
        required_keys: keys that its device file must have, such as "device.host" -> what is wanted.
        refused_keys: keys that its device file must not have -> what is wanted in their place.
        shares_files: it sees the host's own files, so that none has to be sent.
        tunnels_back: its device's programs can be given a way to a port of the host's; it has ``tunnel_back``.
        loses_packets: its device can be made to lose packets of a port; it has ``lose`` and ``deliver``.

    Attributes:
        device: the device, as its file describes it.
        where: the other end in words, such as "pi@192.168.1.20:22".
        python: the Python that the device file or the host's own environment names, if one does.
    """

    emulated: ClassVar[bool] = False
    can_count: ClassVar[bool] = False
    is_this_machine: ClassVar[bool] = False
    has_host_keys: ClassVar[bool] = False
    required_keys: ClassVar[Mapping[str, str]] = MappingProxyType({})
    refused_keys: ClassVar[Mapping[str, str]] = MappingProxyType({})
    shares_files: ClassVar[bool] = False
    tunnels_back: ClassVar[bool] = False
    loses_packets: ClassVar[bool] = False

    def __init__(self, device: Device) -> None:
        """Make a link; nothing is connected yet."""
        self.device = device
        self.where = device.host or device.name
        self.python: str | None = None

    @classmethod
    def open(cls, device: Device) -> Self:
        """Make a link to a device, after checking whatever can be checked on the host.

        Raises:
            LinkError: the device cannot be reached this way, whatever it does.
        """
        return cls(device)

    @classmethod
    def check_way(cls, device: Device) -> Iterator[WayCheck]:
        """Check the way to a device, step by step, for ``hilgate doctor``; a link need not check anything."""
        yield from ()

    @classmethod
    def describe_unopened(cls, device: Device) -> str | None:
        """Describe a device that is not worth opening for a line of ``hilgate devices``; None: open it and look."""
        return None

    @property
    def store(self) -> str:
        """Where the device's store is, unless the device file says; "~" is the device's."""
        return STORE

    @property
    def described(self) -> Mapping[str, Any]:
        """What the evidence says of the device beside what it says of itself."""
        return MappingProxyType({})

    @property
    def snapshots(self) -> SnapshotPower | None:
        """The power switch of a device that is switched on from a snapshot; None for one that is simply there."""
        return None

    @abstractmethod
    def start(self, script: str, *, bulk: bool = False, kill: Callable[[], None] | None = None) -> Channel:
        """Run a POSIX shell script with a program that speaks through its stdin and stdout.

        Args:
            script: the script.
            bulk: gigabytes will go through it: not on the connection that measurements use.
            kill: ends the program, for a link that can only let go of it.

        Raises:
            LinkError: the device cannot be reached, or the script not be started.
        """

    def tunnel_back(self, port: int) -> Tunnel:
        """Have a port of the device's loopback lead to one of this machine's.

        Args:
            port: this machine's.

        Raises:
            TunnelError: the link has no such way, or the device refuses.
            LinkError: the device cannot be reached.
        """
        raise TunnelError(f"the link {self.device.link!r} has no way back to this machine", where=self.where)

    def lose(self, port: int, percent: float) -> None:
        """Have the device lose packets that go to or come from a port of its loopback, until ``deliver``.

        Args:
            port: the port.
            percent: how many of them, above 0 and below 100.

        Raises:
            DeviceError: no device of the link can.
            EmulatorError: this one does not.
        """
        raise DeviceError(f"the link {self.device.link!r} cannot make a device lose packets", where=self.where)

    def deliver(self) -> Packets:
        """End what ``lose`` began; return what became of the packets since.

        Raises:
            EmulatorError: it cannot be ended, and so the device is switched off.
        """
        return Packets(sent=0, lost=0)

    def learn(self, facts: BoardFacts) -> None:  # noqa: B027  # a default
        """Take note of what the board is, once: the link may depend on it (which cipher is quick there)."""

    def abort(self) -> None:  # noqa: B027  # a default
        """Make everything that waits for the device fail at once, as LinkLost: it no longer answers."""

    def close(self) -> None:  # noqa: B027  # a default
        """Let go of the device. It may be started from again."""

    def power_off(self) -> None:  # noqa: B027  # a default
        """Switch the device off, where this link has switched it on. Never raises."""

    def cut_power(self) -> None:  # noqa: B027  # a default
        """End the device under whatever waits for it, from another thread than theirs. Never raises."""


def stderr_of(channel: Channel, *, without: str = "\0") -> str:
    """Quote what a program wrote to stderr, for an error.

    Args:
        channel: the program.
        without: leave out lines that begin with this.
    """
    lines = channel.stderr_tail().strip().splitlines()
    tail = "\n".join(line for line in lines if not line.startswith(without)).strip()
    return f"its stderr ends:\n{tail[-2000:]}" if tail else "it wrote nothing to stderr"
