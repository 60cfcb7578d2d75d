"""The client of a model elsewhere against servers that misbehave: what the failure is, and that it is told in time."""

from __future__ import annotations

import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from harness.agent.remote import connection, resolving
from harness.agent.remote.client import BINARY, Client
from harness.agent.remote.description import Endpoint
from harness.agent.remote.failure import CallFailed
from harness.agent.remote.protocol import AnswerReader
from harness.agent.remote.tensors import Spec
from harness.agent.remote.url import parse_url
from tests.support.faulty_server import PATIENCE_S, FaultyServer

TIMEOUT_S = 0.25
X = np.arange(3, dtype=np.float32).reshape(1, 3)
SPEC = Spec("x", "FP32", (-1, 3))
EXPECTED = Spec("y", "FP32", (-1, 3))


@contextmanager
def calling(url: str, *, timeout_s: float = TIMEOUT_S, **others: Any) -> Iterator[Client]:
    """A client that has asked for the model, and knows that the server takes binary tensors."""
    endpoint = Endpoint("e", parse_url(url), "m", "", (others.pop("spec", SPEC),), ("y",), timeout_s, **others)
    client = Client(endpoint)
    client._reader, client.wire = AnswerReader(["y"], [EXPECTED]), BINARY
    try:
        yield client
    finally:
        client.close()


def failure(client: Client, array: Any = X, *, timeout_s: float = TIMEOUT_S) -> CallFailed:
    """How a call fails; in time."""
    start = time.monotonic()
    with pytest.raises(CallFailed) as caught:
        client.infer([array])
    elapsed_s = time.monotonic() - start
    assert elapsed_s <= timeout_s * 1.05 + 0.1
    if caught.value.kind == "late":
        assert elapsed_s >= timeout_s
    return caught.value


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        ("refuse", "refused", "nothing listens at 127.0.0.1"),
        ("swallow", "late", "still connecting"),
        ("reset", "unreachable", "ended the connection without an answer"),
        ("end", "unreachable", "ended the connection without an answer"),
        ("reset after headers", "broken", "inside an answer"),
        ("silence", "late", "still waiting for the answer"),
        ("silence after headers", "late", "still reading the answer"),
        ("trickle headers", "late", "still waiting for the answer"),
        ("trickle body", "late", "still reading the answer"),
        ("trickle for ever", "late", "still waiting for the answer"),
        ("short body", "broken", "ended after 40 bytes of the 99000"),
        ("extra bytes", "broken", "16 bytes of tensors; its header says 12"),
        ("missing bytes", "broken", "8 bytes of tensors; its header says 12"),
        ("long body", "broken", "more bytes than it announced"),
        ("too large", "broken", "1099511627776 bytes; max_response_bytes is 6291456"),
        ("chunks without end", "broken", "more than 6291456 bytes"),
        ("html", "broken", "a web page"),
        ("html without a type", "broken", "a web page"),
        ("html, 404", "refused", "answered 404 Not Found, a web page"),
        ("other name", "broken", "the outputs z; wanted y"),
        ("twice", "broken", "an output more than once"),
        ("two outputs", "broken", "the outputs y, z; wanted y"),
        ("other shape", "broken", "has the output y FP32[3, 1]; wanted y FP32[any, 3]"),
        ("other rank", "broken", "wanted y FP32[any, 3]"),
        ("other type", "broken", "has the output y INT32[1, 3]; wanted y FP32[any, 3]"),
        ("unknown type", "broken", "has a type that is none of BOOL"),
        ("size of another", "broken", "takes 12 bytes; binary_data_size is 16"),
        ("huge shape", "broken", "wanted y FP32[any, 3]"),
        ("negative shape", "broken", "has no shape that is one"),
        ("shape of texts", "broken", "has no shape that is one"),
        ("no outputs", "broken", "has no outputs"),
        ("422", "refused", "answered 422 Unprocessable Entity"),
        ("500", "refused", "500 Internal Server Error: Traceback: the model fell [31m over"),
        ("413", "refused", "413 Payload Too Large: HTTP content length exceeded 9 bytes."),
        ("redirect", "refused", "a redirect to http://portal.hotel/login: none is followed"),
        ("gzip", "broken", "packed with 'gzip'"),
        ("no json", "broken", "is no JSON"),
        ("deep json", "broken", "nested deeper than 32"),
        ("wide json", "broken", "more in it than any answer needs"),
        ("long number", "broken", "more in it than any answer needs"),
        ("header size beyond", "broken", "Inference-Header-Content-Length is 3, of an answer of 2 bytes"),
        ("header size no number", "broken", "Inference-Header-Content-Length is -2"),
        ("header size of digits", "broken", "Inference-Header-Content-Length is 999"),
        ("no http", "broken", "sent no answer in HTTP"),
        ("long line", "broken", "sent no answer in HTTP"),
        ("many lines", "broken", "sent no answer in HTTP"),
        ("much head", "broken", "does not end after"),
        ("bad chunk", "broken", "sent no answer in HTTP"),
        ("negative chunk", "late", "still reading the answer"),
        ("half a head", "broken", "ended inside its head"),
        ("early end of chunks", "broken", "is no JSON"),
    ],
)
def test_each_fault_is_named_and_told_in_time(fault: str, kind: str, words: str) -> None:
    with FaultyServer(fault) as server, calling(server.url) as client:
        found = failure(client)
        assert (found.kind, words in found.what) == (kind, True), found
        assert found.what.isprintable()
        assert server.requests <= 1


def test_an_upload_that_stalls_is_cut_off() -> None:
    array = np.zeros((4 << 20, 3), np.float32)
    with FaultyServer("stall the upload") as server, calling(server.url, max_request_bytes=1 << 27) as client:
        found = failure(client, array)
    assert (found.kind, found.what.endswith("still sending the request")) == ("late", True)


def test_a_server_may_say_no_before_it_has_read_all() -> None:
    array = np.zeros((4 << 20, 3), np.float32)
    with (
        FaultyServer("answer early") as server,
        calling(server.url, max_request_bytes=1 << 27, timeout_s=2) as client,
    ):
        found = failure(client, array, timeout_s=2)
    assert (found.kind, found.status) == ("refused", 413)


def test_an_answer_in_chunks_is_one_too() -> None:
    with FaultyServer("chunked") as server, calling(server.url) as client:
        for _ in range(2):
            (y,) = client.infer([X])
            np.testing.assert_array_equal(y, 2 * X)
        assert server.connections == 1


def test_no_memory_is_taken_for_what_is_only_announced() -> None:
    with FaultyServer("too large") as server, calling(server.url, max_response_bytes=1 << 50) as client:
        client.connection.max_response_bytes = 1 << 20
        tracemalloc.start()
        try:
            failure(client)
            assert tracemalloc.get_traced_memory()[1] < 1 << 21
        finally:
            tracemalloc.stop()


def test_a_call_is_cut_off_again_and_again() -> None:
    """The thread that does it sleeps and wakes as it should."""
    with FaultyServer("silence") as server, calling(server.url, timeout_s=0.06) as client:
        for _ in range(5):
            assert failure(client, timeout_s=0.06).kind == "late"
        server.fault = ""
        client.infer([X])
        server.fault = "silence"
        assert failure(client, timeout_s=0.06).kind == "late"


# Connections


def test_a_connection_is_used_again() -> None:
    with FaultyServer("") as server, calling(server.url) as client:
        for _ in range(5):
            client.infer([X])
        assert (server.connections, server.requests) == (1, 5)


@pytest.mark.parametrize("reset", [True, False])
def test_an_idle_connection_that_the_server_ended_is_made_anew(reset: bool) -> None:
    with FaultyServer("") as server, calling(server.url) as client:
        client.infer([X])
        server.drop_connections(reset=reset)
        client.infer([X])
        assert server.connections == 2


def test_a_connection_that_ends_as_a_request_is_sent_is_made_anew_once() -> None:
    with FaultyServer("") as server, calling(server.url) as client:
        client.infer([X])
        server.fault = "end"
        assert failure(client).kind == "unreachable"
        assert (server.connections, server.requests) == (2, 3)  # once more, and no more


def test_a_connection_that_was_idle_for_long_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultyServer("") as server, calling(server.url) as client:
        client.infer([X])
        monkeypatch.setattr(connection, "IDLE_S", 0.0)
        client.infer([X])
        assert server.connections == 2


def test_after_a_failure_the_next_call_is_right() -> None:
    with FaultyServer("") as server, calling(server.url) as client:
        for fault in ("silence after headers", "extra bytes", "500", "long body", "trickle body"):
            server.fault = fault
            failure(client)
            server.fault = ""
            np.testing.assert_array_equal(client.infer([X])[0], 2 * X)


# Names


def test_a_name_that_is_never_resolved_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = resolve_with(monkeypatch, lambda: time.sleep(PATIENCE_S))
    with calling("http://robot-server.test:8000") as client:
        for _ in range(2):
            found = failure(client)
            assert (found.kind, "robot-server.test was not resolved in time" in found.what) == ("late", True)
    assert len(asked) == 1  # the second waited for the first one's answer


def test_a_name_that_does_not_exist_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    resolve_with(monkeypatch, refuse)
    with calling("http://robot-server.test:8000") as client:
        found = failure(client)
    assert (found.kind, "cannot be resolved: Name or service not known" in found.what) == ("unreachable", True)


def test_a_name_is_remembered_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultyServer("") as server:
        asked = resolve_with(monkeypatch, lambda: None)
        with calling(f"http://robot-server.test:{server.port}") as client:
            for _ in range(3):
                client.infer([X])
                client.connection.close()
            assert len(asked) == 1
            monkeypatch.setattr(resolving, "REMEMBERED_S", 0.0)
            client.connection._dialer.resolver.forget()
            client.infer([X])
            assert len(asked) == 2


def test_the_second_address_is_tried_where_the_first_swallows(monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultyServer("swallow") as swallowing, FaultyServer("") as server:
        resolve_with(monkeypatch, lambda: None, swallowing.port, server.port)
        with calling("http://robot-server.test:8000", timeout_s=0.4) as client:
            client.infer([X])
            start = time.monotonic()
            client.connection.close()
            client.infer([X])
            assert time.monotonic() - start < 0.15  # the one that answered is the first now


def resolve_with(monkeypatch: pytest.MonkeyPatch, act: Any, *ports: int) -> list[Any]:
    """Let names be resolved here: to loopback, after something was done; returns what was asked for."""
    original, asked = socket.getaddrinfo, []

    def resolve(host: Any, port: int, *arguments: Any, **options: Any) -> Any:
        if options.get("flags"):
            return original(host, port, *arguments, **options)
        asked.append(host)
        act()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", each)) for each in ports or (port,)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked


# Attempts


def test_another_attempt_is_made_only_where_no_byte_has_come_and_from_a_budget() -> None:
    with FaultyServer("reset") as server, calling(server.url, attempts=3) as client:
        for _ in range(11):
            failure(client)
        assert (client.calls, client.retries, server.requests) == (11, 2, 13)
        server.fault = "500"
        client.retries = 0
        failure(client)
        assert client.retries == 0


def test_too_large_a_request_is_rejected_before_anything_is_sent() -> None:
    with FaultyServer("") as server, calling(server.url, max_request_bytes=100) as client:
        found = failure(client)
        assert (found.kind, "max_request_bytes is 100" in found.what) == ("rejected", True)
        assert server.requests == 0


def test_threads_do_not_pile_up() -> None:
    before = threading.active_count()
    with FaultyServer("refuse") as server, calling(server.url) as client:
        for _ in range(10):
            failure(client)
        assert threading.active_count() <= before + 1
