"""Link ``local``: the device is this machine, the runtime is the environment that runs pytest, or
``runtime.environment``."""

from __future__ import annotations

import contextlib
import fcntl
import json
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
from ..cache import cache_folder, new_entry
from ..device import Device
from ..errors import LinkError
from . import ChannelClosed

PROBE_LIMIT_S = 60.0
STDERR_KEPT = 1 << 16
# The largest pipe that an ordinary user may ask for: fewer wake-ups for large tensors (pipe(7)).
PIPE_SIZE = 1 << 20


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
                text=True,
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
        for descriptor in (self._input, self._output):
            os.set_blocking(descriptor, False)
            with contextlib.suppress(OSError):  # over the user's allowance of pipe memory: the default size will do
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
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
                self._wait([], [self._input], deadline)
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
                self._wait([self._output], [], deadline)
                continue
            if not count:
                raise ChannelClosed
            view = view[count:]
        return buffer

    def finish(self, patience_s: float) -> int:
        """End it, kindly first."""
        process = self._process
        if process.stdin and not process.stdin.closed:
            process.stdin.close()
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
        self._drain.join(timeout=1)
        for stream in (process.stdout, process.stderr):
            if stream and not self._drain.is_alive():
                stream.close()
        return status

    def stderr_tail(self) -> str:
        """The end of its stderr, at most 64 KiB."""
        return self._tail.decode("utf-8", "replace")

    def _keep_tail(self) -> None:
        while chunk := os.read(self._errors, 1 << 16):
            self._tail += chunk
            del self._tail[:-STDERR_KEPT]

    @staticmethod
    def _wait(readers: list[int], writers: list[int], deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0 or not any(select.select(readers, writers, [], left)):
            raise TimeoutError


def _environment() -> dict[str, str]:
    # With PYTHONSAFEPATH, `python -m agent` would not look into the bundle's folder.
    return {key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"}
