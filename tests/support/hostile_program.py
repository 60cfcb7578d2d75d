"""The program that stands on a hostile board in Python's place: it runs the real one, and changes what that says.

Nothing of harness is imported: it is copied to the board, REAL and PLAN filled in. The plan, a JSON file, names the
program ("daemon" or "agent"), the operation whose answer is changed ("start" for the first frame), and how:

    {"set": ["a", 0, "b"], "to": JSON}     a field of the header has another value
    {"drop": ["a", "b"]}                   it is not there
    {"announce": BYTES}                    the frame's payload is said to be so large, and does not come
    {"header": "TEXT", "times": N}         the header is this text so many times
    {"working": SECONDS}                   it says that it is at work, every so many seconds, for ever
    {"endless": "stdout" | "stderr"}       text without end; on stderr, the answer comes all the same
    {"samples": N}                         int64[N] in place of the tensors; int64[N, …] of {"samples": [N, …]}
    {"twice": true}                        its tensors come twice
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

Plan = dict[str, Any]

REAL, PLAN = "@REAL@", "@PLAN@"
PREAMBLE = struct.Struct("<4sHHIQ")
MAGIC = b"\x89HIL"
# The host has ended its requests, or has gone.
ENDED = threading.Event()


def exactly(stream: IO[bytes], size: int) -> bytes:
    """Read so many bytes; the end ends this thread."""
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data


def frame_of(stream: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    """Read one frame as it is: header, its object, payload."""
    preamble = exactly(stream, PREAMBLE.size)
    *_, header_size, payload_size = PREAMBLE.unpack(preamble)
    header = exactly(stream, header_size)
    return json.loads(header), exactly(stream, payload_size)


def packed(header: Any, payload: bytes = b"", announced: int | None = None) -> bytes:
    """Lay out a frame."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = len(payload) if announced is None else announced
    return PREAMBLE.pack(MAGIC, 1, 0, len(text), size) + text + payload


def pass_up(source: IO[bytes], sink: IO[bytes], program: str, asked: queue.Queue[str]) -> None:
    """Hand the host's requests on, and note what they ask for."""
    with contextlib.suppress(EOFError, OSError):
        if program == "daemon":
            for _ in range(2):  # the sources, then the arguments: see harness.agent.daemon.boot
                size = exactly(source, 8)
                sink.write(size + exactly(source, int(size)))
            sink.flush()
        while True:
            header, payload = frame_of(source)
            if header["op"] != "file":
                asked.put(header["op"])
            sink.write(packed(header, payload))
            sink.flush()
    with contextlib.suppress(OSError):
        sink.close()
    ENDED.set()
    asked.put("")  # none: pass_down waits for the program's end from now on, and no longer for a question


def pass_down(source: IO[bytes], plan: Plan, asked: queue.Queue[str]) -> None:
    """Hand answers on, and change the one that the plan names."""
    operation = "start"
    while True:
        try:
            header, payload = frame_of(source)
        except EOFError:
            return
        if operation == plan["operation"] and not header.get("working"):
            lie(plan, header, payload)
        else:
            say(packed(header, payload))
        if not header.get("working"):
            operation = asked.get()


def say(data: bytes) -> None:
    """Write it all to the host."""
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def lie(plan: Plan, header: dict[str, Any], payload: bytes) -> None:
    """Answer something else."""
    if "working" in plan or plan.get("endless") == "stdout":
        go_on(plan)
    if plan.get("endless") == "stderr":
        threading.Thread(target=shout, daemon=True).start()
    if "announce" in plan:
        say(packed(header, announced=plan["announce"]))
        ENDED.wait()
    if "header" in plan:
        say(packed(plan["header"].encode() * plan["times"], payload))
        return
    if "samples" in plan:
        shape = plan["samples"] if isinstance(plan["samples"], list) else [plan["samples"]]
        header["tensors"], payload = [["int64", shape]], bytes(8 * math.prod(shape))
    if "twice" in plan:
        payload += bytes(-len(payload) % 64) + payload
        header["tensors"] *= 2
    change(plan, header)
    say(packed(header, payload))


def go_on(plan: Plan) -> None:
    """Say the same for ever."""
    while True:
        say(packed({"working": True}) if "working" in plan else b"Welcome to the board! " * 1000)
        time.sleep(plan.get("working", 0))


def change(plan: Plan, header: dict[str, Any]) -> None:
    """Give a field another value, or take it away."""
    if not (place := plan.get("set") or plan.get("drop")):
        return
    holder: Any = header
    for key in place[:-1]:
        holder = holder[key]
    if "drop" in plan:
        del holder[place[-1]]
    else:
        holder[place[-1]] = plan["to"]


def shout() -> None:
    """Say nothing of use, without an end."""
    while True:
        os.write(2, b"something happened\x1b[2J\n" * 1000)


def main() -> None:
    """Be the real program, or stand before it."""
    words = sys.argv[1:]
    program = "agent" if "agent" in words else "daemon" if "-c" in words else ""
    plan = json.loads(Path(PLAN).read_text(encoding="utf-8"))
    if program != plan.get("program"):
        os.execv(REAL, [REAL, *words])  # noqa: S606  # no shell is meant
    with subprocess.Popen([REAL, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        asked: queue.Queue[str] = queue.Queue()
        assert process.stdin is not None
        assert process.stdout is not None
        up = threading.Thread(target=pass_up, args=(sys.stdin.buffer, process.stdin, program, asked), daemon=True)
        up.start()
        try:
            pass_down(process.stdout, plan, asked)
        except OSError:
            process.kill()  # the host has had enough
        status = process.wait()
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


main()
