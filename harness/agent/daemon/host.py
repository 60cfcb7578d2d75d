"""The daemon's connection to the host: frames (see wire) over two descriptors, and a limit to the host's silence."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
from typing import Any

from ..wire import Head, pack_head, read_head

# Beyond this silence the host is gone. It sends something every 3 seconds, also while it is busy.
SILENCE_S = 60.0
F_SETPIPE_SZ = 1031  # fcntl has the name from Python 3.10 on
PIPE_SIZE = 1 << 20


class Gone(Exception):
    """The host has closed its end."""


class Silent(Exception):
    """The host has sent nothing for a while, or reads nothing."""


class Host:
    """Frames over two descriptors.

    Args:
        source: the descriptor that requests are read from.
        sink: the descriptor that replies are written to.
        silence_s: after how many seconds without a word the host is taken for gone.
    """

    def __init__(self, source: int, sink: int, silence_s: float = SILENCE_S) -> None:
        self.source, self.sink, self.silence_s = source, sink, silence_s

    @classmethod
    def from_stdio(cls, silence_s: float = SILENCE_S) -> Host:
        """Take over stdin and stdout; what anything else prints goes to stderr from then on."""
        host = cls(os.dup(0), os.dup(1), silence_s)
        with contextlib.suppress(OSError):  # for fewer wake-ups in an upload; a user's limit may forbid that size
            fcntl.fcntl(host.source, F_SETPIPE_SZ, PIPE_SIZE)
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        os.dup2(2, 1)
        return host

    def receive(self) -> Head:
        """Wait for the next request. Raises: Gone, Silent."""
        return read_head(self._read)

    def _read(self, size: int) -> bytearray:
        buffer = bytearray(size)
        self.read_into(memoryview(buffer))
        return buffer

    def read_into(self, view: memoryview) -> None:
        """Fill a buffer with what the host sends. Raises: Gone, Silent."""
        poll = select.poll()
        poll.register(self.source, select.POLLIN)
        while view:
            if not poll.poll(self.silence_s * 1e3):
                raise Silent
            count = os.readv(self.source, [view])
            if not count:
                raise Gone
            view = view[count:]

    def send(self, header: dict[str, Any], payload: bytes = b"") -> None:
        """Write one frame. Raises: Gone, Silent."""
        view = memoryview(pack_head(header, len(payload)) + payload)
        poll = select.poll()
        poll.register(self.sink, select.POLLOUT)
        while view:
            if not poll.poll(self.silence_s * 1e3):
                raise Silent
            try:  # PIPE_BUF bytes at once never block when the pipe is ready, pipe(7)
                view = view[os.write(self.sink, view[: select.PIPE_BUF]) :]
            except BrokenPipeError:
                raise Gone from None
