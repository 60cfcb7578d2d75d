"""The daemon's connection to the host: frames (see wire) over two descriptors, and the host's silence noticed."""

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
    """Nothing was heard of the host for a while, or it takes nothing in."""


class Host:
    """Frames over two descriptors."""

    def __init__(self, silence_s: float = SILENCE_S) -> None:
        self.silence_s = silence_s
        self.source, self.sink = os.dup(0), os.dup(1)
        with contextlib.suppress(OSError):  # fewer wake-ups in an upload; more than a user may have will not do
            fcntl.fcntl(self.source, F_SETPIPE_SZ, PIPE_SIZE)
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        os.dup2(2, 1)

    def receive(self) -> Head:
        """The next request. Raises: Gone, Silent."""
        return read_head(self._read)

    def _read(self, size: int) -> bytearray:
        buffer = bytearray(size)
        self.read_into(memoryview(buffer))
        return buffer

    def read_into(self, view: memoryview) -> None:
        """Fill a buffer."""
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
            try:  # so much at once never waits, pipe(7)
                view = view[os.write(self.sink, view[: select.PIPE_BUF]) :]
            except BrokenPipeError:
                raise Gone from None
