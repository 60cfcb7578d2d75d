"""The agent's process: frames in on stdin, frames out on what was stdout, everything else on stderr.

It ends when its stdin ends, when nothing was asked of it for a while, and when one operation takes longer than the
host allowed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import sys
import threading
import time
import traceback

from . import illegal, orphans
from .failure import CallFailed
from .frames import Frame, encode, read_frame
from .operations import Operations
from .private import make_folder, open_new
from .ring import InputError
from .wire import Buffer, FrameError

# How long a running operation may go on after the host has gone, before the process ends with it.
GRACE_S = 30.0
BUFFER = 1 << 16


class Pipe:
    """Frames over two descriptors.

    Args:
        source: the descriptor that requests are read from.
        sink: the descriptor that replies are written to.
        idle_s: how long to wait for a request.
    """

    def __init__(self, source: int, sink: int, idle_s: float) -> None:
        self.source, self.sink, self.idle_s = source, sink, idle_s
        self.buffered = memoryview(b"")
        self.keeping = False  # whether the reply in preparation must survive the host's disappearance

    @classmethod
    def from_stdio(cls, idle_s: float) -> Pipe:
        """Take over stdin and stdout, so that libraries and children may use descriptors 0 and 1 as they like."""
        pipe = cls(os.dup(0), os.dup(1), idle_s)
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        os.dup2(2, 1)  # a chatty library writes to stderr from here on
        return pipe

    def send(self, parts: list[Buffer]) -> None:
        """Write one frame."""
        for part in parts:
            view = memoryview(part)
            while view:
                view = view[os.write(self.sink, view) :]

    def receive(self) -> Frame:
        """Wait for one frame.

        Raises:
            EOFError: the host has gone.
            TimeoutError: nothing came for idle_s seconds.
        """
        if not self.buffered:
            readable, _, _ = select.select([self.source], [], [], self.idle_s)
            if not readable:
                raise TimeoutError
        return read_frame(self._read)

    def _read(self, size: int) -> Buffer:
        """Read exactly size bytes; one system call serves all parts of a small frame."""
        if 0 < size < BUFFER and not self.buffered:
            self.buffered = memoryview(os.read(self.source, BUFFER))
        if size <= len(self.buffered):
            part = bytearray(self.buffered[:size])  # a copy is aligned, and belongs to the backend
            self.buffered = self.buffered[size:]
            return part
        buffer = bytearray(size)
        view = memoryview(buffer)
        view[: len(self.buffered)] = self.buffered
        view, self.buffered = view[len(self.buffered) :], self.buffered[:0]
        while view:
            count = os.readv(self.source, [view])
            if not count:
                raise EOFError
            view = view[count:]
        return buffer

    def end_when_host_goes(self) -> None:
        """Start a thread that watches for the host's hang-up, so that a long operation does not outlive the host."""

        def watch() -> None:
            poll = select.poll()
            poll.register(
                self.source, 0
            )  # no events: only the hang-up is reported, and nothing wakes the thread before
            poll.poll()
            time.sleep(GRACE_S)
            while self.keeping:  # as long as the operation may take: its own watchdog ends it
                time.sleep(0.1)
            os._exit(1)

        threading.Thread(target=watch, name="hang-up", daemon=True).start()


class KeptReply:
    """A reply that may be lost on its way: kept in a file until the next request shows that it has arrived.

    A write to a connection that broke silently succeeds; so the reply is kept before it is sent.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.path = ""

    def keep(self, name: str, parts: list[Buffer]) -> None:
        """Write a frame to a file, whole or not at all."""
        path = os.path.join(self.folder, os.path.basename(name))
        with contextlib.suppress(OSError):  # on a full disk: it is sent all the same
            make_folder(self.folder)
            with open(open_new(path + ".new"), "wb") as file:
                file.writelines(parts)
                file.flush()
                os.fsync(file.fileno())  # otherwise a board whose power is cut leaves an empty file
            os.replace(path + ".new", path)
            self.path = path

    def drop(self) -> None:
        """Remove the kept reply, which has arrived."""
        if self.path:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)
            self.path = ""


def serve(pipe: Pipe, kept: KeptReply, operations: Operations) -> None:
    """Answer requests until the host goes.

    Args:
        pipe: the connection to the host.
        kept: keeps a reply that must not be lost: a request asks for it with "keep", the file's name.
        operations: carries the requests out.
    """
    while True:
        start = time.perf_counter_ns()
        try:
            request = pipe.receive()
        except EOFError:
            return
        except TimeoutError:
            print(f"agent: nothing was asked for {pipe.idle_s:g} s: ending", file=sys.stderr)
            return
        operations.waited_ns += time.perf_counter_ns() - start
        kept.drop()
        name = request.header.get("keep")
        pipe.keeping = bool(name)
        # The default action of SIGALRM ends the process even when the runtime hangs with Python's lock held.
        signal.alarm(int(request.header.get("limit_s", 0)))
        try:
            header, tensors = operations(request.header, request.tensors)
        except Exception as error:  # noqa: BLE001  # whatever a runtime raises is the host's to judge
            text = f"{type(error).__name__}: {error}"
            header, tensors = {"error": text, "traceback": traceback.format_exc(limit=-8)}, []
            header["input"] = isinstance(error, InputError)  # then the failure says nothing about the model
            if isinstance(error, CallFailed):
                header["remote"] = error.kind
        finally:
            signal.alarm(0)
        parts = encode(header, tensors)
        if name:
            kept.keep(name, parts)
            pipe.keeping = False
        pipe.send(parts)


def main(argv: list[str] | None = None, before_runtime_kib: int | None = None) -> None:
    """Run the agent: greet the host, then answer its requests until it goes.

    Args:
        argv: the command line; None is that of this process.
        before_runtime_kib: see Operations.
    """
    parser = argparse.ArgumentParser(prog="agent", description="hilgate's agent; started by hilgate, not by hand")
    parser.add_argument("--records", required=True, help="the folder of the agents' records in this store")
    parser.add_argument("--results", required=True, help="the folder of results that were not yet handed over")
    parser.add_argument("--run", default="", help="the run that it works for")
    parser.add_argument("--idle", type=float, default=1800, help="seconds without a request after which it ends")
    arguments = parser.parse_args(argv)
    os.umask(0o077)
    pipe = Pipe.from_stdio(arguments.idle)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    illegal.install_handler()
    with contextlib.suppress(PermissionError):  # it leads a group already
        os.setpgid(0, 0)  # whoever ends it ends what it has started, too
    record = orphans.write_record(arguments.records, arguments.run)
    pipe.end_when_host_goes()
    try:
        pipe.send(encode({"hello": "hilgate", "pid": os.getpid(), "python": sys.version.split()[0]}))
        serve(pipe, KeptReply(arguments.results), Operations(before_runtime_kib))
    except (BrokenPipeError, FrameError) as error:
        print(f"agent: {type(error).__name__}: {error}", file=sys.stderr)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(record)


if __name__ == "__main__":
    main()
