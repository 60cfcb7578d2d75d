"""Runs of pytest, and of hilgate, in processes of their own that need not import what all of them import.

That is a second and a half of a processor's time, more than half of a run that is refused. One process, this file as a
program, imports hilgate's plugin and waits. For each run that is asked for it forks one that takes the arguments,
variables, folder and streams that a program would be started with, and then does what `python -m pytest` does, or
`hilgate`. It ends when whoever started it has ended.
"""

from __future__ import annotations

import io
import json
import os
import random
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

REQUEST = 1 << 20


class Forker:
    """Forks runs, one after another; the process that does is started for the first of them."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def _start(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, __file__, str(theirs.fileno())]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])

    def run(self, words: Sequence[str], cwd: Path, environment: Mapping[str, str], timeout: float) -> tuple[int, str]:
        """Run "pytest" or "hilgate", the first of the words, to its end; return its status and what it printed.

        Raises:
            subprocess.TimeoutExpired: it did not end in time, and was killed.
        """
        if self._process is None:
            self._start()
        request = {"words": list(words), "cwd": str(cwd), "environment": dict(environment)}
        ours, theirs = os.pipe()
        with os.fdopen(ours, "rb", buffering=0) as output:
            try:
                socket.send_fds(self._socket, [json.dumps(request).encode()], [theirs])
            finally:
                os.close(theirs)
            pid = int(self._socket.recv(REQUEST))
            try:
                printed = _read_until_end(output.fileno(), timeout)
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                self._socket.recv(REQUEST)
                raise subprocess.TimeoutExpired(list(words), timeout) from None
        text = io.TextIOWrapper(io.BytesIO(printed), encoding="utf-8").read()  # "\r" is "\n", as to subprocess.run()
        return int(self._socket.recv(REQUEST)), text

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._socket.close()
            self._process.wait()
            self._process = None


def _read_until_end(descriptor: int, timeout: float) -> bytes:
    """Read until all who may write have ended, as subprocess.run() does."""
    end = time.monotonic() + timeout
    parts: list[bytes] = []
    while select.select([descriptor], [], [], max(0.0, end - time.monotonic()))[0]:
        if not (part := os.read(descriptor, 1 << 16)):
            return b"".join(parts)
        parts.append(part)
    raise TimeoutError


def serve(connection: socket.socket) -> None:
    """Fork until nobody asks any more; return in the processes that were forked, which are the runs."""
    while True:
        sent, descriptors, _, _ = socket.recv_fds(connection, REQUEST, 1)
        if not sent:
            sys.exit()
        if not (pid := os.fork()):
            connection.close()
            _become(json.loads(sent), descriptors[0])
            return
        os.close(descriptors[0])
        connection.send(str(pid).encode())
        connection.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())


def _become(request: Mapping[str, object], output: int) -> None:
    """Make this process what the program's is before it begins."""
    words, environment = request["words"], request["environment"]
    assert isinstance(words, list)
    assert isinstance(environment, dict)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.chdir(str(request["cwd"]))
    os.environ.clear()
    os.environ.update(environment)
    random.seed()
    numpy.random.seed()
    sys.path[0] = str(Path.cwd())
    sys.path[1:1] = [folder for folder in str(environment.get("PYTHONPATH", "")).split(os.pathsep) if folder]
    sys.argv = list(words)
    sys.orig_argv = [sys.executable, "-m", *words]
    # It would say of packages that were imported before it that it does not rewrite their assertions.
    AssertionRewritingHook._warn_already_imported = lambda self, name: None  # type: ignore[method-assign]


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[2])
    import numpy
    from _pytest.assertion.rewrite import AssertionRewritingHook

    import harness.plugin  # noqa: F401  # what takes most of the time

    serve(socket.socket(fileno=int(sys.argv[1])))
    if sys.argv[0] == "hilgate":
        from harness.cli import main

        main()
    runpy.run_module("pytest", run_name="__main__", alter_sys=True)
