"""Packets that a device loses on the way to a server, for as long as a process of the cell calls it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from ..agent.remote.url import PORTS
from ..errors import DeviceError, HilgateError
from ..links import LinkType
from ..protocol import Packets


@dataclass(kw_only=True)
class PacketLoss:
    """The loss of one cell.

    Attributes:
        link: the way to the device, whose packets these are.
        percent: how many of them are lost, of each way.
        url: returns where the device calls the server now.
        noted: called with what the evidence has to say of it, each time that the loss ended.
        packets: what became of the packets until then; None before the first time.
        is_on: whether packets are lost now.
    """

    link: LinkType
    percent: float
    url: Callable[[], str]
    noted: Callable[[Packets | None, str], None]
    packets: Packets | None = None
    is_on: bool = False

    def begin(self) -> None:
        """Lose packets from now on.

        Raises:
            DeviceError: the server is not at the device's loopback, and nothing would be lost.
            EmulatorError: the device does not do it.
        """
        parts = urlsplit(self.url())
        if parts.hostname not in ("127.0.0.1", "localhost"):
            raise DeviceError(
                "packets are lost at the device's loopback, and the server is elsewhere",
                wanted='endpoint = "emulated", which a tunnel leads to',
                found=self.url(),
                where=self.link.where,
            )
        self.is_on = True  # before it is: a device that answers too late may do it
        self.link.lose(parts.port or PORTS[parts.scheme], self.percent)

    def end(self) -> None:
        """Lose none any more, if some are lost. A device that does not say so has been switched off by its link."""
        if not self.is_on:
            return
        self.is_on, problem = False, ""
        try:
            found = self.link.deliver()
            before = self.packets or Packets(sent=0, lost=0)
            self.packets = Packets(sent=before.sent + found.sent, lost=before.lost + found.lost)
        except HilgateError as error:
            problem = f"how many packets were lost to the end is not known: {error.what}"
        self.noted(self.packets, problem)
