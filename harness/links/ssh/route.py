"""The way to a host, as ssh_config has it: the hosts that it leads through (ProxyJump), or a program (ProxyCommand).

Fabric reads ssh_config, but takes the hosts of a ProxyJump in reverse, drops one that has the board's own address, and
knows no "none"; and a ProxyCommand that ends is not noticed. So both are made here and given to it.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fabric
import paramiko

from ...errors import InputError

END_PATIENCE_S = 1.0
SPEC = re.compile(r"(?:ssh://)?(?:(?P<user>.+)@)?(?P<host>\[[^]]+\]|[^:]+|[^:]*:[^:]*:.*?)(?::(?P<port>\d+))?/?")
# A shell that is given a ProxyCommand would see more than a name in these (CVE-2023-51385).
UNSAFE = re.compile(r"""[\s'`"$\\;&<>|(){}]""")


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


def find_route(host: str, settings: dict[str, Any], config: Path | None = None) -> Route:
    """The way to a host.

    Args:
        host: an ssh_config name or [USER@]ADDRESS[:PORT].
        settings: for Fabric's configuration.
        config: an ssh_config that is read in place of the user's and the system's.

    Raises:
        InputError: ssh_config cannot be understood, or leads in a circle.
    """
    try:
        hops = _hops(host, fabric.Config(overrides=settings, runtime_ssh_path=config and str(config)), ())
    except (OSError, ValueError, KeyError, ImportError, paramiko.SSHException) as error:
        found = f"{type(error).__name__}: {error}"
        hint = f"look at what ssh makes of it: ssh -G {host}"
        what = f"the settings for {host} cannot be understood"
        raise InputError(
            what, found=found, where=str(config or "~/.ssh/config or /etc/ssh/ssh_config"), hint=hint
        ) from error
    text = None if _jumps(hops[0]) else hops[0].ssh_config.get("proxycommand")
    command = Command(text) if text else None
    if command is not None:
        hops[0].connect_kwargs["sock"] = command.socket
    return Route(hops, command)


def _hops(host: str, config: fabric.Config, before: tuple[str, ...]) -> list[fabric.Connection]:
    """The connections to a host, by the ProxyJump of its own settings, if there is one."""
    connection = _connection(host, config, None)
    name = f"{connection.user}@{connection.host}:{connection.port}"
    if name in before:
        circle = " -> ".join([*before, name])
        hint = 'ProxyJump under "Host *" counts for the jump host too: write "ProxyJump none" for that one, further up'
        raise InputError("the ProxyJump of ssh_config leads in a circle", found=circle, hint=hint)
    jumps = _jumps(connection)
    if not jumps:
        return [connection]
    # As with ssh, the settings of the first one say how it is reached; the others are reached through it.
    hops = _hops(jumps[0], config, (*before, name))
    for jump in jumps[1:]:
        hops.append(_connection(jump, config, hops[-1]))
    connection.gateway = hops[-1]
    return [*hops, connection]


def _jumps(connection: fabric.Connection) -> list[str]:
    text = connection.ssh_config.get("proxyjump", "none")
    return [] if text.lower() == "none" else [jump.strip() for jump in text.split(",")]


def _connection(host: str, config: fabric.Config, gateway: fabric.Connection | None) -> fabric.Connection:
    found = SPEC.fullmatch(host)
    if found is None or UNSAFE.search(host):
        raise ValueError(f"{host!r} is not [USER@]HOST[:PORT]")
    return fabric.Connection(
        found["host"].strip("[]"),
        user=found["user"],
        port=int(found["port"]) if found["port"] else None,
        config=config.clone(),
        gateway=gateway or False,  # None would let Fabric look for one
        forward_agent=False,  # no program of ours needs it, and whoever is root there could use it
        connect_kwargs={},
    )
