"""The way to a board over SSH: name, TCP, host key, login."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import fabric
import paramiko

from ...device.device import Device
from ...errors import HilgateError, HostKeyError
from ...links.ssh.connection import connect
from ...links.ssh.route import find_route
from ..report import FAILED, OK, SKIPPED, Check, failed, skipped
from ..trusting import host_keys

TCP_S = 5.0
STEPS = ("name", "TCP", "host key", "login")


def state(device: Device) -> None:
    """Leave it to the board itself, which can be asked."""


def checks(device: Device) -> Iterator[Check]:
    """Check each step to the board: its name, its port, its host key, and whether it lets us in."""
    try:
        with closing(find_route(device.host or "", {})) as route:
            first, by_command = route.hops[0], route.command is not None
    except HilgateError as error:  # a ~/.ssh/config that cannot be understood
        yield failed("name", error)
        yield from skipped(STEPS[1:], "name")
        return
    if by_command:
        for name in STEPS[:2]:
            yield Check(name, SKIPPED, "a ProxyCommand finds the way")
    else:
        for name, look in (("name", _resolve), ("TCP", _answer)):
            check = look(first)
            yield check
            if check.mark == FAILED:
                yield from skipped(STEPS[STEPS.index(name) + 1 :], name)
                return
    yield from _log_in(device)


def _resolve(first: fabric.Connection) -> Check:
    try:
        found = socket.getaddrinfo(first.host, first.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        hint = "name an address, or a host of ~/.ssh/config, as device.host"
        return Check("name", FAILED, f"{first.host} does not resolve: {error}", hint)
    return Check("name", OK, f"{first.host} is {found[0][4][0]}")


def _answer(first: fabric.Connection) -> Check:
    where = f"{first.host}, port {first.port}"
    try:
        socket.create_connection((first.host, first.port), timeout=TCP_S).close()
    except ConnectionRefusedError:
        return Check("TCP", FAILED, f"{where} refuses: nothing listens there", "start its SSH server; is it this port?")
    except OSError as error:
        reason = f"no answer in {TCP_S:g} s" if isinstance(error, TimeoutError) else str(error)
        hint = "is it switched on, in this network, and not behind a firewall?"
        return Check("TCP", FAILED, f"{where}: {reason}", hint)
    return Check("TCP", OK, f"{where} answers")


def _log_in(device: Device) -> Iterator[Check]:
    try:
        route = connect(device)
    except HostKeyError as error:
        yield failed("host key", error)
        yield from skipped(("login",), "host key")
        return
    except HilgateError as error:
        # The server's key is verified before anyone logs in.
        verified = isinstance(error.__cause__, paramiko.AuthenticationException)
        yield Check("host key", OK, "as known") if verified else Check("host key", SKIPPED, "it did not come to that")
        yield failed("login", error)
        return
    with closing(route):
        keys = host_keys(route, device)
        way = [f"{hop.user}@{hop.host}" for hop in route.hops]
    yield Check("host key", OK, "\n".join(f"{key.key.get_name()} {key.fingerprint} ({key.name})" for key in keys))
    yield Check("login", OK, " → ".join(way))
