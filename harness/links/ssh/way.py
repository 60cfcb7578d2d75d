"""Checks the way to a board step by step: name, TCP, host key, login."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import fabric
import paramiko

from ...device.device import Device
from ...errors import HilgateError, HostKeyError
from .._link import WayCheck, WayStatus, skip_checks
from .connection import connect, shown_keys
from .route import find_route

TCP_S = 5.0
NAMES = ("name", "TCP", "host key", "login")


def check_way(device: Device) -> Iterator[WayCheck]:
    """Check whether the host's name resolves, its SSH server answers with a known key, and it lets us in."""
    try:
        with closing(find_route(device.host or "", {})) as route:
            first, is_command = route.hops[0], route.command is not None
    except HilgateError as error:  # a ~/.ssh/config that cannot be understood
        yield WayCheck(name="name", status=WayStatus.FAILED, error=error)
        yield from skip_checks(NAMES[1:], "name")
        return
    if is_command:
        for name in NAMES[:2]:
            yield WayCheck(name=name, status=WayStatus.SKIPPED, found="a ProxyCommand finds the way")
    else:
        for name, check in (("name", _resolve), ("TCP", _connect)):
            result = check(first)
            yield result
            if result.status is WayStatus.FAILED:
                yield from skip_checks(NAMES[NAMES.index(name) + 1 :], name)
                return
    yield from _log_in(device)


def _resolve(first: fabric.Connection) -> WayCheck:
    try:
        addresses = socket.getaddrinfo(first.host, first.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        found = f"{first.host} does not resolve: {error}"
        hint = "name an address, or a host of ~/.ssh/config, as device.host"
        return WayCheck(name="name", status=WayStatus.FAILED, found=found, hint=hint)
    return WayCheck(name="name", found=f"{first.host} is {addresses[0][4][0]}")


def _connect(first: fabric.Connection) -> WayCheck:
    where = f"{first.host}, port {first.port}"
    try:
        socket.create_connection((first.host, first.port), timeout=TCP_S).close()
    except ConnectionRefusedError:
        found, hint = f"{where} refuses: nothing listens there", "start its SSH server; is it this port?"
        return WayCheck(name="TCP", status=WayStatus.FAILED, found=found, hint=hint)
    except OSError as error:
        reason = f"no answer in {TCP_S:g} s" if isinstance(error, TimeoutError) else str(error)
        hint = "is it switched on, in this network, and not behind a firewall?"
        return WayCheck(name="TCP", status=WayStatus.FAILED, found=f"{where}: {reason}", hint=hint)
    return WayCheck(name="TCP", found=f"{where} answers")


def _log_in(device: Device) -> Iterator[WayCheck]:
    try:
        route = connect(device)
    except HostKeyError as error:
        yield WayCheck(name="host key", status=WayStatus.FAILED, error=error)
        yield from skip_checks(("login",), "host key")
        return
    except HilgateError as error:
        # The server's key is verified before anyone logs in.
        if isinstance(error.__cause__, paramiko.AuthenticationException):
            yield WayCheck(name="host key", found="as known")
        else:
            yield WayCheck(name="host key", status=WayStatus.SKIPPED, found="it did not come to that")
        yield WayCheck(name="login", status=WayStatus.FAILED, error=error)
        return
    with closing(route):
        keys = shown_keys(route, device)
        hops = [f"{hop.user}@{hop.host}" for hop in route.hops]
    lines = (f"{key.key.get_name()} {key.fingerprint} ({key.name})" for key in keys)
    yield WayCheck(name="host key", found="\n".join(lines))
    yield WayCheck(name="login", found=" → ".join(hops))
