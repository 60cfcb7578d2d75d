"""Answers of an endpoint of SageMaker that are none: sizes, arrays, and what a header says."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import numpy as np
import pytest

from harness.agent.frames import Array
from tests.support.certificates import Authority
from tests.support.signed_server import BINARY, KEY, SignedServer
from tests.unit.test_sagemaker_client import X, client_of, failure

VARIANT = "x-Amzn-Invoked-Production-Variant"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def server(authority: Authority) -> Iterator[SignedServer]:
    with SignedServer(authority.server()) as started:
        yield started


def npy_of(array: Array) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


# Beside a size of 0 it takes no byte, and numpy does not make it all the same.
HUGE = 1 << 39


def test_sizes_that_numpy_does_not_take_are_a_failed_call(server: SignedServer, authority: Authority) -> None:
    output = {"name": "y", "datatype": "FP32", "shape": [0, HUGE, HUGE], "parameters": {"binary_data_size": 0}}
    head = json.dumps({"outputs": [output]}).encode()
    server.fault = 200, {"Content-Type": f"{BINARY}{len(head)}"}, head
    found = failure(client_of(server, authority))
    assert (found.kind, "an output that is no tensor" in found.what) == ("broken", True), found
    head = b"{'descr': '<f4', 'fortran_order': False, 'shape': (0, %d, %d)}" % (HUGE, HUGE)
    server.fault = 200, {"Content-Type": "application/x-npy"}, b"\x93NUMPY\1\0%c\0%b" % (len(head), head)
    found = failure(client_of(server, authority, format="npy"))
    assert (found.kind, "the answer is no array" in found.what) == ("broken", True), found


def test_a_variant_that_quotes_the_token_is_no_fact(server: SignedServer, authority: Authority) -> None:
    server.fault = 200, {"Content-Type": "application/x-npy", VARIANT: f"\a{KEY.token}"}, npy_of(X)
    client = client_of(server, authority, format="npy")
    client.infer([X])
    assert client.facts()["variant"] == "[redacted]"
    client.close()


def test_the_array_that_comes_must_be_one(server: SignedServer, authority: Authority) -> None:
    client = client_of(server, authority, format="npy")
    client.infer([X])
    server.model = lambda inputs: {"y": inputs["x"].astype(np.float64)}
    assert "has the array y FP64[2, 3]; wanted y FP32[any, any]" in failure(client).what
    head = b"\x93NUMPY\1\0"
    for body, words in [
        (b"{}", "no array as numpy saves one"),
        (head + b"\xff\xff" + b"{" * 90, "a head of 65535 bytes"),
        (head + b"\x50\0" + b"(" * 80, "whose head is none"),
        (head + b"\x3d\0{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(63), "an array of |O"),
        (head + b"\x3d\0{'descr': '<f4', 'fortran_order': False, 'shape': (9,1), }".ljust(63), "its head says 36"),
        (head + b"\x06\0{[]: 1}", "whose head is none"),
    ]:
        server.fault = 200, {"Content-Type": "application/x-npy"}, body
        found = failure(client)
        assert (found.kind, words in found.what) == ("broken", True), found
