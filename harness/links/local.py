"""Link ``local``: the device is this machine.

Its runtime is that of the environment that runs pytest, or of ``runtime.environment``.
"""

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
from typing import Any, ClassVar, Self

from ..device.device import Device
from ..errors import LinkError
from ..host.cache import cache_folder
from ._link import ChannelClosed, LinkType

STDERR_KEPT = 1 << 16
# The largest pipe that an ordinary user may ask for: fewer wake-ups for large tensors (pipe(7)).
PIPE_SIZE = 1 << 20
# A buffer for more than this grows as it is filled: a board may announce what it does not send (issue 17).
GROW_ABOVE = 1 << 26
# poll counts milliseconds in an int (poll(2)).
LONGEST_S = 2e6
# A process that does not end by then hangs in the kernel, on a disk or a driver, and is left there.
KILL_PATIENCE_S = 5.0


class Link(LinkType):
    """Subprocesses on the host."""

    is_this_machine = True
    shares_files = True
    refused_keys: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"device.host": "no host", "runtime.packages": "environment or nothing"}
    )

    def __init__(self, device: Device) -> None:
        """Make a link; whether its Python is there is checked by ``open``."""
        super().__init__(device)
        self.where = "this machine"
        self.python = device.runtime.program or sys.executable

    @classmethod
    def open(cls, device: Device) -> Self:
        """Make a link after checking that the device's Python is there.

        Raises:
            LinkError: it is not.
        """
        link, environment = cls(device), device.runtime.environment
        if not Path(link.python or "").exists():
            raise LinkError(
                "there is no Python for the device",
                wanted="an environment with bin/python" if environment else "a Python",
                found=f"no {link.python}",
                where=f"{device.path}: runtime.{'environment' if environment else 'python'}",
                hint=f"python3 -m venv {environment}, and install the runtime there" if environment else "",
            )
        return link

    @property
    def store(self) -> str:
        """The store's folder, in the user's cache."""
        return str(cache_folder() / "store")

    def start(self, script: str, *, bulk: bool = False, kill: Callable[[], None] | None = None) -> Process:
        """Start a script in a session of its own: the terminal's Ctrl-C is the host's to handle.

        Args:
            script: for a POSIX shell.
            bulk: not used; every program has pipes of its own.
            kill: not used; a process of this machine can be killed by its number.

        Raises:
            LinkError: the shell cannot be started.
        """
        try:
            return Process.start(["/bin/sh", "-c", script])
        except OSError as error:
            raise LinkError("a program cannot be started", found=str(error), where=script) from error


class Process:
    """A running program on this machine."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        """Wrap a process whose stdin, stdout and stderr are pipes; ``start`` makes one."""
        self._process = process
        streams = process.stdin, process.stdout, process.stderr
        self._input, self._output, self._errors = (stream.fileno() for stream in streams if stream is not None)
        # poll and not select, which knows no descriptor above 1023.
        self._writable, self._readable = select.poll(), select.poll()
        self._writable.register(self._input, select.POLLOUT)
        self._readable.register(self._output, select.POLLIN)
        self._ended = os.eventfd(0)
        self._tail = bytearray()
        self._drain = threading.Thread(target=self._keep_tail, name="agent-stderr", daemon=True)

    @classmethod
    def start(cls, command: Sequence[str], folder: str | None = None) -> Self:
        """Start a program in a session of its own.

        Args:
            command: the program and its arguments.
            folder: where it is started; this process's own folder without.

        Raises:
            OSError: it cannot be started.
        """
        pipe = subprocess.PIPE
        made = cls(subprocess.Popen(command, cwd=folder, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True))
        for descriptor in (made._input, made._output):
            os.set_blocking(descriptor, False)
            with contextlib.suppress(OSError):  # over the user's allowance of pipe memory: the default size will do
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        os.set_blocking(made._errors, False)
        made._drain.start()
        return made

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
        """Read exactly ``size`` bytes."""
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
        """End it and whatever it has started; return its status, None where not even a SIGKILL ends it."""
        process = self._process
        if process.stdout is None or process.stdout.closed:
            return process.returncode
        if process.stdin and not process.stdin.closed:
            process.stdin.close()
        self._wait_ended(patience_s)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        status = process.wait() if self._wait_ended(KILL_PATIENCE_S) else None
        os.eventfd_write(self._ended, 1)
        self._drain.join()
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()
        os.close(self._ended)
        return status

    def _wait_ended(self, patience_s: float) -> bool:
        """Wait for its end, and say whether it came in time. It is not reaped, so that its ids are not reused yet."""
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
        """Return the end of its stderr, at most 64 KiB."""
        return self._tail.decode("utf-8", "replace")

    def _keep_tail(self) -> None:
        """Read stderr until it ends or the program does: a process that it left behind may hold the pipe open."""
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
