"""Link ``local``: the device is this machine, the runtime is the environment that runs pytest, or
``runtime.environment``."""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..agent import facts
from ..bundle import Bundle, verify_folder, write_folder
from ..cache import cache_folder, new_entry, storage_errors
from ..device import Device
from ..errors import LinkError
from . import ChannelClosed

PROBE_LIMIT_S = 60.0
STDERR_KEPT = 1 << 16
# The largest pipe that an ordinary user may ask for: fewer wake-ups for large tensors (pipe(7)).
PIPE_SIZE = 1 << 20
# poll counts milliseconds in an int (poll(2)).
LONGEST_S = 2e6
# A process that does not end by then hangs in the kernel, on a disk or a driver: it is left to it.
KILL_PATIENCE_S = 5.0


class Link:
    """Subprocesses on the host."""

    def __init__(self, device: Device) -> None:
        environment = device.runtime.environment
        self.python = str(Path(environment, "bin", "python")) if environment else sys.executable
        self.store = cache_folder() / "store"
        if not Path(self.python).exists():
            raise LinkError(
                "there is no Python for the device",
                wanted="an environment with bin/python",
                found=f"no {self.python}",
                where=f"{device.path}: runtime.environment",
                hint=f"python3 -m venv {environment}, and install the runtime there",
            )

    def probe(self, packages: Sequence[str]) -> dict[str, Any]:
        """Run the facts program with the device's Python."""
        program = Path(facts.__file__).read_text(encoding="utf-8")
        command = [self.python, "-B", "-", *packages]
        try:
            done = subprocess.run(
                command,
                check=False,
                input=program,
                capture_output=True,
                encoding="utf-8",
                errors="replace",  # a greeting may be in any encoding
                timeout=PROBE_LIMIT_S,
                env=_environment(),
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise LinkError("the device's Python cannot be run", found=str(error), where=self.python) from error
        _, mark, line = done.stdout.rpartition(facts.MARK)
        if not mark or done.returncode:
            found = f"exit status {done.returncode}: {done.stderr.strip()[-2000:]}"
            raise LinkError("the device's Python does not work", wanted="Python ≥ 3.9", found=found, where=self.python)
        found_facts: dict[str, Any] = json.loads(line)
        return found_facts

    def put(self, bundle: Bundle) -> str:
        """Link or copy the bundle's files into the store; a folder that does not verify is made anew."""
        folder = self.store / "bundles" / bundle.sha256
        with contextlib.suppress(FileNotFoundError), storage_errors(folder):  # another run may be at it too
            if folder.exists() and not verify_folder(bundle, folder):
                # Renamed first: a reader never meets half a folder under the right name.
                damaged = folder.with_name(f".damaged-{bundle.sha256[:16]}-{os.getpid()}-{time.monotonic_ns()}")
                folder.rename(damaged)
                shutil.rmtree(damaged, ignore_errors=True)
        if not folder.exists():
            with new_entry(folder) as work:
                write_folder(bundle, work)
        return str(folder)

    def start(self, folder: str) -> Process:
        """Start the agent of a bundle, away from the terminal's Ctrl-C, which is the host's to handle."""
        command = [self.python, "-B", "-m", "agent", "--records", str(self.store / "agents")]
        try:
            return Process(command, folder)
        except OSError as error:
            raise LinkError("the agent cannot be started", found=str(error), where=" ".join(command)) from error

    def close(self) -> None:
        """Nothing is held."""


class Process:
    """A running agent on this machine."""

    def __init__(self, command: Sequence[str], folder: str) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, cwd=folder, stdin=pipe, stdout=pipe, stderr=pipe, env=_environment(), start_new_session=True
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
        """The agent's process id."""
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
        buffer = bytearray(size)
        view = memoryview(buffer)
        while view:
            try:
                count = os.readv(self._output, [view])
            except BlockingIOError:
                self._wait(self._readable, deadline)
                continue
            if not count:
                raise ChannelClosed
            view = view[count:]
        return buffer

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


def _environment() -> dict[str, str]:
    # With PYTHONSAFEPATH, `python -m agent` would not look into the bundle's folder.
    return {key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"}
