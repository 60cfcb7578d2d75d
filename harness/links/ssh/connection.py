"""A connection to a board: Fabric's, with what it leaves out. Host keys are verified at every hop, every wait ends."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Callable
from typing import Any

import fabric
import paramiko

from ...device import Device
from ...errors import HostKeyError, LinkError
from .hostkeys import KnownHosts, Unverified

# For a TCP connection, and then for the exchange of keys (Fabric makes an int of it).
CONNECT_TIMEOUT_S = 15
BANNER_TIMEOUT_S = 15.0
AUTH_TIMEOUT_S = 30.0
# paramiko's own is an hour.
CHANNEL_TIMEOUT_S = 15.0
# Sent when nothing else is: firewalls forget connections on which nothing moves.
KEEPALIVE_S = 15
# Sent data that is not acknowledged for so long ends the connection; the kernel's own patience is a quarter of an hour.
TCP_USER_TIMEOUT_MS = 20_000

# With AES in hardware GCM needs no second pass for a hash; without (a Pi 4) counter mode is the cheaper one. paramiko
# has no ChaCha20. Measured in benchmarks/ssh_upload.
GCM = ("aes256-gcm@openssh.com", "aes128-gcm@openssh.com")
CTR = ("aes128-ctr", "aes256-ctr", "aes192-ctr")

# paramiko logs with tracebacks what it raises too, and logging prints that where nobody has asked for it.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


def connect(device: Device, *, aes: bool = True) -> fabric.Connection:
    """An open connection to a device's host, as ssh_config names it.

    Args:
        aes: whether the device's CPU has instructions for AES.

    Raises:
        HostKeyError: a host key on the way is unknown, or another than the one that is known.
        LinkError: it cannot be reached, or it refuses us.
    """
    connection = _prepare(device.host or "", aes)
    known = KnownHosts(device.known_hosts)
    gateway = connection
    while isinstance(gateway, fabric.Connection):
        known.guard(gateway.client, gateway.host, gateway.port)
        gateway = gateway.gateway
    try:
        _open(connection, device, known)
    except BaseException:
        with contextlib.suppress(Exception):
            connection.close()
        raise
    return connection


def _prepare(host: str, aes: bool) -> fabric.Connection:
    config = fabric.Config(
        overrides={
            "run": {"in_stream": False},
            "timeouts": {"connect": CONNECT_TIMEOUT_S},
            "connect_kwargs": {
                "banner_timeout": BANNER_TIMEOUT_S,
                "auth_timeout": AUTH_TIMEOUT_S,
                "channel_timeout": CHANNEL_TIMEOUT_S,
                "transport_factory": _transport_factory(aes),
            },
        }
    )
    connection = fabric.Connection(host, config=config)
    # ssh's own word for "these keys only": an agent full of others uses up the server's patience.
    if str(connection.ssh_config.get("identitiesonly", "no")).lower() == "yes":
        connection.connect_kwargs.update(allow_agent=False, look_for_keys=False)
    return connection


def _transport_factory(aes: bool) -> Callable[..., paramiko.Transport]:
    def make(sock: Any, **options: Any) -> paramiko.Transport:
        transport = paramiko.Transport(sock, **options)
        security = transport.get_security_options()
        first = GCM + CTR if aes else CTR + GCM
        security.ciphers = (*first, *(name for name in security.ciphers if name not in first and "cbc" not in name))
        transport.handshake_timeout = CONNECT_TIMEOUT_S
        if isinstance(sock, socket.socket):  # a hop further on it is a channel
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, TCP_USER_TIMEOUT_MS)
        return transport

    return make


def _open(connection: fabric.Connection, device: Device, known: KnownHosts) -> None:
    where = f"{describe(connection)} ({device.path}: device.host)"
    what = f"{device.name} cannot be reached"
    try:
        connection.open()
    except (Unverified, paramiko.BadHostKeyException) as error:
        raise known.error(error, device) from error
    except socket.gaierror as error:
        hint = "name an address, or a host of ~/.ssh/config"
        raise LinkError(f"{what}: the name does not resolve", found=str(error), where=where, hint=hint) from error
    except paramiko.PasswordRequiredException as error:
        hint = "hilgate asks for nothing while it runs: load the key into an agent, ssh-add"
        raise LinkError(f"{what}: a key file needs its passphrase", found=str(error), where=where, hint=hint) from error
    except paramiko.AuthenticationException as error:
        found = f"{error} Tried: {_tried(connection)}"
        hint = f"try it by hand: ssh {device.host}; to copy your key there: ssh-copy-id {device.host}"
        raise LinkError(f"{device.name} refuses our keys", found=found, where=where, hint=hint) from error
    except TimeoutError as error:
        found = f"no answer in {CONNECT_TIMEOUT_S} s"
        hint = "is it switched on, in this network, and not behind a firewall?"
        raise LinkError(what, found=found, where=where, hint=hint) from error
    except (OSError, EOFError, paramiko.SSHException) as error:
        found = f"{type(error).__name__}: {error}"
        hint = f"try it by hand: ssh {device.host}"
        raise LinkError(what, found=found, where=where, hint=hint) from error
    if connection.transport is not None:
        connection.transport.set_keepalive(KEEPALIVE_S)


def _tried(connection: fabric.Connection) -> str:
    files = connection.connect_kwargs.get("key_filename") or []
    only = connection.connect_kwargs.get("look_for_keys") is False
    tried = [*files, *([] if only else ["the keys of the SSH agent", "~/.ssh/id_*"])]
    return f"user {connection.user}; " + ", ".join(tried)


def describe(connection: fabric.Connection) -> str:
    """The other end in words; with the host that it is reached through."""
    text = f"{connection.user}@{connection.host}:{connection.port}"
    if isinstance(connection.gateway, fabric.Connection):
        text += f" through {describe(connection.gateway)}"
    return text


__all__ = ["CHANNEL_TIMEOUT_S", "HostKeyError", "connect", "describe"]
