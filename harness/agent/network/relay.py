"""The connections that pass through the proxy, all in one thread. select is exact to the microsecond, epoll to the ms.

A client that connects sends a line, "TOKEN PORT SCOPE ADDRESS" (see tunnel), and waits for four bytes: 0, or errno of
why there is no connection, or FULL. They come when the handshake of TCP would be over: its first packet goes up, and
the answer down. From then on bytes are carried. Only who knows the token gets a connection: others on the device do
not, and take no place from those who do.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
from collections.abc import Iterator
from hmac import compare_digest
from typing import Any

from .link import Link
from .way import BACKLOG_S, Way

# A line of a client, and what TCP's first packet has.
MOST_LINE, HANDSHAKE = 256, 40
# select takes descriptors up to 1024.
MOST_CONNECTIONS = 64
# Those that have not shown the token yet; beyond these the oldest is ended.
MOST_STRANGERS = 32
# Told in place of an errno where all connections are taken; tunnel knows it, too.
FULL = -1


class Passage:
    """A connection of a client, and the one that is made for it.

    Attributes:
        ways: both directions, once there are both connections.
        due: when the next step is taken; None where something else is waited for.
    """

    def __init__(self, relay: Relay, client: socket.socket) -> None:
        self.relay, self.client = relay, client
        self.server: socket.socket | None = None
        self.target: tuple[int, tuple[object, ...]] | None = None
        self.ways: tuple[Way, ...] = ()
        self.line = b""
        self.answer: int | None = None
        self.due: float | None = None

    @property
    def is_left(self) -> bool:
        """Whether the client has sent its last byte."""
        return bool(self.ways) and self.ways[0].is_read

    def close(self) -> None:
        """End both connections."""
        self.client.close()
        if self.server is not None:
            self.server.close()

    def readers(self, now: float) -> Iterator[socket.socket]:
        """Yield what is to be read."""
        if not self.ways:
            yield self.client  # its line; or its end
        for way in self.ways:
            if way.takes(now):
                yield way.source

    def writers(self) -> Iterator[socket.socket]:
        """Yield what is to be written to, or is being connected."""
        if self.server is not None and not self.ways and self.answer is None:
            yield self.server
        for way in self.ways:
            if way.rest:
                yield way.sink

    def next_due(self, now: float) -> float | None:
        """Return when something is to be done next, whatever comes; None for nothing."""
        moments = [way.queue[0][0] for way in self.ways if way.queue and not way.rest]
        # A link may be busy with what a connection sent that is gone.
        moments += [way.link.free_at - BACKLOG_S for way in self.ways if not way.is_read and way.is_busy(now)]
        return min([*moments, *([self.due] if self.due is not None else [])], default=None)

    def go_on(self, now: float, readable: set[socket.socket], writable: set[socket.socket]) -> bool:
        """Do what is to be done; return whether the passage goes on.

        Raises:
            OSError: one of both connections is gone.
        """
        if not self.ways:
            return self._open(now, self.client in readable, self.server in writable)
        for way in self.ways:
            if way.source in readable:
                way.read(now)
            if not way.rest or way.sink in writable:
                way.deliver(now)
        return not all(way.is_done for way in self.ways)

    def _open(self, now: float, is_readable: bool, is_connected: bool) -> bool:
        if is_readable:
            data = self.client.recv(MOST_LINE)
            if not data or self.target is not None:
                return False
            self.line += data
            if not self._read_line(now):
                return len(self.line) < MOST_LINE and b"\n" not in self.line
        if self.due is not None and now >= self.due:
            self.due = None
            if self.answer is None:
                self._connect()
            else:
                return self._tell()
        if is_connected and self.server is not None and self.answer is None:
            self.answer = self.server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if self.answer is not None and self.due is None and not self.ways:
            self.due = self.relay.down.ask(now, HANDSHAKE)
        return True

    def _read_line(self, now: float) -> bool:
        """Read the client's line, once it is whole; return whether it is one."""
        words = self.line.split()
        if not self.line.endswith(b"\n") or len(words) != 4 or not compare_digest(words[0], self.relay.token):
            return False
        port, scope, host = int(words[1]), int(words[2]), words[3].decode("ascii")
        is_six = ":" in host
        self.target = (socket.AF_INET6, (host, port, 0, scope)) if is_six else (socket.AF_INET, (host, port))
        self.due = self.relay.up.ask(now, HANDSHAKE)
        if not self.relay.has_room(self):
            self.answer, self.due = FULL, now
        return True

    def _connect(self) -> None:
        """Begin to connect."""
        if self.target is None:
            return
        family, address = self.target
        self.server = _prepared(socket.socket(family, socket.SOCK_STREAM))
        code = self.server.connect_ex(address)
        if code != errno.EINPROGRESS:
            self.answer = code

    def _tell(self) -> bool:
        """Tell the client that there is a connection, or why there is none; return whether there is one."""
        self.client.send(struct.pack("!i", self.answer or 0))
        if self.answer or self.server is None:
            return False
        up, down = self.relay.up, self.relay.down
        self.ways = Way(up, self.client, self.server), Way(down, self.server, self.client)
        return True


class Relay:
    """All that passes through one proxy."""

    def __init__(self, listener: socket.socket, token: str, up: Link, down: Link) -> None:
        """Relay nothing yet.

        Args:
            listener: where clients connect.
            token: what they know.
            up: from the clients to their server.
            down: from there to the clients.
        """
        self.listener, self.token, self.up, self.down = listener, token.encode("ascii"), up, down
        listener.setblocking(False)
        self.passages: list[Passage] = []

    def run(self, end: int) -> None:
        """Relay until the writer of this descriptor has gone."""
        while True:
            now = time.monotonic()
            moments = [due for each in self.passages for due in [each.next_due(now)] if due is not None]
            wait_s = max(min(moments) - now, 0.0) if moments else None
            reading = [sock for each in self.passages for sock in each.readers(now)]
            writing = [sock for each in self.passages for sock in each.writers()]
            watched: list[Any] = [end, self.listener, *reading]
            readable, writable, _ = select.select(watched, writing, [], wait_s)
            if end in readable and not os.read(end, 4096):
                return
            self._go_on(set(readable), set(writable))
            if self.listener in readable:
                self._accept()

    def _accept(self) -> None:
        try:
            client = self.listener.accept()[0]
        except OSError:  # it has gone again
            return
        strangers = [each for each in self.passages if each.target is None]
        if len(strangers) >= MOST_STRANGERS:
            self._end(strangers[0])
        self.passages.append(Passage(self, _prepared(client)))

    def has_room(self, asking: Passage) -> bool:
        """Whether there is a place for another connection; one is made, where that can be."""
        taken = [each for each in self.passages if each.target is not None and each is not asking]
        return len(taken) < MOST_CONNECTIONS or self._make_room()

    def _end(self, passage: Passage) -> None:
        passage.close()
        self.passages.remove(passage)

    def _make_room(self) -> bool:
        """End the oldest connection that its client has ended; return whether there was one.

        A server that hangs never ends its side, and a client makes a new connection for each call that was late.
        """
        left = next((each for each in self.passages if each.is_left), None)
        if left is None:
            return False
        self._end(left)
        return True

    def _go_on(self, readable: set[socket.socket], writable: set[socket.socket]) -> None:
        now = time.monotonic()
        for passage in list(self.passages):
            if passage not in self.passages:  # it made room for another
                continue
            try:
                goes_on = passage.go_on(now, readable, writable)
            except (OSError, ValueError):
                _reset(passage)
                goes_on = False
            if not goes_on:
                self._end(passage)


def _prepared(opened: socket.socket) -> socket.socket:
    opened.setblocking(False)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return opened


def _reset(passage: Passage) -> None:
    """Have both connections end at once, as the one that failed has: what is under way is lost."""
    for opened in (passage.client, passage.server):
        if opened is not None:
            try:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            except OSError:
                continue
