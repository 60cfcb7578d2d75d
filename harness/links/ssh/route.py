"""The way to a host, as ssh_config has it: the hosts that it leads through (ProxyJump), or a program (ProxyCommand).

Fabric would read ssh_config, too, but with paramiko's parser (see settings); it takes the hosts of a ProxyJump in
reverse, drops one that has the board's own address, and does not notice when a ProxyCommand ends. So it is given what
ssh has read, and the hops and the command are made here.
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
from typing import IO, Any, Self

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
        """The connection to the host itself."""
        return self.hops[-1]

    @property
    def transport(self) -> paramiko.Transport | None:
        """The host's transport, through which programs are started; None unless all hops are connected."""
        return self.last.transport if all(hop.is_connected for hop in self.hops) else None

    def __str__(self) -> str:
        first, *others = [f"{hop.user}@{hop.host}:{hop.port}" for hop in reversed(self.hops)]
        return " through ".join([first, *others, *(["its ProxyCommand"] if self.command else [])])

    def abort(self) -> None:
        """Close the transports, so that whatever waits for them fails at once.

        The nearest one comes first: once its socket is closed, closing the others cannot wait for anything.
        """
        for hop in self.hops:
            transport = hop.client.get_transport()
            if transport is not None:
                with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
                    transport.close()

    def close(self) -> None:
        """Close all hops, also such as are opened only in part, which Fabric's own close leaves as they are."""
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
    """A running ProxyCommand. Made by ``start``.

    Attributes:
        program: the program's name. Messages have no more of the command: some are given a password.
        socket: our end of the pair of sockets that is its stdin and stdout.
    """

    def __init__(self, program: str, process: subprocess.Popen[bytes], ours: socket.socket, stderr: IO[bytes]) -> None:
        """Hold a command that was started; ``start`` starts one."""
        self.program, self.socket = program, ours
        self._process, self._said = process, stderr

    @classmethod
    def start(cls, text: str) -> Self:
        """Start a ProxyCommand.

        Args:
            text: the command, for a shell.

        Raises:
            OSError: it cannot be started.
        """
        stderr = tempfile.TemporaryFile()  # noqa: SIM115  # for as long as the command runs
        ours, theirs = socket.socketpair()
        with theirs:
            # Without a terminal it cannot ask for a password, and is not ended by a Ctrl-C, which is ours to handle.
            process = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {text}"],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=stderr,
                start_new_session=True,
            )
        return cls(text.split(maxsplit=1)[0], process, ours, stderr)

    def said(self) -> str:
        """Return the end of its stderr."""
        self._said.seek(0)
        return self._said.read().decode(errors="replace").strip()[-2000:]

    def close(self) -> None:
        """End the command."""
        self.socket.close()
        for number in (None, signal.SIGTERM, signal.SIGKILL):
            if number is not None:
                os.killpg(self._process.pid, number)  # not waited for yet, so the number is still its own
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_PATIENCE_S)
                break
        self._said.close()


def find_route(host: str, fabric_settings: dict[str, Any], config: Path | None = None) -> Route:
    """Find the way to a host; a ProxyCommand is started, nothing is connected yet.

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
    command = Command.start(text) if text else None
    if command is not None:
        hops[0].connect_kwargs["sock"] = command.socket
    return Route(hops, command)


def _hops(host: str, fabrics: fabric.Config, config: Path | None, before: tuple[str, ...]) -> list[fabric.Connection]:
    """Make the connections to a host, through the hosts of its ProxyJump, if it has one."""
    settings = read_settings(host, config)
    name = f"{settings.user}@{settings.host}:{settings.port}"
    if name in before:
        circle = " -> ".join([*before, name])
        hint = 'ProxyJump under "Host *" counts for the jump host too: write "ProxyJump none" for that one, further up'
        raise InputError("the ProxyJump of ssh_config leads in a circle", found=circle, hint=hint)
    if not settings.jumps:
        return [_connection(settings, fabrics, None)]
    # As in ssh, the first host is reached by its own settings, and the others through the one before.
    hops = _hops(settings.jumps[0], fabrics, config, (*before, name))
    for jump in settings.jumps[1:]:
        hops.append(_connection(replace(read_settings(jump, config), jumps=(), command=""), fabrics, hops[-1]))
    return [*hops, _connection(settings, fabrics, hops[-1])]


def _connection(settings: Settings, fabrics: fabric.Config, gateway: fabric.Connection | None) -> fabric.Connection:
    """Make Fabric's connection to one host; its settings are in its ``ssh_config``."""
    connection = fabric.Connection(
        settings.host,
        user=settings.user,
        port=settings.port,
        config=fabrics.clone(),
        gateway=gateway or False,  # None would let Fabric look for one
        forward_agent=False,  # no program of ours needs it, and root on the board could use it
        connect_timeout=settings.timeout_s or None,
        connect_kwargs={},
    )
    connection.original_host, connection.ssh_config = settings.name, settings
    return connection
