"""The address that is listened on."""

from __future__ import annotations

import errno
import ipaddress
import socket

from ..errors import InputError

BACKLOG = 128


def bind(address: str, port: int) -> socket.socket:
    """Take an address, before anything else is done; nobody can connect until it is listened on.

    Args:
        address: an IP address.
        port: 0 for any that is free.

    Raises:
        InputError: it is no address of this machine, or the port is in use or reserved.
    """
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(address.partition("%")[0]).version == 6 else socket.AF_INET
    except ValueError:
        hint = "0.0.0.0 for all of this machine's addresses; hostname -I lists them"
        raise InputError(
            "this is no address", wanted="an IP address", found=repr(address), where="--bind", hint=hint
        ) from None
    # With TCP named: otherwise asyncio does not set TCP_NODELAY, and an answer waits 40 ms for its first part's ACK.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a server that has just ended is no obstacle
        made.bind((address, port))
    except (OSError, OverflowError) as error:
        made.close()
        raise _refusal(address, port, error) from error
    return made


def listen(made: socket.socket) -> None:
    """Let callers connect.

    Raises:
        InputError: another program listens there since.
    """
    try:
        made.listen(BACKLOG)
    except OSError as error:
        address, port = made.getsockname()[:2]
        raise _refusal(address, port, error) from error


def _refusal(address: str, port: int, error: Exception) -> InputError:
    number = getattr(error, "errno", None)
    where = f"--bind {address} --port {port}"
    if number == errno.EADDRINUSE:
        hint = f"another port: --port {port + 1}; ss -ltnp shows who has it"
        return InputError(f"port {port} is in use", wanted="one that is free", found=str(error), where=where, hint=hint)
    if number == errno.EADDRNOTAVAIL:
        hint = "hostname -I lists this machine's; 0.0.0.0 is all of them"
        return InputError("no address of this machine", found=str(error), where=where, hint=hint)
    return InputError("the address cannot be listened on", found=str(error), where=where)


def url_of(made: socket.socket) -> str:
    """Return the URL at which callers reach it; of all addresses, by this machine's name."""
    address, port = made.getsockname()[:2]
    if ipaddress.ip_address(address.partition("%")[0]).is_unspecified:
        return f"http://{socket.gethostname()}:{port}"
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


def is_loopback(made: socket.socket) -> bool:
    """Tell whether only programs of this machine can connect."""
    return ipaddress.ip_address(made.getsockname()[0].partition("%")[0]).is_loopback
