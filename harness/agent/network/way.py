"""One direction of one connection: what its source sends goes through the link, and comes out at its sink."""

from __future__ import annotations

import errno
import socket
from collections import deque

from .link import Link

READ = 1 << 16
# What waits in front of a link beyond this stays with the sender, whose own buffers then fill.
BACKLOG_S = 0.05
# What may be under way at a time.
MOST_UNDER_WAY = 1 << 26
NOT_NOW = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR)


class Way:
    """One direction of one connection.

    Attributes:
        queue: what is under way, with the moment at which it is due; b"" is the end.
        rest: what was due, and the sink has not taken.
        is_read: whether the source has come to its end.
    """

    def __init__(self, link: Link, source: socket.socket, sink: socket.socket) -> None:
        self.link, self.source, self.sink = link, source, sink
        self.queue: deque[tuple[float, memoryview]] = deque()
        self.rest = memoryview(b"")
        self.under_way = 0
        self.is_read = self.is_done = False

    def takes(self, now: float) -> bool:
        """Whether the source is to be read."""
        return not self.is_read and not self.is_busy(now) and self.under_way <= MOST_UNDER_WAY

    def is_busy(self, now: float) -> bool:
        """Whether enough waits in front of the link."""
        return self.link.backlog_s(now) > BACKLOG_S

    def read(self, now: float) -> None:
        """Take what the source has sent.

        Raises:
            OSError: it has ended the connection otherwise.
        """
        try:
            data = memoryview(self.source.recv(READ))
        except BlockingIOError:
            return
        if not data:
            self.is_read = True
            self.queue.append((self.link.ask(now, 1), data))
        for start in range(0, len(data), self.link.piece):
            piece = data[start : start + self.link.piece]
            self.queue.append((self.link.send(now, len(piece)), piece))
            self.under_way += len(piece)

    def deliver(self, now: float) -> None:
        """Give the sink what is due.

        Raises:
            OSError: it takes nothing any more.
        """
        due = [self.rest] if self.rest else []
        has_ended = False
        while self.queue and self.queue[0][0] <= now:
            piece = self.queue.popleft()[1]
            has_ended |= not piece
            due.append(piece)
        is_left = bool(due) and self._give(due)
        if has_ended and is_left:
            self.queue.append((now, memoryview(b"")))
        elif has_ended:
            self.sink.shutdown(socket.SHUT_WR)
            self.is_done = True

    def _give(self, due: list[memoryview]) -> bool:
        """Write to the sink; return whether something is left."""
        data = due[0] if len(due) == 1 else memoryview(b"".join(due))
        if not data:
            return False
        sent = 0
        try:
            sent = self.sink.send(data)
        except OSError as error:
            if error.errno not in NOT_NOW:
                raise
        self.under_way -= sent
        self.rest = data[sent:]
        return bool(self.rest)
