"""The link itself: two connections to a board, and the programs that are started on them.

Two connections: one for the daemon and the agents, which is always open, and one for bulk transfers, opened when there
is something to send. A channel that streams gigabytes makes the two ends exchange keys anew, and would delay a
measurement's calls.

paramiko and Fabric are imported when something is connected: they take a third of a second, and whoever loads a device
file asks this class no more than what such a file must have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from ...device.device import Device
from ...errors import LinkError, LinkLost
from ...protocol import BoardFacts
from .._link import LinkType, WayCheck
from .channel_bound import CHANNEL_TIMEOUT_S, bounded

if TYPE_CHECKING:
    import paramiko

    from .process import Process
    from .route import Route
    from .tunnel import BackTunnel


class Link(LinkType):
    """Programs on a board, over SSH."""

    has_host_keys = tunnels_back = True
    required_keys: ClassVar[Mapping[str, str]] = MappingProxyType({"device.host": "a host"})

    def __init__(self, device: Device, config: Path | None = None) -> None:
        """Make a link; nothing is connected yet.

        Args:
            device: the device; its ``host`` is what ssh_config or an address calls the board.
            config: an ssh_config that is read in place of the user's and the system's.
        """
        super().__init__(device)
        self._config = config
        self.where = device.host or ""
        self._aes = True
        self._routes: dict[bool, Route] = {}
        self._tunnel: BackTunnel | None = None

    @classmethod
    def check_way(cls, device: Device) -> Iterator[WayCheck]:
        """Check the host's name, its SSH server, its host keys and our login; see way."""
        from .way import check_way

        yield from check_way(device)

    def start(self, script: str, *, bulk: bool = False, kill: Callable[[], None] | None = None) -> Process:
        """Start a script on the board, without a terminal, whatever its login shell is.

        Args:
            script: for a POSIX shell.
            bulk: on the connection for bulk transfers.
            kill: ends the program on the board; closing the channel only lets go of it.

        Raises:
            HostKeyError: a host key on the way is unknown, or another than the one that is known.
            LinkError: the board cannot be reached, or allows no further session.
        """
        import paramiko

        from .process import Process, shell_command

        transport = self._transport(bulk)
        try:
            with bounded(transport):
                channel = transport.open_session(timeout=CHANNEL_TIMEOUT_S)
                channel.exec_command(shell_command(script))
        except paramiko.ChannelException as error:
            raise self._no_session(error) from error
        except (paramiko.SSHException, OSError, EOFError) as error:
            what = f"a program cannot be started on {self.device.name}"
            raise LinkLost(what, found=f"{type(error).__name__}: {error}".rstrip(": "), where=self.where) from error
        return Process.over(channel, self.where, kill)

    def _no_session(self, error: paramiko.ChannelException) -> LinkError:
        """Say which setting of the board's server it is: labgrid and Ansible leave people with "open failed"."""
        return LinkError(
            f"{self.device.name} opens no further session on a connection",
            wanted="two at a time: one that holds the board, one in which the model runs",
            found=f"{error.text} (reason {error.code})",
            where=self.where,
            hint="set MaxSessions to 2 or more in its /etc/ssh/sshd_config (10 unless it says another), restart sshd",
        )

    def _transport(self, bulk: bool) -> paramiko.Transport:
        transport = self._routes[bulk].transport if bulk in self._routes else None
        if transport is not None:
            return transport
        if bulk in self._routes:
            if not bulk:  # before close it is not made anew: the device's lock went with it
                raise LinkLost("the connection dropped", where=self.where)
            self._routes.pop(bulk).close()  # hosts on the way may still be connected
        from .connection import connect

        route = connect(self.device, aes=self._aes, config=self._config)
        self._routes[bulk] = route
        self.where = str(route)
        if route.transport is None:
            raise LinkLost("the connection dropped", where=self.where)
        return route.transport

    def learn(self, facts: BoardFacts) -> None:
        """Choose the cipher by whether the board's CPU has instructions for AES."""
        self._aes = "aes" in facts.features

    def abort(self) -> None:
        """Close the sockets under everything, so that whatever waits for them fails at once."""
        for route in list(self._routes.values()):
            route.abort()

    def tunnel_back(self, port: int) -> BackTunnel:
        """Have a port of the board's loopback lead to one of this machine's, over the connection of the daemon.

        There is one at a time: one that was there before is closed.

        Args:
            port: this machine's.

        Raises:
            TunnelError: the board's server refuses, or would open the port to its network.
            LinkError: the board cannot be reached.
        """
        from .tunnel import BackTunnel

        if self._tunnel is not None:  # a connection has one handler of what the board opens
            self._tunnel.close()
        self._tunnel = BackTunnel(self.device.name, port, lambda: self._transport(bulk=False), self.start)
        self._tunnel.open()
        return self._tunnel

    def close(self) -> None:
        """Log out."""
        while self._routes:
            self._routes.popitem()[1].close()
