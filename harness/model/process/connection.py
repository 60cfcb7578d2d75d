"""One life of a model's process: started, asked, watched, and killed if it hangs or takes too much."""

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
from ...host.exit_cause import describe_status
from ...printable import printable, printable_lines
from ..user_process import LOOK_S, Bounds, environment, kill, used_mib
from .wire import decode_error, encode, encode_error, receive

START = (
    "import json, sys; request = json.loads(sys.argv[1]); sys.path[:] = request['path'];"
    "from harness.model.process.worker import main; main(request)"
)
# Reading a file that takes longer than this is reported, once.
TELL_AFTER_S = 10.0
# How long the process has to end by itself: a model's code may have something to clean up.
ENDING_S = 2.0
# How much of its last output is kept, and how much of that an error shows.
OUTPUT_BYTES = 1 << 16
SHOWN_CHARACTERS = 2000


class Connection:
    """A process of a model file, and the socket to it; ``start`` makes one.

    Attributes:
        in_step: Whether the process waits for a question; otherwise nothing more can be asked.
        compared: What the process has been asked about ("file", "built") and answered like the file's first process;
            see ModelProcess.expect.
        output: The pipe with the process's stdout and stderr.
        recent_output: The end of its output during the current question.
        ended: A pidfd, readable once the process has ended; -1 after ``end``.
    """

    def __init__(
        self,
        *,
        path: Path,
        bounds: Bounds,
        process: subprocess.Popen[bytes],
        connection: socket.socket,
        output: int,
        ended: int,
        selector: selectors.BaseSelector,
    ) -> None:
        self.path, self.bounds = path, bounds
        self.process, self.connection, self.output, self.ended = process, connection, output, ended
        self.selector = selector
        self.in_step = True
        self.compared: set[str] = set()
        self.recent_output = bytearray()
        self.deadline = self.allowed_s = 0.0
        self.telling = math.inf
        self.looked = 0.0
        self.kill = weakref.finalize(self, kill, self.process)

    @classmethod
    def start(cls, path: Path, bounds: Bounds, search_path: Sequence[str]) -> Connection:
        """Start a process for a model file.

        Args:
            path: The model file.
            bounds: What the process may take.
            search_path: Where its code finds modules.
        """
        connection, theirs = socket.socketpair()
        connection.setblocking(False)
        request = {
            "model": str(path),
            "socket": theirs.fileno(),
            "parent": os.getpid(),
            "path": list(search_path),
        }
        output, their_output = os.pipe()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-c", START, json.dumps(request)],
                stdin=subprocess.DEVNULL,
                stdout=their_output,
                stderr=subprocess.STDOUT,
                env=environment(),
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for the run; and what the process forks is killed with it
            )
        os.close(their_output)
        os.set_blocking(output, False)
        ended = os.pidfd_open(process.pid)
        selector = selectors.DefaultSelector()
        for readable in (connection, output, ended):
            selector.register(readable, selectors.EVENT_READ)
        return cls(
            path=path,
            bounds=bounds,
            process=process,
            connection=connection,
            output=output,
            ended=ended,
            selector=selector,
        )

    def answer(self, frame: list[memoryview], functions: list[Any], *, reading: bool = False) -> Any:
        """Send a question, call the functions that it calls, and return its answer.

        Args:
            frame: The encoded question.
            functions: The functions among its arguments.
            reading: Whether the question only needs the file to be read: it then has less time, and a message appears
                if it takes long.

        Raises:
            ProcessError: The process ended, or went beyond its bounds.
            Exception: Whatever the question raises.
        """
        self.recent_output.clear()
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
                self._send(self._call(functions, raised, *rest))
        finally:
            self._drain()
            self._show_output()
        self.in_step = True
        if kind == "answer":
            return rest[0]
        described, origin = rest
        raise decode_error(described) if origin is None else raised[origin]

    def _call(self, functions: list[Any], raised: list[HilgateError], number: int, args: Any, kwargs: Any) -> Any:
        """Call one of a question's functions, without counting its time as the model's; return the framed result."""
        start, deadline, allowed_s = time.monotonic(), self.deadline, self.allowed_s
        try:
            frame = encode(("returned", functions[number](*args, **kwargs)))
        except HilgateError as error:
            if self.ended < 0:
                raise  # the function asked the process something, of which it died
            raised.append(error)
            frame = encode(("raised", encode_error(error), len(raised) - 1))
        self.deadline, self.allowed_s = deadline + time.monotonic() - start, allowed_s
        self.in_step = False  # a question that the function asked has set it to True
        return frame

    def _send(self, frame: list[memoryview]) -> None:
        for part in frame:
            unsent = part.cast("B")
            while unsent.nbytes:
                self._wait(selectors.EVENT_WRITE)
                try:
                    unsent = unsent[self.connection.send(unsent) :]
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
        """Wait until the connection is ready for an event.

        Raises:
            ProcessError: The process ended, or went beyond its bounds.
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
            found=found + self._shown_output(),
            where=str(self.path),
            hint="its process was killed; look at what the model file does when it is read, built and run",
        )

    def _died(self) -> ProcessError:
        """Make the error for a connection that was closed, or a process that ended."""
        has_ended = self._wait_for_end()
        self._drain()
        self.end()
        status = describe_status(self.process.returncode)
        hung_up = "it closed all its files, the connection to this run among them"
        return ProcessError(
            "the model's process ended in the middle of a question",
            wanted="code that returns, or raises an error",
            found=(status if has_ended else hung_up) + self._shown_output(),
            where=str(self.path),
            hint="look for os._exit, a crash in compiled code, or memory that runs out",
        )

    def _drain(self) -> None:
        """Read the output that is there; a bounded number of times, for a process may write all the time."""
        for _ in range(16):
            try:
                data = os.read(self.output, OUTPUT_BYTES)
            except (BlockingIOError, OSError):
                return
            if not data:
                if self.ended >= 0 and self.output in self.selector.get_map():
                    self.selector.unregister(self.output)
                return
            self.recent_output += data
            del self.recent_output[:-OUTPUT_BYTES]

    def _show_output(self) -> None:
        """Print the process's output to our stderr, as if its code had run here: pytest shows it with a failure."""
        if text := self.recent_output.decode(errors="replace"):
            print(printable_lines(text, 2 * OUTPUT_BYTES), end="", file=sys.stderr, flush=True)

    def _shown_output(self) -> str:
        text = self.recent_output.decode(errors="replace").strip()[-SHOWN_CHARACTERS:]
        return f"; its output ends:\n{text}" if text else ""

    def is_dead(self) -> bool:
        """Tell whether the process has ended since the last question."""
        return self.ended < 0 or bool(select.select([self.ended], [], [], 0)[0])

    def cpu_s(self) -> float:
        """Return the process's CPU time in seconds, from fields 14 and 15 of /proc/PID/stat; see proc(5)."""
        fields = read_text(f"/proc/{self.process.pid}/stat").rpartition(")")[2].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")

    def hang_up(self) -> None:
        """Close the connection, wait for the process to end by itself, and kill it if it does not."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self._wait_for_end()
        self.end()

    def _wait_for_end(self) -> bool:
        """Wait up to ENDING_S, and tell whether the process has ended.

        It stays a zombie, so that its number is not another process's when its group is killed.
        """
        return bool(select.select([self.ended], [], [], ENDING_S)[0])

    def end(self) -> None:
        """Kill the process, with all that it has forked, and close what led to it."""
        self.in_step = False
        self.kill()  # does nothing the second time
        if self.ended >= 0:
            self.selector.close()
            os.close(self.ended)
            self.ended = -1
            self.connection.close()
            self._drain()
            os.close(self.output)
            self.output = -1
