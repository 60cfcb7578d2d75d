"""Link ``local``: the device is this machine, the runtime is the environment that runs pytest, or
``runtime.environment``."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..device.device import Device
from ..errors import LinkError
from ..host.cache import cache_folder
from ..protocol import BoardFacts
from . import ChannelClosed

STDERR_KEPT = 1 << 16
# The largest pipe that an ordinary user may ask for: fewer wake-ups for large tensors (pipe(7)).
PIPE_SIZE = 1 << 20
# A buffer for more than this grows as it is filled: a board may announce what it does not send (issue 17).
GROW_ABOVE = 1 << 26
# poll counts milliseconds in an int (poll(2)).
LONGEST_S = 2e6
# A process that does not end by then hangs in the kernel, on a disk or a driver: it is left to it.
KILL_PATIENCE_S = 5.0


class Link:
    """Subprocesses on the host."""

    where = "this machine"
    shares_files = True
    described: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, device: Device) -> None:
        environment = device.runtime.environment
        self.python: str | None = device.runtime.program or sys.executable
        self.store = str(cache_folder() / "store")
        if not Path(self.python).exists():
            raise LinkError(
                "there is no Python for the device",
                wanted="an environment with bin/python" if environment else "a Python",
                found=f"no {self.python}",
                where=f"{device.path}: runtime.{'environment' if environment else 'python'}",
                hint=f"python3 -m venv {environment}, and install the runtime there" if environment else "",
            )

    def start(self, script: str, *, bulk: bool = False, kill: Callable[[], None] | None = None) -> Process:
        """Start a script, away from the terminal's Ctrl-C, which is the host's to handle."""
        try:
            return Process(["/bin/sh", "-c", script])
        except OSError as error:
            raise LinkError("a program cannot be started", found=str(error), where=script) from error

    def learn(self, facts: BoardFacts) -> None:
        """Nothing depends on it."""

    def abort(self) -> None:
        """Pipes do not drop."""

    def close(self) -> None:
        """Nothing is held."""

    def power_off(self) -> None:
        """This machine stays on."""


class Process:
    """A running program on this machine."""

    def __init__(self, command: Sequence[str], folder: str | None = None) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, cwd=folder, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
        )
        streams = self._process.stdin, self._process.stdout, self._process.stderr
        self._input, self._output, self._errors = (stream.fileno() for stream in streams if stream is not None)
        # poll and not select, which knows no descriptor above 1023.
        self._writable, self._readable = select.poll(), select.poll()
        self._writable.register(self._input, select.POLLOUT)
        self._readable.register(self._output, select.POLLIN)
        for descriptor in (self._input, self._output):
            os.set_blocking(descriptor, False)
            with contextlib.suppress(OSError):  # over the user's allowance of pipe memory: the default size will do
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        os.set_blocking(self._errors, False)
        self._ended = os.eventfd(0)
        self._tail = bytearray()
        self._drain = threading.Thread(target=self._keep_tail, name="agent-stderr", daemon=True)
        self._drain.start()

    @property
    def pid(self) -> int:
        """The program's process id."""
        return self._process.pid

    def send(self, data: Any, deadline: float) -> None:
        """Write all of a buffer."""
        view = memoryview(data).cast("B")
        while view:
            try:
                view = view[os.write(self._input, view) :]
            except BlockingIOError:
                self._wait(self._writable, deadline)
            except BrokenPipeError as error:
                raise ChannelClosed from error

    def receive(self, size: int, deadline: float) -> bytearray:
        """Read exactly so many bytes."""
        buffer = bytearray(min(size, GROW_ABOVE))
        self._fill(memoryview(buffer), deadline)
        while len(buffer) < size:  # no more than twice what has come, whatever was announced
            start = len(buffer)
            buffer.extend(bytes(min(size - start, start)))
            self._fill(memoryview(buffer)[start:], deadline)
        return buffer

    def _fill(self, view: memoryview, deadline: float) -> None:
        while view:
            try:
                count = os.readv(self._output, [view])
            except BlockingIOError:
                self._wait(self._readable, deadline)
                continue
            if not count:
                raise ChannelClosed
            view = view[count:]

    def finish(self, patience_s: float) -> int | None:
        """End it, kindly first, and whatever it has started; None where not even a SIGKILL ends it."""
        process = self._process
        if process.stdout is None or process.stdout.closed:
            return process.returncode
        if process.stdin and not process.stdin.closed:
            process.stdin.close()
        self._has_ended(patience_s)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        status = process.wait() if self._has_ended(KILL_PATIENCE_S) else None
        os.eventfd_write(self._ended, 1)
        self._drain.join()
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()
        os.close(self._ended)
        return status

    def _has_ended(self, patience_s: float) -> bool:
        """Whether it ends in time. It is not reaped: until then its number, its group's too, is nobody else's."""
        end = time.monotonic() + patience_s
        delay = 0.0005
        with contextlib.suppress(ChildProcessError):
            while os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                left = end - time.monotonic()
                if left <= 0:
                    return False
                delay = min(2 * delay, left, 0.05)
                time.sleep(delay)
        return True

    def stderr_tail(self) -> str:
        """The end of its stderr, at most 64 KiB."""
        return self._tail.decode("utf-8", "replace")

    def _keep_tail(self) -> None:
        """Until its end, or the agent's: a process that it has left behind may hold the other end for ever."""
        poll = select.poll()
        for descriptor in (self._errors, self._ended):
            poll.register(descriptor, select.POLLIN)
        ended = False
        while not ended:
            ended = any(descriptor == self._ended for descriptor, _ in poll.poll())
            with contextlib.suppress(BlockingIOError):
                chunk = os.read(self._errors, STDERR_KEPT)
                self._tail += chunk
                del self._tail[:-STDERR_KEPT]
                ended = ended or not chunk

    @staticmethod
    def _wait(poll: select.poll, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(math.ceil(min(left, LONGEST_S) * 1e3)):
            raise TimeoutError
