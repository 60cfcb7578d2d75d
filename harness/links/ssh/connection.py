"""Connections to boards: Fabric's, with host keys verified at every hop and every wait bounded."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fabric
import paramiko

from ...device.device import Device
from ...errors import LinkError
from .channel_bound import CHANNEL_TIMEOUT_S
from .hostkeys import HostKey, Identity, KnownHosts, Unverified
from .login import AUTH_TIMEOUT_S, Keys, Refused
from .route import Route, find_route

# For the TCP connection, and again for the key exchange; ssh_config's ConnectTimeout takes precedence.
CONNECT_TIMEOUT_S = 15
# When keys are exchanged anew, data in flight has to arrive first: that takes minutes over a slow radio link.
REKEY_TIMEOUT_S = 120.0
# Keepalives, because firewalls forget idle connections.
KEEPALIVE_S = 15
# Data that is not acknowledged for this long ends the connection (tcp(7)); the kernel's limit is a quarter of an hour.
TCP_USER_TIMEOUT_MS = 20_000
FOUND_CHARACTERS = 2000

# With AES in hardware GCM needs no second pass for a hash; without (a Pi 4) counter mode is the cheaper one. paramiko
# has no ChaCha20. Measured in benchmarks/board_upload.
GCM = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
CTR = ("aes128-ctr", "aes256-ctr", "aes192-ctr")

# paramiko logs, with tracebacks, what it also raises; logging prints that where no handler is set, and pytest beside
# each failure (issue 17). To see it, set the level of the logger paramiko.transport.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)


def connect(device: Device, *, aes: bool = True, config: Path | None = None) -> Route:
    """Open the connection to a device's host, as ssh_config names it.

    Args:
        device: the device, with the host's name and the file of pinned keys.
        aes: whether the device's CPU has instructions for AES.
        config: an ssh_config that is read in place of the user's and the system's.

    Raises:
        HostKeyError: a host key on the way is unknown, or another than the one that is known.
        InputError: ssh_config or a file of known hosts cannot be understood.
        LinkError: it cannot be reached, or it refuses us.
    """
    known = KnownHosts.read(device.known_hosts)
    settings = {"timeouts": {"connect": CONNECT_TIMEOUT_S}, "authentication": {"strategy_class": Keys}}
    route = find_route(device.host or "", settings, config)
    try:
        for number in range(len(route.hops)):
            way = Route(route.hops[: number + 1], route.command)
            subject = device.name if way.last is route.last else f"{way.last.original_host}, a host on the way,"
            _open(way, subject, device, known, aes)
    except BaseException:
        route.close()
        raise
    return route


def _open(way: Route, subject: str, device: Device, known: KnownHosts, aes: bool) -> None:
    """Open the last connection of a route, or of a part of one; those before it are open.

    Args:
        way: the route, up to this connection.
        subject: what is at its end, in words.
        device: whose connection it is.
        known: the known host keys.
        aes: whether the device's CPU has instructions for AES.
    """
    hop = way.last
    identity = known.identity(hop.ssh_config)
    # A client that knows no host key asks its policy about each one. Fabric's own policy accepts them all.
    hop.client.set_missing_host_key_policy(identity)
    hop.connect_timeout = hop.connect_timeout or CONNECT_TIMEOUT_S  # 0 would be without end
    hop.connect_kwargs.update(
        banner_timeout=hop.connect_timeout,
        auth_timeout=AUTH_TIMEOUT_S,
        channel_timeout=CHANNEL_TIMEOUT_S,
        transport_factory=_transport_factory(aes, identity, hop.connect_timeout),
    )
    began = time.monotonic()
    try:
        hop.open()
    except Unverified as error:
        raise known.error(error, f"{way} ({device.path}: device.host)", device.name) from error
    except (OSError, EOFError, paramiko.SSHException) as error:
        waited = time.monotonic() - began >= hop.connect_timeout
        raise _explained(error, way, subject, device, waited) from error
    hop.transport.set_keepalive(KEEPALIVE_S)
    hop.transport.clear_to_send_timeout = REKEY_TIMEOUT_S


def _transport_factory(aes: bool, identity: Identity, timeout: float) -> Callable[..., paramiko.Transport]:
    def make(sock: Any, **options: Any) -> paramiko.Transport:
        transport = paramiko.Transport(sock, **options)
        security = transport.get_security_options()
        first = GCM + CTR if aes else CTR + GCM
        security.ciphers = (*first, *(name for name in security.ciphers if name not in first and "cbc" not in name))
        security.key_types = identity.preferred(security.key_types)
        transport.handshake_timeout = timeout
        if isinstance(sock, socket.socket) and sock.family != socket.AF_UNIX:  # not a ProxyCommand's, nor a channel
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, TCP_USER_TIMEOUT_MS)
        return transport

    return make


def _explained(error: Exception, way: Route, subject: str, device: Device, waited: bool) -> LinkError:
    """Explain why a connection could not be made.

    Args:
        error: what was raised.
        way: the route, up to this connection.
        subject: what is at its end, in words.
        device: whose connection it is.
        waited: whether it took as long as it may.
    """
    hop = way.last
    what, by_hand = f"{subject} cannot be reached", f"try it by hand: ssh {_words(hop)}"
    found = f"{type(error).__name__}: {error}"[:FOUND_CHARACTERS]  # another program's greeting stands in it, whole
    if isinstance(error, socket.gaierror):
        what, hint = f"{what}: the name does not resolve", "name an address, or a host of ~/.ssh/config"
    elif isinstance(error, Refused):
        what, found, hint = f"{subject} refuses our keys", f"user {hop.user}\n{error}", _login_hint(error, hop, by_hand)
    elif isinstance(error, paramiko.ChannelException):
        what, hint = f"{what} from {way.hops[-2].original_host}", "is it switched on, and is sshd at that port?"
    elif isinstance(error, ConnectionRefusedError | paramiko.ssh_exception.NoValidConnectionsError):
        found, hint = f"nothing listens at {hop.host}, port {hop.port}", "is it switched on, and is sshd at that port?"
    elif waited or isinstance(error, TimeoutError):
        found = f"no answer in {hop.connect_timeout} s ({error or 'timed out'})"
        hint = "is it switched on, in this network, and not behind a firewall?"
    else:
        hint = by_hand
    if way.command is not None:
        found += f"\nthe ProxyCommand, {way.command.program}, on its stderr: {way.command.said() or '(nothing)'}"
    return LinkError(what, found=found, where=f"{way} ({device.path}: device.host)", hint=hint)


def _login_hint(error: Refused, hop: fabric.Connection, by_hand: str) -> str:
    if error.fido:
        return (
            "hilgate waits for nobody to touch a token, and logs in several times in a run: make it a key of its own, "
            f"ssh-keygen -t ed25519, and copy it there: ssh-copy-id {_words(hop)}"
        )
    if error.locked:
        return "hilgate asks for nothing while it runs: load the key into an agent, ssh-add"
    if error.closed:
        name = hop.original_host
        return f"it has had enough of keys: name the right one, IdentityFile and IdentitiesOnly yes under Host {name}"
    return f"{by_hand}; to copy your key there: ssh-copy-id {_words(hop)}"


def _words(hop: fabric.Connection) -> str:
    """Write a hop as arguments of ssh and ssh-copy-id: a name of ssh_config, or an address; they know no HOST:PORT."""
    if hop.original_host != hop.host:
        return str(hop.original_host)
    return f"{f'-p {hop.port} ' if hop.port != paramiko.config.SSH_PORT else ''}{hop.user}@{hop.host}"


def shown_keys(route: Route, device: Device) -> list[HostKey]:
    """List the keys that the hosts of an open route showed, the nearest host's first."""
    known = KnownHosts.read(device.known_hosts)
    names = (known.identity(hop.ssh_config).name for hop in route.hops)
    return [HostKey(name, hop.transport.get_remote_server_key()) for name, hop in zip(names, route.hops, strict=True)]
