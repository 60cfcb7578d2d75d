"""One life of a model's process: started, asked, watched, and killed when it hangs or takes too much."""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import selectors
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...agent.facts import read_text
from ...errors import HilgateError, ProcessError
from ...host.death import describe_status
from ...printable import printable, printable_lines
from ..user_process import LOOK_S, Bounds, environment, kill, used_mib
from .wire import decode_error, encode, encode_error, receive

START = (
    "import json, sys; request = json.loads(sys.argv[1]); sys.path[:] = request['path'];"
    "from harness.model.process.worker import main; main(request)"
)
# Reading a file that takes longer than this is said, once.
TELL_AFTER_S = 10.0
# How long it has to end by itself: a model's code may have something to put away.
ENDING_S = 2.0
# What is kept of its output, and how much of that an error tells.
OUTPUT_BYTES = 1 << 16
TOLD_CHARACTERS = 2000


class Connection:
    """A process of a model file, and the socket to it.

    Attributes:
        in_step: whether it waits for a question; otherwise nothing more can be asked.
        compared: about what it has answered as the first process of the file has; see ModelProcess.expect.
    """

    def __init__(self, path: Path, bounds: Bounds, search_path: Sequence[str]) -> None:
        self.path, self.bounds = path, bounds
        self.in_step = True
        self.compared: set[str] = set()
        self.connection, theirs = socket.socketpair()
        self.connection.setblocking(False)
        request = {
            "model": str(path),
            "socket": theirs.fileno(),
            "parent": os.getpid(),
            "path": list(search_path),
        }
        self.output, said = os.pipe()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", START, json.dumps(request)],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                env=environment(),
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is the run's; and what it forks ends with it
            )
        os.close(said)
        os.set_blocking(self.output, False)
        self.said = bytearray()
        self.ended = os.pidfd_open(self.process.pid)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.connection, selectors.EVENT_READ)
        self.selector.register(self.output, selectors.EVENT_READ)
        self.selector.register(self.ended, selectors.EVENT_READ)
        self.deadline = self.allowed_s = 0.0
        self.telling = math.inf
        self.looked = 0.0
        self.kill = weakref.finalize(self, kill, self.process)

    def answer(self, frame: list[memoryview], functions: list[Any], *, reading: bool = False) -> Any:
        """Ask, and serve what the question calls until it answers.

        Args:
            reading: whether nothing is to be done but to read the file: shorter, and said where it is not short.
        """
        self.said.clear()
        self.allowed_s = min(self.bounds.seconds, self.bounds.reading_s) if reading else self.bounds.seconds
        start = time.monotonic()
        self.deadline = start + self.allowed_s
        self.telling = start + TELL_AFTER_S if reading else math.inf
        self.in_step = False
        raised: list[HilgateError] = []
        try:
            self._send(frame)
            while True:
                kind, *rest = receive(self._fill)
                if kind != "call":
                    break
                self._send(self._called(functions, raised, *rest))
        finally:
            self._drain()
            self._tell()
        self.in_step = True
        if kind == "answer":
            return rest[0]
        described, origin = rest
        raise decode_error(described) if origin is None else raised[origin]

    def _called(self, functions: list[Any], raised: list[HilgateError], number: int, args: Any, kwargs: Any) -> Any:
        """Call one of the functions that a question was given; what that takes is not the model's time."""
        start, deadline, allowed_s = time.monotonic(), self.deadline, self.allowed_s
        try:
            frame = encode(("returned", functions[number](*args, **kwargs)))
        except HilgateError as error:
            if self.ended < 0:
                raise  # asked itself, the process has died of it
            raised.append(error)
            frame = encode(("raised", encode_error(error), len(raised) - 1))
        self.deadline, self.allowed_s = deadline + time.monotonic() - start, allowed_s
        self.in_step = False  # again, where the function has asked something itself
        return frame

    def _send(self, frame: list[memoryview]) -> None:
        for part in frame:
            left = part.cast("B")
            while left.nbytes:
                self._wait(selectors.EVENT_WRITE)
                try:
                    left = left[self.connection.send(left) :]
                except BlockingIOError:
                    continue
                except OSError:
                    raise self._died() from None

    def _fill(self, buffer: memoryview) -> None:
        while buffer.nbytes:
            self._wait(selectors.EVENT_READ)
            try:
                count = self.connection.recv_into(buffer)
            except BlockingIOError:
                continue
            except OSError:
                count = 0
            if not count:
                raise self._died()
            buffer = buffer[count:]

    def _wait(self, event: int) -> None:
        """Until the connection is ready.

        Raises:
            ProcessError: the process ended, or went beyond its bounds.
        """
        self.selector.modify(self.connection, event)
        while True:
            self._check_bounds()
            ready = {key.fileobj for key, _ in self.selector.select(LOOK_S)}
            if self.output in ready:
                self._drain()
            if self.connection in ready and not (event == selectors.EVENT_WRITE and self.ended in ready):
                return
            if self.ended in ready:
                raise self._died()

    def _check_bounds(self) -> None:
        now = time.monotonic()
        if now > self.deadline:
            raise self._beyond("is not done in time", f"an answer within {self.allowed_s:g} s", "none")
        if now - self.looked < LOOK_S:
            return
        if now > self.telling:
            self.telling = math.inf
            path = printable(str(self.path))
            print(f"hilgate: waiting for {path} to be read, {self.allowed_s:g} s at most", file=sys.stderr)
        self.looked = now
        used = used_mib(self.process.pid, enough=self.bounds.memory_mib)
        if used > self.bounds.memory_mib:
            wanted, found = f"at most {self.bounds.memory_mib:.0f} MiB in its process", f"{used:.0f} MiB"
            raise self._beyond("takes more memory than this host can give", wanted, found)

    def _beyond(self, what: str, wanted: str, found: str) -> ProcessError:
        self.end()
        return ProcessError(
            f"the model's code {what}",
            wanted=wanted,
            found=found + self._told(),
            where=str(self.path),
            hint="its process was killed; look at what the model file does when it is read, built and run",
        )

    def _died(self) -> ProcessError:
        """The connection is closed, or the process ended."""
        ended = self._has_ended()
        self._drain()
        self.end()
        status = describe_status(self.process.returncode)
        hung_up = "it closed all its files, the connection to this run among them"
        return ProcessError(
            "the model's process ended in the middle of a question",
            wanted="code that returns, or raises an error",
            found=(status if ended else hung_up) + self._told(),
            where=str(self.path),
            hint="look for os._exit, a crash in compiled code, or memory that runs out",
        )

    def _drain(self) -> None:
        """Take what it said meanwhile; not for ever, where it says more all the time."""
        for _ in range(16):
            try:
                data = os.read(self.output, OUTPUT_BYTES)
            except (BlockingIOError, OSError):
                return
            if not data:
                if self.ended >= 0 and self.output in self.selector.get_map():
                    self.selector.unregister(self.output)
                return
            self.said += data
            del self.said[:-OUTPUT_BYTES]

    def _tell(self) -> None:
        """What it said, on our own stderr, where it would be had it run here: pytest shows it beside a failure."""
        if text := self.said.decode(errors="replace"):
            print(printable_lines(text, 2 * OUTPUT_BYTES), end="", file=sys.stderr, flush=True)

    def _told(self) -> str:
        text = self.said.decode(errors="replace").strip()[-TOLD_CHARACTERS:]
        return f"; its output ends:\n{text}" if text else ""

    def is_dead(self) -> bool:
        """Whether it has ended since it was asked last."""
        return self.ended < 0 or bool(select.select([self.ended], [], [], 0)[0])

    def cpu_s(self) -> float:
        """Tell how long the process has computed: fields 14 and 15 of /proc/PID/stat, in ticks; see proc(5)."""
        fields = read_text(f"/proc/{self.process.pid}/stat").rpartition(")")[2].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")

    def hang_up(self) -> None:
        """Let it end by itself; kill it where it does not."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self._has_ended()
        self.end()

    def _has_ended(self) -> bool:
        """Whether it ends by itself; it stays a zombie, so that its number is no other's when its group is killed."""
        return bool(select.select([self.ended], [], [], ENDING_S)[0])

    def end(self) -> None:
        """Kill it, with what it has forked."""
        self.in_step = False
        self.kill()  # once
        if self.ended >= 0:
            self.selector.close()
            os.close(self.ended)
            self.ended = -1
            self.connection.close()
            self._drain()
            os.close(self.output)
            self.output = -1
