"""What http.client reads a connection's answers from: bounded, counted, and there for the next answer, too."""

from __future__ import annotations

import io
import socket
from typing import Any

from .failure import BROKEN, CallFailed


class BoundedRaw(io.RawIOBase):
    """What comes from a socket, counted and bounded.

    Attributes:
        came: how many bytes have come of this answer.
        has_ended: whether the server has sent its last byte.
        allowed: how many may.
        quiet: whether nothing is read, so that a reader has only what it holds.
    """

    def __init__(self, source: socket.socket) -> None:
        super().__init__()
        self.source, self.came, self.allowed = source, 0, 0
        self.quiet = self.has_ended = False

    def readable(self) -> bool:
        """Say so."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read what has come, as much as fits; None where nothing is to be read.

        Raises:
            CallFailed: more has come than may.
        """
        if self.quiet:
            return None
        left = self.allowed - self.came
        if left <= 0:
            raise CallFailed(BROKEN, f"the answer does not end after {self.came} bytes", answered=True)
        count = self.source.recv_into(buffer, min(len(buffer), left))
        self.came += count
        self.has_ended = not count
        return count


class LastingReader(io.BufferedReader):
    """A buffered reader that outlives the answers which http.client reads from it, and closes."""

    def makefile(self, mode: str) -> LastingReader:
        """Stand for a socket: that is all that HTTPResponse asks of one."""
        return self

    def close(self) -> None:
        """Stay open."""
