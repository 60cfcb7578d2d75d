"""Names to addresses. getaddrinfo has no timeout: it runs in a thread of its own, which is left behind when it is late.

What it found is remembered for a minute. There is at most one such thread for a name: a call that finds one still
running, from a call before, waits for that one.
"""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

from .deadline import Deadline
from .failure import LATE, UNREACHABLE, CallFailed

REMEMBERED_S = 60.0
# Of a name with more addresses the rest is not tried.
MOST = 16

# Family and socket address, as socket.socket and its connect take them.
Address = tuple[int, Any]


class _Lookup:
    """One question to the resolver."""

    def __init__(self, host: str, port: int) -> None:
        self.found: list[Address] = []
        self.wrong = ""
        self.done = threading.Event()
        threading.Thread(target=self._ask, args=(host, port), name="resolver", daemon=True).start()

    def _ask(self, host: str, port: int) -> None:
        try:
            self.found = _addresses(host, port, 0)
        except OSError as error:
            self.wrong = str(error.strerror or error)
        finally:
            self.done.set()


class Resolver:
    """The addresses of one name."""

    def __init__(self, host: str, port: int) -> None:
        """Ask for nothing yet.

        Args:
            host: a name, or an address as text; ASCII.
            port: the port's number, which becomes a part of each address.
        """
        self.host, self.port = host, port
        self._found: list[Address] = []
        self._until = 0.0
        self._lookup: _Lookup | None = None

    def find(self, deadline: Deadline) -> list[Address]:
        """Return the addresses, at least one.

        Raises:
            CallFailed: there are none; or the call's time is over.
        """
        if not self._found or time.monotonic() >= self._until:
            self._found = self._numeric() or self._asked(deadline)
            self._until = time.monotonic() + REMEMBERED_S
        return self._found

    def prefer(self, address: Address) -> None:
        """Try this one first from now on: it has answered."""
        self._found = [address, *(each for each in self._found if each != address)]

    def forget(self) -> None:
        """Ask anew the next time: the server may have another address by now."""
        self._found = []

    def _numeric(self) -> list[Address]:
        try:
            return _addresses(self.host, self.port, socket.AI_NUMERICHOST)
        except OSError:
            return []

    def _asked(self, deadline: Deadline) -> list[Address]:
        lookup = self._lookup = self._lookup or _Lookup(self.host, self.port)
        while not lookup.done.wait(deadline.left_s):
            if deadline.is_over:
                raise CallFailed(LATE, f"the name {self.host} was not resolved in time: ask the network for its DNS")
        self._lookup = None
        if not lookup.found:
            raise CallFailed(UNREACHABLE, f"the name {self.host} cannot be resolved: {lookup.wrong or 'no address'}")
        return lookup.found


def _addresses(host: str, port: int, flags: int) -> list[Address]:
    # Bytes: a text would first be encoded as an international name, for which much is imported.
    found: list[Any] = socket.getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM, flags=flags)
    return [(family, address) for family, _, _, _, address in found][:MOST]
