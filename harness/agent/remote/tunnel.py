"""Connects through the proxy that shapes the network (see agent/network): to the address that the client has resolved.

The proxy answers when TCP's handshake would be over on that network, and says how it ended: so names, refusals and
silence are told as without it.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from typing import Any, NamedTuple

ANSWER = struct.Struct("!i")
# In place of an errno: the proxy has no place for another connection; see agent/network/relay.
FULL = -1
LOOPBACK = "127.0.0.1"


class Proxy(NamedTuple):
    """Where the proxy listens, on loopback, and what one must know to be let through."""

    port: int
    token: str

    def __repr__(self) -> str:
        return f"Proxy(port={self.port})"


def connect_through(proxy: Proxy, where: Any, seconds: float) -> socket.socket:
    """Connect to a socket address; return the socket, on which bytes travel as if it were a direct one.

    Args:
        proxy: the proxy.
        where: the address, as connect takes it.
        seconds: how long it may take.

    Raises:
        OSError: there is no such connection; as connect says it, or a timeout.
        RuntimeError: the proxy itself is gone, or full, and nothing can be said of the network.
    """
    until = time.monotonic() + seconds
    opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        opened.settimeout(max(seconds, 0.001))
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answer = _asked(opened, proxy, where, until)
    except BaseException:
        opened.close()
        raise
    if answer:
        opened.close()
        if answer == FULL:
            raise RuntimeError("the proxy that shapes the network takes no further connection: too many are open")
        raise OSError(answer, os.strerror(answer))  # of the class that belongs to the number
    return opened


def _asked(opened: socket.socket, proxy: Proxy, where: Any, until: float) -> int:
    scope = where[3] if len(where) > 3 else 0
    line = f"{proxy.token} {where[1]} {scope} {where[0].partition('%')[0]}\n"
    answer = b""
    try:
        opened.connect((LOOPBACK, proxy.port))
        opened.sendall(line.encode("ascii"))
        while len(answer) < ANSWER.size:
            opened.settimeout(max(until - time.monotonic(), 0.001))
            data = opened.recv(ANSWER.size - len(answer))
            if not data:
                raise ConnectionResetError
            answer += data
    except ConnectionError:
        raise RuntimeError("the proxy that shapes the network has ended: nothing can be measured through it") from None
    return int(ANSWER.unpack(answer)[0])
