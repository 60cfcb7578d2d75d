"""The way to a host, as ssh_config has it: the hosts that it leads through (ProxyJump), or a program (ProxyCommand).

Fabric would read ssh_config, too, but by paramiko's parser (see settings), takes the hosts of a ProxyJump in reverse,
and drops one that has the board's own address; and a ProxyCommand that ends is not noticed. So it is told what ssh has
read, and both are made here and given to it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fabric
import paramiko

from ...errors import InputError
from .settings import Settings, read_settings

END_PATIENCE_S = 1.0


@dataclass(frozen=True)
class Route:
    """Connections, not yet opened: the first is made directly, each other one through the one before."""

    hops: Sequence[fabric.Connection]
    command: Command | None

    @property
    def last(self) -> fabric.Connection:
        """The one that it is all for."""
        return self.hops[-1]

    @property
    def transport(self) -> paramiko.Transport | None:
        """What programs are started through, while it is open."""
        return self.last.transport if all(hop.is_connected for hop in self.hops) else None

    def __str__(self) -> str:
        first, *others = [f"{hop.user}@{hop.host}:{hop.port}" for hop in reversed(self.hops)]
        return " through ".join([first, *others, *(["its ProxyCommand"] if self.command else [])])

    def abort(self) -> None:
        """Close what is under it: whoever waits for it is told at once.

        The first one first: with its socket closed, nothing is sent any more that could be waited for.
        """
        for hop in self.hops:
            transport = hop.client.get_transport()
            if transport is not None:
                with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
                    transport.close()

    def close(self) -> None:
        """Let go of all of it, also of what was opened by half: Fabric's own close leaves that as it is."""
        for hop in self.hops:
            transport = hop.client.get_transport()
            with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
                hop.client.close()
            if transport is not None and transport.ident is not None:  # one that was never started cannot be joined
                transport.join(END_PATIENCE_S)
                transport.packetizer.complete_handshake()  # ends a thread that would wait for it
        if self.command is not None:
            self.command.close()


class Command:
    """A ProxyCommand that runs, with its own end of a pair of sockets as stdin and stdout."""

    def __init__(self, text: str) -> None:
        self.program = text.split(maxsplit=1)[0]  # not all of it in messages: some are given a password
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # for as long as it runs
        self.socket, theirs = socket.socketpair()
        with theirs:
            # No terminal: nobody is asked for a password, and a Ctrl-C is ours to pass on.
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {text}"],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=self._said,
                start_new_session=True,
            )

    def said(self) -> str:
        """The end of its stderr."""
        self._said.seek(0)
        return self._said.read().decode(errors="replace").strip()[-2000:]

    def close(self) -> None:
        """End it."""
        self.socket.close()
        for number in (None, signal.SIGTERM, signal.SIGKILL):
            if number is not None:
                os.killpg(self._process.pid, number)  # not waited for yet, so the number is still its own
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_PATIENCE_S)
                break
        self._said.close()


def find_route(host: str, fabric_settings: dict[str, Any], config: Path | None = None) -> Route:
    """The way to a host.

    Args:
        host: an ssh_config name or [USER@]ADDRESS[:PORT].
        fabric_settings: for Fabric's configuration.
        config: an ssh_config that is read in place of the user's and the system's.

    Raises:
        InputError: ssh_config cannot be understood, or leads in a circle.
    """
    fabrics = fabric.Config(overrides=fabric_settings, ssh_config=paramiko.SSHConfig())  # an empty one: it reads none
    hops = _hops(host, fabrics, config, ())
    text = hops[0].ssh_config.command
    command = Command(text) if text else None
    if command is not None:
        hops[0].connect_kwargs["sock"] = command.socket
    return Route(hops, command)


def _hops(host: str, fabrics: fabric.Config, config: Path | None, before: tuple[str, ...]) -> list[fabric.Connection]:
    """The connections to a host, by the ProxyJump of its own settings, if there is one."""
    settings = read_settings(host, config)
    name = f"{settings.user}@{settings.host}:{settings.port}"
    if name in before:
        circle = " -> ".join([*before, name])
        hint = 'ProxyJump under "Host *" counts for the jump host too: write "ProxyJump none" for that one, further up'
        raise InputError("the ProxyJump of ssh_config leads in a circle", found=circle, hint=hint)
    if not settings.jumps:
        return [_connection(settings, fabrics, None)]
    # As with ssh, the settings of the first one say how it is reached; the others are reached through it.
    hops = _hops(settings.jumps[0], fabrics, config, (*before, name))
    for jump in settings.jumps[1:]:
        hops.append(_connection(replace(read_settings(jump, config), jumps=(), command=""), fabrics, hops[-1]))
    return [*hops, _connection(settings, fabrics, hops[-1])]


def _connection(settings: Settings, fabrics: fabric.Config, gateway: fabric.Connection | None) -> fabric.Connection:
    """Fabric's connection to one host; what ssh_config says of it is in its ``ssh_config``."""
    connection = fabric.Connection(
        settings.host,
        user=settings.user,
        port=settings.port,
        config=fabrics.clone(),
        gateway=gateway or False,  # None would let Fabric look for one
        forward_agent=False,  # no program of ours needs it, and whoever is root there could use it
        connect_timeout=settings.timeout_s or None,
        connect_kwargs={},
    )
    connection.original_host, connection.ssh_config = settings.name, settings
    return connection
