"""The agent's process: frames in on stdin, frames out on what was stdout, everything else on stderr.

It ends when its stdin ends, when nothing was asked of it for a while, and when one operation takes longer than the
host allowed.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
import threading
import time
import traceback
from typing import Any

from . import orphans
from .frames import Buffer, Frame, FrameError, encode, read_frame
from .operations import Operations

# How long a running operation may go on after the host has gone, before the process ends with it.
GRACE_S = 30.0


class Pipe:
    """Frames over two descriptors of our own, away from 0 and 1, which libraries and children may use as they like."""

    def __init__(self, idle_s: float) -> None:
        self.idle_s = idle_s
        self.source = os.dup(0)
        self.sink = os.dup(1)
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        os.dup2(2, 1)  # a chatty library writes to stderr from here on

    def send(self, header: dict[str, Any], tensors: Any = ()) -> None:
        """Write one frame."""
        for part in encode(header, tensors):
            view = memoryview(part)
            while view:
                view = view[os.write(self.sink, view) :]

    def receive(self) -> Frame:
        """Wait for one frame.

        Raises:
            EOFError: the host has gone.
            TimeoutError: nothing came for idle_s seconds.
        """
        readable, _, _ = select.select([self.source], [], [], self.idle_s)
        if not readable:
            raise TimeoutError
        return read_frame(self._read)

    def _read(self, size: int) -> Buffer:
        buffer = bytearray(size)
        view = memoryview(buffer)
        while view:
            count = os.readv(self.source, [view])
            if not count:
                raise EOFError
            view = view[count:]
        return buffer

    def end_when_host_goes(self) -> None:
        """Watch for the other end's hang-up, so that a long operation does not outlive the host."""

        def watch() -> None:
            poll = select.poll()
            poll.register(self.source, 0)  # no events asked for: only the hang-up is reported, and nothing wakes before
            poll.poll()
            time.sleep(GRACE_S)
            os._exit(1)

        threading.Thread(target=watch, name="hang-up", daemon=True).start()


def serve(pipe: Pipe) -> None:
    """Answer requests until the host goes."""
    operations = Operations()
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
        # The default action of SIGALRM ends the process even when the runtime hangs with Python's lock held.
        signal.alarm(int(request.header.get("limit_s", 0)))
        try:
            header, tensors = operations(request.header, request.tensors)
        except Exception as error:  # noqa: BLE001  # whatever a runtime raises is the host's to judge
            text = f"{type(error).__name__}: {error}"
            header, tensors = {"error": text, "traceback": traceback.format_exc(limit=-8)}, []
        finally:
            signal.alarm(0)
        pipe.send(header, tensors)


def main() -> None:
    """Reap what earlier runs left, say hello, serve."""
    parser = argparse.ArgumentParser(prog="agent", description="hilgate's agent; started by hilgate, not by hand")
    parser.add_argument("--records", required=True, help="the folder of the agents' records in this store")
    parser.add_argument("--idle", type=float, default=1800, help="seconds without a request after which it ends")
    arguments = parser.parse_args()
    pipe = Pipe(arguments.idle)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    reaped = orphans.reap(arguments.records)
    record = orphans.write_record(arguments.records)
    pipe.end_when_host_goes()
    try:
        pipe.send({"hello": "hilgate", "pid": os.getpid(), "python": sys.version.split()[0], "reaped": reaped})
        serve(pipe)
    except (BrokenPipeError, FrameError) as error:
        print(f"agent: {type(error).__name__}: {error}", file=sys.stderr)
    finally:
        os.unlink(record)


if __name__ == "__main__":
    main()
