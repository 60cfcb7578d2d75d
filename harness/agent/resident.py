"""A process that has imported a backend's runtime and waits: whoever connects is given a copy of it, as its agent.

Importing torch takes an emulated board half a minute; a saved state of the board holds this process, and so each agent
there begins where that half minute ends. On a Unix socket it takes one message a connection:

    CWD NUL RUN NUL ARGUMENT NUL …   with stdin, stdout and stderr of the process that asks (SCM_RIGHTS)

forks, and lets the child be the agent; it answers with the child's wait status, a 32-bit integer, when it has ended.
See join for the other end. Started by the host (harness.board.prepared) as

    python -m agent.resident SOCKET

it says "ready" when it waits, and goes on in the background. When memory runs out the kernel takes it first: it is no
part of what is measured, and agents then start without it.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import random
import select
import signal
import socket
import struct
import sys
import traceback
from typing import Any

from . import __main__ as agent
from . import telemetry
from .orphans import MARK

MESSAGE_BYTES = 1 << 16
DESCRIPTORS = 3
# Populate page tables for reading, as if every page had been read (madvise(2), Linux 5.14).
MADV_POPULATE_READ = 22
PRESENT = 1 << 63
SWAPPED = 1 << 62
FIRST_KILLED, AS_USUAL = 1000, 0


class FilePages:
    """The pages of files, shared libraries mostly, that this process has mapped.

    A child of fork inherits what is its parent's own, but finds the pages of files again one by one. A process that had
    imported the runtime by itself has them all: so its resident set is only the same when they are mapped again.
    """

    def __init__(self) -> None:
        self.runs = list(_mapped_runs())
        self._libc = ctypes.CDLL(None, use_errno=True)

    def map(self) -> None:
        """Map them again."""
        for start, size in self.runs:
            self._libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), MADV_POPULATE_READ)


def _mapped_runs() -> Any:
    """(address, bytes) of each stretch of pages of files that is mapped; from /proc/self/pagemap, see proc(5)."""
    with open("/proc/self/maps", encoding="utf-8") as file:
        lines = [line.split(maxsplit=5) for line in file]
    with open("/proc/self/pagemap", "rb", buffering=0) as pagemap:
        for fields in lines:
            if len(fields) < 6 or not fields[5].startswith("/") or fields[1][0] != "r":
                continue
            start, end = (int(address, 16) for address in fields[0].split("-"))
            count = (end - start) // mmap.PAGESIZE
            pagemap.seek(start // mmap.PAGESIZE * 8)
            entries = struct.unpack(f"<{count}Q", pagemap.read(count * 8))
            begin = None
            for index, entry in enumerate((*entries, 0)):
                if entry & PRESENT and begin is None:
                    begin = index
                elif not entry & PRESENT and begin is not None:
                    yield start + begin * mmap.PAGESIZE, (index - begin) * mmap.PAGESIZE
                    begin = None


def become_agent(request: list[str], descriptors: list[int], pages: FilePages, record: dict[str, int]) -> None:
    """What the child does, until its end."""
    status = 1
    try:
        os.setsid()
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
            os.close(descriptor)
        _set_oom_score(AS_USUAL)
        folder, os.environ[MARK], *arguments = request
        os.chdir(folder)
        random.seed()
        pages.map()
        telemetry.inherited_peak_kib = record["peak"]
        agent.main(arguments, record["before_runtime"])
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001  # as the interpreter would: the parent's loop must never go on in a child
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        os._exit(status)


def serve(listener: socket.socket, pages: FilePages, record: dict[str, int]) -> None:
    """Until the kernel or the next run ends it."""
    children: dict[int, tuple[int, socket.socket]] = {}
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while True:
        for ready, _ in poll.poll():
            if ready in children:
                pid, connection = children.pop(ready)
                poll.unregister(ready)
                os.close(ready)
                with contextlib.suppress(OSError):
                    connection.sendall(struct.pack("<i", os.waitpid(pid, 0)[1]))
                connection.close()
                continue
            connection, _ = listener.accept()
            try:
                message, descriptors, _, _ = socket.recv_fds(connection, MESSAGE_BYTES, DESCRIPTORS)
                request = os.fsdecode(message).split("\0")
            except OSError:
                connection.close()
                continue
            pid = os.fork()
            if pid == 0:
                listener.close()
                connection.close()
                become_agent(request, descriptors, pages, record)
            for descriptor in descriptors:
                os.close(descriptor)
            ended = os.pidfd_open(pid)
            children[ended] = pid, connection
            poll.register(ended, select.POLLIN)


def _set_oom_score(score: int) -> None:
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write(str(score))


def main() -> None:
    """Import the runtime, go to the background, serve."""
    path = sys.argv[1]
    before = telemetry.memory_kib()["peak"]
    from . import backend  # type: ignore[attr-defined]  # shipped beside this file in a bundle

    backend.preload()
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(8)
    record = {"before_runtime": before, "peak": telemetry.memory_kib()["peak"]}
    if os.fork():
        os.write(1, b"ready\n")
        os._exit(0)
    os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(DESCRIPTORS):
        os.dup2(nothing, number)
    os.chdir("/")
    _set_oom_score(FIRST_KILLED)
    serve(listener, FilePages(), record)


if __name__ == "__main__":
    main()
