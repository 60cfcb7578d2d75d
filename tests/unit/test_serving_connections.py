"""Connections to `hilgate serve` whose callers stall, flood or do not read: real sockets, short limits."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import uvicorn

from harness.agent.frames import Array
from harness.model.input_spec import Input
from harness.serving import sockets
from harness.serving.front import Front
from harness.serving.interface import Interface, OutputFacts
from harness.serving.limits import ServingLimits
from harness.serving.server import Signals, announcement, run_app
from harness.serving.worker import Job
from tests.support.oip import in_json

LIMITS = ServingLimits(connections=4, read_s=0.5, write_s=0.5, idle_s=1, grace_s=1)
INTERFACE = Interface(
    name="net",
    platform="hilgate_test",
    inputs=(Input("x", shape=("batch", 2), dtype="float32"),),
    dims={"batch": range(1, 100_000)},
    outputs=(OutputFacts("y", "FP32", (-1, 2)),),
)
HEAD = b"POST /v2/models/net/infer HTTP/1.1\r\nHost: a\r\n"


class Worker:
    """In the worker's place: a large answer at once, or none at all."""

    def __init__(self) -> None:
        self.problem = ""
        self.jobs: list[Job] = []
        self.answers = True

    def submit(self, inputs: dict[str, Array]) -> Job:
        job = Job(inputs=inputs, answer=asyncio.get_running_loop().create_future())
        self.jobs.append(job)
        if self.answers:
            job.settle([np.zeros((4_000_000, 2), np.float32)])
        return job


class Running:
    """A front that listens on loopback."""

    def __init__(self) -> None:
        self.worker: Any = Worker()
        self.told: list[str] = []
        self.signals = Signals()
        self.listening = sockets.bind("127.0.0.1", 0)
        sockets.listen(self.listening)
        self.address = self.listening.getsockname()
        app = Front(self.worker, INTERFACE, LIMITS).app()
        arguments = (app, LIMITS, self.listening, self.signals, self.told.append)
        self.thread = threading.Thread(target=run_app, args=arguments)

    @property
    def server(self) -> uvicorn.Server:
        assert self.signals.server is not None
        return self.signals.server

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=20)


@pytest.fixture
def running() -> Iterator[Running]:
    made = Running()
    made.thread.start()
    while made.signals.server is None or not made.server.started:
        time.sleep(0.01)
    yield made
    made.server.should_exit = True
    made.thread.join(20)
    assert not made.thread.is_alive()


def rest(made: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    found = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while part := made.recv(1 << 16):
            found += part
    return bytes(found)


@pytest.mark.parametrize("sent", [b"", b"G", b"GET /v2 HTTP/1.1\r\nHost: a\r\nX: "])
def test_a_head_that_does_not_come_is_not_waited_for(running: Running, sent: bytes) -> None:
    with running.connect() as made:
        start = time.monotonic()
        made.sendall(sent)
        answer = rest(made)
        assert answer.startswith(b"HTTP/1.1 408")
        assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"error": "no request came in 0.5 s"}
        assert time.monotonic() - start < 10


def test_a_head_that_trickles_is_not_waited_for_either(running: Running) -> None:
    with running.connect() as made, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        start = time.monotonic()
        for _ in range(200):
            made.sendall(b"G")
            time.sleep(0.1)
    assert time.monotonic() - start < 15


def test_a_body_that_trickles_is_not_waited_for(running: Running) -> None:
    with running.connect() as made:
        made.sendall(HEAD + b"Content-Length: 1000\r\n\r\n")
        start = time.monotonic()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(100):
                made.sendall(b"x")
                time.sleep(0.1)
        assert time.monotonic() - start < 9
        assert running.worker.jobs == []


def test_what_is_sent_behind_a_refusal_is_not_read_for_ever(running: Running) -> None:
    with running.connect() as made:
        made.sendall(b"POST /nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000000\r\n\r\n")
        start = time.monotonic()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while time.monotonic() < start + 20:
                made.sendall(bytes(1000))
                time.sleep(0.01)
        assert time.monotonic() - start < 15


def test_a_caller_that_does_not_read_its_answer_is_let_go(running: Running) -> None:
    body = in_json([0, 0], [1, 2], parameters={"binary_data_output": True})
    with running.connect() as made:
        made.sendall(HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        end = time.monotonic() + 20
        while not running.worker.jobs or running.server.server_state.connections:
            assert time.monotonic() < end
            time.sleep(0.05)


def test_an_idle_connection_is_closed(running: Running) -> None:
    with running.connect() as made:
        made.sendall(b"GET /ping HTTP/1.1\r\nHost: a\r\n\r\n")
        start = time.monotonic()
        assert rest(made).startswith(b"HTTP/1.1 200")
        assert 0.5 < time.monotonic() - start < 10


def test_a_connection_too_many_is_told_so(running: Running) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(LIMITS.connections):
            stack.enter_context(running.connect())
        with running.connect() as made:
            assert rest(made).startswith(b"HTTP/1.1 503")


def test_who_waits_for_the_model_is_not_cut_and_who_goes_is_forgotten(running: Running) -> None:
    running.worker.answers = False
    body = in_json([0, 0], [1, 2])
    with running.connect() as made:
        made.sendall(HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        time.sleep(2 * LIMITS.read_s)
        (job,) = running.worker.jobs
        assert not job.abandoned
        made.setblocking(False)
        with pytest.raises(BlockingIOError):
            made.recv(1)
    end = time.monotonic() + 10
    while not job.abandoned:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_defect_is_told_to_whoever_started_the_server(running: Running) -> None:
    running.worker.submit = None
    body = in_json([0, 0], [1, 2])
    with running.connect() as made:
        made.sendall(HEAD + f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        assert rest(made).startswith(b"HTTP/1.1 500")
    assert "TypeError" in "".join(running.told)


def test_it_says_who_can_reach_it() -> None:
    with (
        contextlib.closing(sockets.bind("127.0.0.1", 0)) as inner,
        contextlib.closing(sockets.bind("0.0.0.0", 0)) as all_,  # noqa: S104
    ):
        assert "this machine only" in announcement(INTERFACE, "onnxruntime", inner)
        said = announcement(INTERFACE, "onnxruntime", all_)
    assert "anybody who reaches it" in said
    assert f'url = "http://{socket.gethostname()}:' in said
