"""Link ``ssh``: a board on the network, through Fabric.

Two connections: one for the keeper and the agents, which is always open, and one for bulk transfers, opened when there
is something to send. A channel that streams gigabytes makes the two ends exchange keys anew, and would delay a
measurement's calls.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable
from typing import Any

import fabric
import paramiko

from ...device import Device
from ...errors import LinkError, LinkLost
from .connection import CHANNEL_TIMEOUT_S, connect, describe
from .process import Process

STORE = "~/.cache/hilgate"


class Link:
    """Programs on a board, over SSH."""

    shares_files = False
    store = STORE
    python: str | None = None

    def __init__(self, device: Device) -> None:
        self.device = device
        self.where = device.host or ""
        self._aes = True
        self._connections: dict[bool, fabric.Connection] = {}

    def start(self, script: str, *, bulk: bool = False, kill: Callable[[], None] | None = None) -> Process:
        """Start a script on the board, without a terminal, whatever its login shell is.

        Raises:
            HostKeyError: a host key on the way is unknown, or another than the one that is known.
            LinkError: the board cannot be reached.
        """
        transport = self._transport(bulk)
        # Not the script's own shell: its parent tells by which signal it ended, which paramiko does not hand on.
        command = f"/bin/sh -c {shlex.quote(f'({script}); exit $?')}"
        try:
            channel = transport.open_session(timeout=CHANNEL_TIMEOUT_S)
            channel.settimeout(CHANNEL_TIMEOUT_S)
            channel.exec_command(command)
        except (paramiko.SSHException, OSError, EOFError) as error:
            what = f"a program cannot be started on {self.device.name}"
            raise LinkLost(what, found=f"{type(error).__name__}: {error}", where=self.where) from error
        return Process(channel, self.where, kill)

    def _transport(self, bulk: bool) -> paramiko.Transport:
        connection = self._connections.get(bulk)
        if connection is None or not connection.is_connected:
            connection = connect(self.device, aes=self._aes)
            self._connections[bulk] = connection
            self.where = describe(connection)
        transport: paramiko.Transport | None = connection.transport
        if transport is None:
            raise LinkError(f"no connection to {self.device.name}", where=self.where)
        return transport

    def learn(self, facts: dict[str, Any]) -> None:
        """Whether the board's CPU has instructions for AES decides what is sent in which cipher."""
        self._aes = bool(facts.get("aes", True))

    def abort(self) -> None:
        """Close the sockets under everything: whoever waits for them is told at once."""
        for connection in self._connections.values():
            for hop in hops(connection):
                if hop.transport is not None:
                    with contextlib.suppress(OSError, EOFError):
                        hop.transport.close()

    def close(self) -> None:
        """Log out."""
        self.abort()
        for connection in self._connections.values():
            for hop in hops(connection):
                with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
                    hop.close()
        self._connections.clear()


def hops(connection: fabric.Connection) -> list[fabric.Connection]:
    """A connection and the ones that it goes through, itself first."""
    found = [connection]
    while isinstance(found[-1].gateway, fabric.Connection):
        found.append(found[-1].gateway)
    return found
