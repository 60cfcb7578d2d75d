"""Answers in parts: frames as the specification has them, streams that are cut, and the errors that end them."""

from __future__ import annotations

import io
import itertools
import json
import time
from collections.abc import Iterator
from http.client import HTTPResponse
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from botocore.eventstream import EventStreamBuffer

from harness.agent.failure import NEVER, CallFailed
from harness.agent.first_parts import FirstParts
from harness.agent.frames import Array
from harness.agent.pacing import Pace, paced_loop
from harness.agent.remote.event_stream import read_parts
from harness.agent.timing import timed_loop
from harness.deploy.content import Timed
from harness.deploy.first_parts import FIRST_PARTS, why_unlike
from tests.support.certificates import Authority
from tests.support.signed_server import SignedServer, frame, part
from tests.unit.test_sagemaker_client import X, client_of, failure

# Published with AWS's SDKs as "payload_one_str_header" (awslabs/aws-c-event-stream; botocore's tests have it, too).
VECTOR = b"\0\0\0=\0\0\0 \x07\xfd\x83\x96\x0ccontent-type\x07\0\x10application/json{'foo':'bar'}\x8d\x9c\x08\xb1"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def started(authority: Authority) -> Iterator[SignedServer]:
    with SignedServer(authority.server()) as server:
        yield server


@pytest.fixture
def server(started: SignedServer) -> SignedServer:
    started.stream, started.delay_s, started.parts = None, 0.0, 3
    return started


def exception(name: str, **table: str) -> bytes:
    return frame(json.dumps(table).encode(), message_type="exception", exception_type=name)


def test_the_frames_of_these_tests_are_those_of_the_published_vector() -> None:
    decoder = EventStreamBuffer()
    decoder.add_data(VECTOR)
    (message,) = decoder
    assert (message.headers, message.payload) == ({"content-type": "application/json"}, b"{'foo':'bar'}")
    assert frame(b"{'foo':'bar'}", prefix="", content_type="application/json") == VECTOR


# An answer's head, and as long as the server says that it is.
HEAD_BYTES = 105
WHOLE = b'{"outputs":[{"name":"y","datatype":"FP32","shape":[1,3],"parameters":{"binary_data_size":12}}]}'
FRAME = part(WHOLE + bytes(12))


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        (FRAME[:-5], "ended inside a frame"),
        (FRAME[:6], "ended inside a frame"),
        (part(WHOLE[:50]), "header is no JSON|is no JSON|of an answer of 50 bytes"),
        (part(WHOLE.ljust(HEAD_BYTES)) + part(bytes(8)), "8 bytes of tensors; its header says 12"),
        (b"", "json-header-size|of an answer of 0 bytes"),
        (FRAME[:-1] + bytes([FRAME[-1] ^ 1]), "ChecksumMismatch"),
        (bytes([FRAME[0], FRAME[1], FRAME[2] ^ 1]) + FRAME[3:], "ChecksumMismatch"),
        (b"<html><head><title>log in</title></head></html>", "a frame that is broken"),
        (part(bytes(1 << 21)) + part(bytes(1 << 21)), "more than 3000000 bytes"),
        (exception("ModelStreamError", Message="stop", ErrorCode="StreamBroken"), "ErrorCode StreamBroken: stop"),
        (
            part(WHOLE) + exception("ModelStreamError", Message="m", ErrorCode="ModelInvocationTimeExceeded"),
            "ErrorCode ModelInvocationTimeExceeded: m .the container took longer",
        ),
        (exception("InternalStreamFailure", Message="oh"), "InternalStreamFailure of the service: oh"),
        (frame(b"", message_type="error", error_code="X", error_message="y"), "an error of the service: X y"),
    ],
)
def test_a_stream_that_is_cut_wrong_or_ends_with_an_error_is_broken(
    server: SignedServer, authority: Authority, stream: bytes, words: str
) -> None:
    client = client_of(server, authority, stream=True, max_response_bytes=3_000_000)
    server.stream = stream
    with pytest.raises(CallFailed, match=words) as caught:
        client.infer([X[:1]])
    assert caught.value.kind == "broken"
    server.stream = None
    np.testing.assert_array_equal(client.infer([X])[0], 2 * X)  # over a new connection, where that is needed
    client.close()


def test_events_that_are_not_known_are_passed_over(server: SignedServer, authority: Authority) -> None:
    client = client_of(server, authority, stream=True)
    news = frame(b"news", message_type="event", event_type="Weather")
    server.stream = news + part(WHOLE.ljust(HEAD_BYTES)) + news + part(np.ones(3, "<f4").tobytes())
    assert client.infer([X[:1]])[0].tolist() == [[1, 1, 1]]
    client.close()


def test_the_first_part_is_timed_from_the_calls_start(server: SignedServer, authority: Authority) -> None:
    client = client_of(server, authority, stream=True)
    client.infer([X])
    server.delay_s = 0.1
    start = time.perf_counter_ns()
    client.infer([X])
    whole = time.perf_counter_ns() - start
    assert 100e6 <= client.first_part_ns <= whole - 100e6
    client.close()


def test_a_trickled_stream_ends_with_the_calls_time(server: SignedServer, authority: Authority) -> None:
    client = client_of(server, authority, stream=True, timeout_ms=300)
    client.infer([X])
    server.parts, server.delay_s = 40, 0.05
    start = time.monotonic()
    found = failure(client)
    assert (found.kind, time.monotonic() - start < 0.9) == ("late", True)


def test_frames_that_have_come_already_are_not_read_on_when_the_time_is_over() -> None:
    came, looks = io.BytesIO(frame(b"", message_type="event", event_type="Weather") * 1000), list[int]()

    def is_over() -> bool:
        looks.append(1)
        return len(looks) == 3

    response = SimpleNamespace(read1=came.read, length=None)
    with pytest.raises(CallFailed, match="when the call's time was over"):
        read_parts(cast(HTTPResponse, response), 1 << 20, lambda: None, is_over)
    assert len(looks) == 3


# In loops


class Engine:
    """An engine that streams, and fails now and then."""

    streams = True

    def __init__(self, *failing: int) -> None:
        self.failing, self.count, self.first_part_ns = failing, 0, -1

    def run(self, _: Any) -> None:
        number, self.count = self.count, self.count + 1
        if number in self.failing:
            raise CallFailed("late", "told to")
        self.first_part_ns = 1000 + number


def test_a_closed_loop_has_the_time_of_each_answers_first_part() -> None:
    from harness.agent.failure import Failures

    engine, failures = Engine(1), Failures(4)
    first_parts = FirstParts.of(engine, 4)
    assert first_parts is not None
    durations = timed_loop(first_parts.run, lambda count: [None] * count, 4, 10**9, failures)
    found = first_parts.tensor(durations)
    assert found.tolist() == [1000, NEVER, 1002, 1003]
    codes = failures.tensors(4)[0]
    assert why_unlike(found, np.where(durations == NEVER, NEVER, 10**6), codes) == ""
    assert FirstParts.of(object(), 4) is None


def test_a_release_that_was_dropped_has_no_first_part() -> None:
    engine = Engine()
    first_parts = FirstParts(engine, 50)
    slow = itertools.count()

    def run(item: Any) -> None:
        first_parts.run(item)
        time.sleep(0.012 if next(slow) == 1 else 0)

    releases = paced_loop(run, lambda count: [None] * 10, Pace(5_000_000, "drop", 0), 8, 10**9)
    found = first_parts.tensor(releases)
    ran = releases[:, 2] != NEVER
    assert not ran.all()
    assert found[~ran].tolist() == [NEVER] * int((~ran).sum())
    assert found[ran].tolist() == [1000 + number for number in range(int(ran.sum()))]


@pytest.mark.parametrize(
    ("first_parts", "words"),
    [
        (np.array([5, NEVER, 7]), ""),
        (np.array([5, 6, 7]), "was not answered"),
        (np.array([NEVER, NEVER, 7]), "missing"),
        (np.array([11, NEVER, 7]), "longer than its call"),
        (np.array([5, NEVER]), "another type, or number"),
        (np.array([5.0, 6, 7]), "another type, or number"),
    ],
)
def test_times_of_first_parts_that_cannot_be_are_refused(first_parts: Array, words: str) -> None:
    durations, codes = np.array([10, NEVER, 10]), np.array([0, 1, 0], np.uint8)
    found = why_unlike(first_parts, durations, codes)
    assert (words in found) if words else found == ""


def test_they_are_kept_beside_the_durations_of_a_process() -> None:
    timed = Timed(name="uniform")
    timed.first_parts.append(np.empty(0, np.int64))
    timed.add_noted({FIRST_PARTS: np.array([5, 6, NEVER])}, np.array([True, False, True]))
    timed.add_noted({}, np.ones(3, bool))  # of an endpoint that does not stream
    assert [each.tolist() for each in timed.first_parts] == [[5, NEVER]]
