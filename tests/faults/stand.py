"""A board behind a misbehaving proxy, a project whose device it is, and what its runs leave over."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from harness.agent.facts import read_text
from harness.evidence.folder import FILE
from tests.integration.boards import write_device
from tests.integration.conftest import Project
from tests.support.proxy import FlakyProxy
from tests.support.sshd import Board, BoardServer

RUNTIME = 'packages = ["onnxruntime==1.32.0", "numpy==2.4.6"]'
DISK_KIB = 320 * 1024
MARK = "HILGATE_FAULTS"
# What a run may take from the fault to its end, and what is left a moment to end; a machine that is busy needs more.
LIMIT_S, LEFT_S = 120.0, 15.0
# The first run fetches the runtime.
FIRST_S = 900.0
# ONNX Runtime's own small file, and torch's cache: always of this name, one for all runs of a user.
NOT_OURS = (".ses", "torchinductor_")
CHECKS = "parity or artifact_size"
# Small: exported in a moment. A limit that it cannot keep makes a model wrong.
MODEL = """
    import torch
    from harness import Input, Model

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("weight", torch.linspace(-{weight}, 1, 256).reshape(16, 16) / 4)

        def forward(self, x):
            return torch.relu(x @ self.weight)

    model = Model(
        build=lambda: Net().eval(),
        inputs=[Input("x", shape=("batch", 16), min_value=-1.0, max_value=1.0)],
        dims={{"batch": (1, 4)}},
        limits={{"artifact_mib": {limit}}},
    )
"""
# A plugin for the runs: their patience, and the daemon's, is for tests; and they search no longer than they must.
HASTY = """
    import harness.run.interrupts  # first, as in the plugin, which is loaded later than this
    from harness.board import daemon_client, lease
    from harness.parity import search

    search.SEARCH_S = 0.2
    daemon_client.SILENCE_S, daemon_client.PING_S = 5.0, 1.0
    lease.RECONNECT_S, lease.RETRY_PAUSE_S = 10.0, 0.2
    daemon_client.ARGUMENTS = {"silence_s": 6.0}
"""

# The board's Python, which has another clock where there is a file for it.
PYTHON = """#!/bin/sh
[ -e {offset} ] && export CLOCK_OFFSET={offset} LD_PRELOAD={library}
exec /usr/bin/env PATH=/usr/local/bin:/usr/bin:/bin python3 "$@"
"""

T = TypeVar("T")


def soon(what: Callable[[], T | None], seconds: float) -> T | None:
    """Poll until there is something, not for ever."""
    end = time.monotonic() + seconds
    while (found := what()) is None and time.monotonic() < end:
        time.sleep(0.01)
    return found


def checks_of(evidence: dict[str, Any]) -> list[tuple[str, str]]:
    """Which metrics evidence has verdicts of, by backend."""
    return sorted((cell["backend"], check["metric"]) for cell in evidence["cells"] for check in cell["checks"])


@dataclass
class Run:
    """A run of the stand's that was started.

    Attributes:
        temporary: its folder for temporary files.
        mark: stands in the environment of all that it starts on this machine.
        struck: whether it still ran when something happened to it.
    """

    process: subprocess.Popen[str]
    project: Project
    temporary: Path
    mark: str
    started: float = field(default_factory=time.monotonic)
    output: str = ""
    struck: bool = False

    @property
    def pid(self) -> int:
        """pytest's."""
        return self.process.pid

    @property
    def ended(self) -> bool:
        """Whether it has."""
        return self.process.poll() is not None

    @property
    def evidence(self) -> dict[str, Any] | None:
        """What it wrote, or one before it; None where there is no file. Raises: ValueError, it is half written."""
        path = self.project.folder / "build/hil" / FILE
        if not path.exists():
            return None
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def finish(self, seconds: float = LIMIT_S) -> int | None:
        """Wait for its end; its exit status, None where it did not come to an end and was killed."""
        try:
            self.output, _ = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.output, _ = self.process.communicate()
            return None
        return self.process.returncode

    def signal(self, number: int) -> None:
        """Send pytest a signal, if it still runs."""
        if not self.ended:
            self.process.send_signal(number)

    def processes(self) -> list[int]:
        """All that it has started on this machine and that still runs, itself too."""
        word = f"{MARK}={self.mark}"
        pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
        return [pid for pid in pids if word in read_text(f"/proc/{pid}/environ").split("\0")]

    def starting(self, words: str) -> list[int]:
        """Those of them in whose command line these words are."""
        return [pid for pid in self.processes() if words in read_text(f"/proc/{pid}/cmdline").replace("\0", " ")]

    def is_loading(self) -> bool | None:
        """Whether Python has come to hilgate: before, a signal meets Python itself, and pytest's own imports."""
        return True if "_multiarray_umath" in read_text(f"/proc/{self.pid}/maps") else None

    def left_over(self) -> list[str]:
        """What is left of it on this machine, after a moment."""

        def nothing() -> bool | None:
            return None if self.processes() else True

        soon(nothing, LEFT_S)
        processes = [f"process {pid}: {_command(pid)}" for pid in self.processes()]
        files = [str(path) for path in self.temporary.iterdir() if not path.name.startswith(NOT_OURS)]
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.temporary)
        return processes + files


class Stand:
    """A context manager.

    Attributes:
        folder: the project's, and $HOME.
        usual: what its runs take, once that is known.
        checks: what an undisturbed run's evidence holds, once that is known.
    """

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.usual = 0.0
        self.checks: list[tuple[str, str]] = []
        self._fresh = 0

    def __enter__(self) -> Stand:
        with contextlib.ExitStack() as stack:
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-")))
            self.folder.chmod(0o711)  # the board's user comes to its clock
            self.clock = self.folder / "clock"
            library = self._build_clock()
            python = PYTHON.format(offset=self.clock, library=library)
            self.server = stack.enter_context(
                BoardServer(Board(disks={"disk": DISK_KIB}, commands={"python3": python}))
            )
            self.proxy = stack.enter_context(FlakyProxy(self.server.port))
            environment = {"HOME": str(self.folder), "HILGATE_CACHE": str(self.cache)}
            self.project = Project(self.folder, environment)
            self.project.write("hasty.py", HASTY)
            self.reset()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def _build_clock(self) -> Path:
        library = self.folder / "clock.so"
        source = Path(__file__).with_name("clock.c")
        command = ["g++", "-x", "c", "-std=c11", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"]
        subprocess.run(command, check=True, timeout=60)
        library.chmod(0o755)
        return library

    def set_clock(self, seconds: int) -> None:
        """Set the board's time of day, for its Python: so much from now. One that was started without has no other."""
        new = self.clock.with_suffix(".new")
        new.write_text(f"{seconds}\n", encoding="ascii")
        new.chmod(0o644)
        new.replace(self.clock)

    def reset(self, *, wrong: bool = False, store: str = "~/store") -> None:
        """Everything as it was, but for what is stored on the board."""
        self.proxy.accept()
        self.proxy.resume()
        self.proxy.slow(None)
        self.proxy.garble(False)
        self.clock.unlink(missing_ok=True)
        write_device(self.folder, self.server, [self.proxy.port], device=f'store = "{store}"', runtime=RUNTIME)
        self.project.write("pytest.ini", "[pytest]\nhil_model = small.py\nhil_device = board\n")
        self.write_model(wrong=wrong)
        shutil.rmtree(self.folder / "build", ignore_errors=True)

    def write_model(self, *, wrong: bool = False, fresh: bool = False) -> None:
        """Write the model file.

        Args:
            wrong: a run of it fails.
            fresh: one that was never exported.
        """
        self._fresh += 1 if fresh else 0
        weight = f"1.{os.getpid():07}{self._fresh:03}" if fresh else "1"
        self.project.write("small.py", MODEL.format(weight=weight, limit=1e-9 if wrong else 1e4))

    def usual_s(self) -> float:
        """What an undisturbed run takes that finds everything stored already.

        Raises:
            RuntimeError: it does not pass.
        """
        for _ in range(2):
            run = self.start()
            if run.finish(FIRST_S) != 0:
                raise RuntimeError(f"a run to which nothing happens does not pass:\n{run.output}")
            self.usual = time.monotonic() - run.started
            self.checks = checks_of(run.evidence or {"cells": []})
            run.left_over()
        return self.usual

    def start(self, *arguments: str, prefix: tuple[str, ...] = ()) -> Run:
        """Start a run."""
        mark, temporary = uuid.uuid4().hex, Path(tempfile.mkdtemp(prefix="temporary-", dir=self.folder))
        words = [*prefix, *self.project.command("-p", "hasty", "-p", "no:cacheprovider", *arguments)]
        if "-k" not in arguments:
            words += ["-k", CHECKS]
        process = subprocess.Popen(
            words,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=self.project.whole_environment | {MARK: mark, "TMPDIR": str(temporary)},
        )
        return Run(process, self.project, temporary, mark)

    # On the board

    def board_processes(self, *words: str) -> list[int]:
        """Those that run there and in whose command lines these words are; outside pids."""
        found = [(pid, read_text(f"/proc/{pid}/cmdline").replace("\0", " ")) for pid in self.server.processes()]
        return [pid for pid, line in found if all(word in line for word in words)]

    def agents(self) -> list[int]:
        """The agents' and runners' processes, not the shells that started them."""
        return [pid for pid in self.board_processes("--records") if not _is_shell(pid)]

    def daemons(self) -> list[int]:
        """The daemons', the one with the lock first."""
        return sorted(pid for pid in self.board_processes("hilgate: wanted Python") if not _is_shell(pid))

    def left_over(self) -> list[str]:
        """What still runs on the board, after a moment; then it is ended."""

        def nothing() -> bool | None:
            return None if self.server.processes() else True

        soon(nothing, LEFT_S)
        left = [f"on the board, process {pid}: {_command(pid)}" for pid in self.server.processes()]
        for pid in self.server.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return left


def _is_shell(pid: int) -> bool:
    return read_text(f"/proc/{pid}/comm").strip() in ("sh", "bash", "dash", "env")


def _command(pid: int) -> str:
    return textwrap.shorten(read_text(f"/proc/{pid}/cmdline").replace("\0", " "), 120)


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that is stopped for the block."""
    os.kill(pid, signal.SIGSTOP)
    yield
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
