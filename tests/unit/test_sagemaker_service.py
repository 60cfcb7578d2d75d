"""The client against the emulated service: its own signature is taken, and each failure is told for what it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from harness.agent.failure import CallFailed
from harness.agent.remote.credentials import Credentials, Wallet
from harness.agent.remote.description import read_endpoint
from harness.agent.remote.sagemaker import SageMakerClient
from harness.serving.service.fault import CONNECTION, ERRORS, STREAM, Fault
from tests.support.emulated_service import EmulatedService

X = np.arange(4, dtype=np.float32).reshape(2, 2)
TOLD = {
    "throttled": ("refused", "400 ThrottlingException: it says no more (too many calls"),
    "revoked": ("refused", "403 UnrecognizedClientException"),
    "expired": ("refused", "403 ExpiredTokenException"),
    "denied": ("refused", "may not call this endpoint"),
    "not-found": ("refused", "there is no endpoint net in"),
    "not-ready": ("refused", "429 ModelNotReadyException"),
    "internal": ("refused", "500 InternalFailure"),
    "unavailable": ("refused", "503 ServiceUnavailable"),
    "dependency": ("refused", "530 InternalDependencyException"),
    "model-error": ("refused", "the container answered 500"),
    "timeout": ("refused", "the container was too slow"),
    "too-large": ("unreachable", "with an answer that is larger than it passes on"),
    "reset": ("unreachable", "ended the connection without an answer"),
    "cut": ("broken", "end"),
    "silence": ("late", "still waiting for the answer"),
    "html": ("broken", "a web page"),
    "bad-crc": ("broken", "ChecksumMismatch"),
    "cut-frame": ("broken", "ended inside a frame"),
    "cut-edge": ("broken", "bytes of tensors; its header says 16|of an answer of \\d+ bytes"),
    "stream-reset": ("broken", "ended the connection inside an answer"),
    "stream-error": ("broken", "ErrorCode ModelInvocationTimeExceeded"),
    "stream-broken": ("broken", "ErrorCode StreamBroken"),
    "stream-failure": ("broken", "InternalStreamFailure"),
}


OPEN: list[SageMakerClient] = []


@pytest.fixture(autouse=True)
def closing() -> Iterator[None]:
    """End the connections of a test."""
    yield
    while OPEN:
        OPEN.pop().close()


@pytest.fixture(scope="module")
def service() -> Iterator[EmulatedService]:
    with EmulatedService(answer_s=1.0) as started:
        yield started


def client_of(service: EmulatedService, key: Credentials | None = None, **others: Any) -> SageMakerClient:
    """A client that is open."""
    service.fail()
    inputs = [{"name": "x", "dtype": "float32", "shape": ["batch", 2]}]
    own = {"url": service.url, "ca": service.identity.authority, "inputs": inputs, "outputs": ["y"]}
    named = {"region": service.service.settings.region, "endpoint_name": "net", "endpoint": "e", "model": ""}
    wallet = Wallet()
    wallet.put(key or service.credentials())
    described = {"schema": 1, "protocol": "sagemaker", **own, **named, "timeout_ms": 5000, **others}
    client = SageMakerClient(read_endpoint(described, "sagemaker"), wallet)
    client.open()
    OPEN.append(client)
    return client


@pytest.mark.parametrize("stream", [False, True])
def test_calls_are_answered(service: EmulatedService, stream: bool) -> None:
    client = client_of(service, stream=stream)
    large = np.arange(100_000, dtype=np.float32).reshape(-1, 2)
    for array in (X, large, X):
        np.testing.assert_array_equal(client.infer([array])[0], 2 * array)
    assert client.facts()["wire"] == "binary"
    assert (client.first_part_ns > 0) == stream


def test_all_failures_of_the_service_are_told() -> None:
    assert {*TOLD} == {*ERRORS, *CONNECTION, *STREAM}


@pytest.mark.parametrize("kind", TOLD)
def test_each_failure_is_told_for_what_it_is(service: EmulatedService, kind: str) -> None:
    client = client_of(service, stream=kind in STREAM)
    client.infer([X])
    client.endpoint = client.endpoint._replace(timeout_s=0.3 if kind == "silence" else 5.0)
    service.fail(Fault(kind))
    expected, words = TOLD[kind]
    pattern = words if "|" in words else "".join(rf"\{sign}" if sign in "()" else sign for sign in words)
    with pytest.raises(CallFailed, match=pattern) as caught:
        client.infer([X])
    assert caught.value.kind == expected
    service.fail()
    np.testing.assert_array_equal(client.infer([X])[0], 2 * X)


@pytest.mark.parametrize(
    ("change", "others", "words"),
    [
        ({"secret_key": "x" * 40}, {}, "403 InvalidSignatureException"),
        ({"access_key": "ASIA" + "X" * 16}, {}, "403 UnrecognizedClientException"),
        ({"token": "x" * 40}, {}, "403 "),
        ({}, {"region": "eu-north-1"}, "the url is not of the region eu-north-1"),
        ({}, {"endpoint_name": "other"}, "there is no endpoint other in"),
    ],
)
def test_what_the_service_does_not_take_is_told(
    service: EmulatedService, change: dict[str, str], others: dict[str, str], words: str
) -> None:
    key = service.credentials()._replace(**change)  # type: ignore[arg-type]
    client = client_of(service, key, **others)
    with pytest.raises(CallFailed, match=words) as caught:
        client.infer([X])
    assert not [secret for secret in key[:3] if secret in str(caught.value)]
