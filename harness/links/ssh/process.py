"""A program on the board, on a channel of its own."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import paramiko

from ...errors import LinkLost
from .. import ChannelClosed

STDERR_KEPT = 1 << 16
READ_AHEAD = 1 << 16
DRAIN_PAUSE_S = 0.05
# How long the other end may take to say how a program ended, once its output has.
STATUS_PATIENCE_S = 5.0
# sshd tells how a program ended before it has sent on all that was said; and what it has left behind may hold stderr.
TAIL_PATIENCE_S = 1.0
# A connection that ends tells its channels first, and a moment later that it has ended.
DEATH_PATIENCE_S = 0.5
# A shell reports a program that was ended by signal N with the status 128 + N.
SIGNALLED = 128


class Process:
    """A running program on the board."""

    def __init__(self, channel: paramiko.Channel, where: str, kill: Callable[[], None] | None) -> None:
        self._channel, self._where, self._kill = channel, where, kill
        self._received = bytearray()
        self._tail = bytearray()
        self._finished = False
        # An unread stream stops the program once the window is full.
        self._drain = threading.Thread(target=self._keep_tail, name="agent-stderr", daemon=True)
        self._drain.start()

    def send(self, data: Any, deadline: float) -> None:
        """Write all of a buffer."""
        view = memoryview(data).cast("B")
        while view:
            self._wait_until(deadline)
            try:
                count = self._channel.send(view)  # type: ignore[arg-type]  # any buffer will do
            except (OSError, EOFError, paramiko.SSHException) as error:
                if isinstance(error, TimeoutError):
                    raise
                raise self._closed(error) from error
            if not count:
                raise self._closed()
            view = view[count:]

    def receive(self, size: int, deadline: float) -> bytearray:
        """Read exactly so many bytes."""
        while len(self._received) < size:
            self._wait_until(deadline)
            try:
                # More than was asked for: a frame's parts come together, and each look into the channel costs.
                chunk = self._channel.recv(max(size - len(self._received), READ_AHEAD))
            except (OSError, EOFError, paramiko.SSHException) as error:
                if isinstance(error, TimeoutError):
                    raise
                raise self._closed(error) from error
            if not chunk:
                raise self._closed()
            self._received += chunk
        if size == len(self._received):
            found, self._received = self._received, bytearray()
            return found
        found = self._received[:size]
        del self._received[:size]
        return found

    def finish(self, patience_s: float) -> int | None:
        """End it, kindly first; a program that does not end is killed by whoever can."""
        if self._finished:
            return self._status()
        self._finished = True
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.shutdown_write()
        if not self._has_ended(patience_s) and self._kill is not None:
            self._kill()
            self._has_ended(STATUS_PATIENCE_S)
        status = self._status()
        if status is not None:
            self._drain.join(TAIL_PATIENCE_S)
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.close()
        self._drain.join(STATUS_PATIENCE_S)
        return status

    def stderr_tail(self) -> str:
        """The end of its stderr, at most 64 KiB."""
        return self._tail.decode("utf-8", "replace")

    def _wait_until(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._channel.settimeout(left)

    def _has_ended(self, patience_s: float) -> bool:
        return self._channel.status_event.wait(patience_s)

    def _status(self) -> int | None:
        status = self._channel.exit_status if self._channel.status_event.is_set() else -1
        if status < 0:
            return None
        number = status - SIGNALLED
        return -number if number in signal.valid_signals() else status

    def _closed(self, error: Exception | None = None) -> ChannelClosed | LinkLost:
        """Why nothing comes or goes any more: the program has ended, or the connection has."""
        transport = self._channel.get_transport()
        if isinstance(error, paramiko.SSHException) and not self._channel.closed:  # an exchange of keys took too long
            return LinkLost("the connection hangs", found=str(error), where=self._where)
        self._has_ended(STATUS_PATIENCE_S)
        if self._status() is None:
            transport.join(DEATH_PATIENCE_S)
        if self._status() is None and not transport.is_active():
            cause = transport.get_exception() or transport.saved_exception
            found = f"{type(cause).__name__}: {cause}" if cause else "it was closed"
            return LinkLost("the connection dropped", found=found, where=self._where)
        self._drain.join(STATUS_PATIENCE_S)  # what it said last is why
        return ChannelClosed()

    def _keep_tail(self) -> None:
        while True:
            try:
                chunk = self._channel.recv_stderr(STDERR_KEPT)
            except TimeoutError:  # the channel has one timeout for both streams: it was meant for the other
                time.sleep(DRAIN_PAUSE_S)
                continue
            except (OSError, EOFError, paramiko.SSHException):
                return
            if not chunk:
                return
            self._tail += chunk
            del self._tail[:-STDERR_KEPT]
