"""The end of a call, by wall clock: one thread shuts the call's socket down, whatever the call is waiting for.

A socket's own timeout is one for each read: an answer that comes a byte at a time never ends. Here nothing is set on a
socket, which also saves a poll for each read and write. Arming takes a microsecond: the thread sleeps until the last
end that it knew of, and mostly finds then that the call has ended, and when the present one does.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import socket
import threading
import time

# poll(2) takes no longer times, in seconds; the thread looks again afterwards.
LONGEST_WAIT_S = 1e6
# What the thread is told: to look again, or to end.
AGAIN, END = b"a", b"e"


class Deadline:
    """The end of the present call of one caller; see the module.

    Invariants: the socket is shut down under the lock, and taken back under it before it is closed, so that no other
    file with its number is met. The thread begins with the first call: a process may import this, and fork.
    """

    def __init__(self) -> None:
        """Begin with no call, and no thread."""
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._due = math.inf
        self._is_over = False
        self._looks_at = math.inf  # when the thread looks next, by itself
        self._pipe: tuple[int, int] | None = None

    def arm(self, seconds: float) -> None:
        """Begin a call that ends in so many seconds."""
        with self._lock:
            self._due = time.monotonic() + seconds
            self._is_over, self._socket = False, None
            if self._due < self._looks_at or self._pipe is None:
                self._wake()

    def watch(self, watched: socket.socket | None) -> None:
        """Shut this socket down at the end of the call, in place of an earlier one; at once if that is past."""
        with self._lock:
            self._socket = watched
            if self._is_over:
                self._shut_down()

    def disarm(self) -> None:
        """End the call: its socket is left alone from now on."""
        with self._lock:
            self._due, self._socket = math.inf, None

    @property
    def is_over(self) -> bool:
        """Whether the time of this call is over."""
        return self._is_over or time.monotonic() >= self._due

    @property
    def left_s(self) -> float:
        """How many seconds the call has left, at least 0."""
        return max(self._due - time.monotonic(), 0.0)

    def close(self) -> None:
        """End the thread; another call would begin another."""
        with self._lock:
            if self._pipe is not None:
                with contextlib.suppress(BlockingIOError):
                    os.write(self._pipe[1], END)
            self._pipe, self._looks_at = None, math.inf  # the thread closes them

    def _wake(self) -> None:
        if self._pipe is None:
            self._pipe = os.pipe()
            os.set_blocking(self._pipe[1], False)
            threading.Thread(target=self._run, args=self._pipe, name="deadline", daemon=True).start()
        else:
            with contextlib.suppress(BlockingIOError):  # it is full of wake-ups
                os.write(self._pipe[1], AGAIN)

    def _run(self, source: int, sink: int) -> None:
        # A poll, and no lock with a timeout: these go by a clock that may be set, until Python 3.10.
        poll = select.poll()
        poll.register(source, select.POLLIN)
        try:
            while True:
                if poll.poll(self._look()) and END in os.read(source, 4096):
                    return
        finally:
            os.close(source)
            os.close(sink)

    def _look(self) -> float | None:
        """Shut the socket down if it is time; return for how many milliseconds there is nothing to do."""
        with self._lock:
            left = self._due - time.monotonic()
            if left <= 0 and not self._is_over:
                self._is_over = True
                self._shut_down()
            if left <= 0 or left == math.inf:
                self._looks_at = math.inf
                return None
            self._looks_at = self._due
            return min(left, LONGEST_WAIT_S) * 1000

    def _shut_down(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it has gone by itself
                # The method of an SSLSocket would take its TLS away from the thread that is reading.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
