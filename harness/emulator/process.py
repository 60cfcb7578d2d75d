"""QEMU's process, under its supervisor, from its launch to its end."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Self

from . import supervisor
from .faults import SOCKET
from .folder import Folder

END_S = 20.0

# QEMU's command line, given the descriptors of its monitor, of the channel to the init, and of the faults' socket.
CommandLine = Callable[[int, int, int], Sequence[str]]


class Process:
    """A running QEMU under its supervisor.

    Attributes:
        monitor: our end of the socket to QEMU's monitor.
        control: our end of the channel to the guest's init.
    """

    def __init__(
        self, supervisor: subprocess.Popen[bytes], monitor: socket.socket, control: socket.socket, lifeline: int
    ) -> None:
        """Hold a supervisor that was started; ``launch`` starts one."""
        self._supervisor, self.monitor, self.control, self._lifeline = supervisor, monitor, control, lifeline
        self._said = b""
        self._ended = ""

    @classmethod
    def launch(cls, folder: Folder, command: CommandLine) -> Self:
        """Start QEMU under a supervisor, which takes over the folder's lock.

        Args:
            folder: the board's.
            command: QEMU's command line, given the descriptors that it inherits.

        Raises:
            OSError: it cannot be started.
        """
        try:
            return cls._launch(folder, command)
        finally:
            os.close(folder.lock)  # the supervisor has it now

    @classmethod
    def _launch(cls, folder: Folder, command: CommandLine) -> Self:
        (monitor, theirs), (control, init) = socket.socketpair(), socket.socketpair()
        lifeline, our_lifeline = os.pipe()
        with theirs, init, folder.listening(SOCKET) as faults:
            descriptors = theirs.fileno(), init.fileno(), faults.fileno()
            listed = ",".join(map(str, descriptors))
            started = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", supervisor.__file__),
                    *(str(os.getpid()), str(lifeline), listed, str(folder.path)),
                    *command(*descriptors),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                pass_fds=(lifeline, folder.lock, *descriptors),
                start_new_session=True,
            )
        os.close(lifeline)
        return cls(started, monitor, control, our_lifeline)

    @property
    def ended(self) -> str:
        """How QEMU ended, in words; "" while it runs."""
        stream = self._supervisor.stdout
        while not self._ended and stream is not None and select.select([stream], [], [], 0)[0]:
            chunk = os.read(stream.fileno(), 4096)
            self._said += chunk
            status = re.search(rb"exit (-?\d+)\n", self._said)
            if status is not None:
                self._ended = _words(int(status[1]))
            elif not chunk:
                self._ended = "ended with its supervisor, which was killed"
        return self._ended

    def wait_ended(self, patience_s: float) -> None:
        """Wait up to ``patience_s`` for its end."""
        end = time.monotonic() + patience_s
        while not self.ended and time.monotonic() < end:
            time.sleep(0.01)

    def close(self) -> None:
        """End QEMU; the supervisor removes its folder. Never raises, and may be called twice."""
        self.control.close()
        if self._lifeline < 0:
            return
        with contextlib.suppress(OSError):
            os.write(self._lifeline, b".")  # a process that was forked from this one may hold the pipe open
        os.close(self._lifeline)
        self._lifeline = -1
        try:
            self._supervisor.wait(END_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._supervisor.pid, signal.SIGKILL)
            self._supervisor.wait()
        self._ended = self.ended or "was ended"
        if self._supervisor.stdout is not None:
            self._supervisor.stdout.close()


def _words(status: int) -> str:
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with exit status {status}"
