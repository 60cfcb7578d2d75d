"""The client of SageMaker's endpoints: signed requests in each form, and what is said of a call that was refused."""

from __future__ import annotations

import json
import logging
import time
import traceback
from collections.abc import Iterator
from email.utils import formatdate
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness.agent.failure import CallFailed
from harness.agent.frames import Array, encode
from harness.agent.remote.credentials import Credentials, NoCredentials, Wallet
from harness.agent.remote.description import read_endpoint
from harness.agent.remote.sagemaker import SageMakerClient
from harness.deploy.deployment import Deployment, Timeouts
from harness.errors import LinkLost
from tests.support.certificates import Authority
from tests.support.signed_server import KEY, NAME, SignedServer, error

X = np.arange(6, dtype=np.float32).reshape(2, 3)
LARGE = np.arange(150_000, dtype=np.float32).reshape(-1, 3)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def server(authority: Authority) -> Iterator[SignedServer]:
    with SignedServer(authority.server()) as started:
        yield started


def client_of(server: SignedServer, authority: Authority, key: Credentials = KEY, **others: Any) -> SageMakerClient:
    """A client that is open."""
    wallet = Wallet()
    wallet.put(key)
    client = SageMakerClient(read_endpoint(server.description(authority.pem, **others), "sagemaker"), wallet)
    client.open()
    return client


def failure(client: SageMakerClient, array: Array = X) -> CallFailed:
    """How a call fails; nothing of the credentials is in what is said of it."""
    with pytest.raises(CallFailed) as caught:
        client.infer([array])
    client.close()
    for secret in (KEY.access_key, KEY.secret_key, KEY.token, KEY.token[:20]):
        assert secret not in str(caught.value)
        assert secret not in repr(client.__dict__)
    return caught.value


# Inferences


@pytest.mark.parametrize("more", [{}, {"stream": True}, {"format": "npy"}, {"format": "npy", "stream": True}])
def test_signed_calls_are_answered_over_one_connection(
    server: SignedServer, authority: Authority, more: dict[str, Any]
) -> None:
    client = client_of(server, authority, **more)
    for array in (X, LARGE, X[:1]):
        np.testing.assert_array_equal(client.infer([array])[0], 2 * array)
        assert (client.first_part_ns > 0) == ("stream" in more)
    assert server.connections == 1
    facts = client.facts()
    assert facts["wire"] == {"npy": "npy"}.get(more.get("format", ""), "binary")
    assert (facts["endpoint_name"], facts["request_bytes"]) == (NAME, len(server.bodies[-1]))
    client.close()


def test_a_container_without_binary_tensors_gets_json(server: SignedServer, authority: Authority) -> None:
    server.binary = False
    client = client_of(server, authority)
    for _ in range(2):
        np.testing.assert_array_equal(client.infer([X])[0], 2 * X)
    assert (client.facts()["wire"], len(server.bodies)) == ("json", 3)
    client.close()


def test_a_variant_is_named_and_signed(server: SignedServer, authority: Authority) -> None:
    client = client_of(server, authority, target_variant="blue")
    client.infer([X])
    said = server.requests[0]
    assert said["X-Amzn-SageMaker-Target-Variant"] == "blue"
    assert "x-amzn-sagemaker-target-variant" in said["Authorization"]
    assert "content-length" not in said["Authorization"]
    client.close()


def test_credentials_that_were_renewed_sign_the_next_call(server: SignedServer, authority: Authority) -> None:
    wallet = Wallet()
    wallet.put(KEY._replace(token=KEY.token[::-1]))
    client = SageMakerClient(read_endpoint(server.description(authority.pem), "sagemaker"), wallet)
    client.open()
    assert "UnrecognizedClientException" in failure(client).what
    wallet.put(KEY)
    client.infer([X])
    client.close()


def test_without_credentials_nothing_is_sent(server: SignedServer, authority: Authority) -> None:
    client = SageMakerClient(read_endpoint(server.description(authority.pem), "sagemaker"), Wallet())
    with pytest.raises(NoCredentials, match="no credentials of AWS to sign with: the host gives"):
        client.open()
    assert server.requests == []


def test_one_array_is_for_models_with_one_input_and_one_output(server: SignedServer, authority: Authority) -> None:
    with pytest.raises(ValueError, match=r"sends one array and takes one: .* found 1 and 2"):
        client_of(server, authority, format="npy", outputs=["y", "z"])


@pytest.mark.parametrize(
    ("key", "value"),
    [("endpoint_name", "a/b"), ("region", "eu west"), ("url", "http://127.0.0.1"), ("format", "csv"), ("stream", 1)],
)
def test_descriptions_that_are_none_are_refused(
    server: SignedServer, authority: Authority, key: str, value: Any
) -> None:
    with pytest.raises(ValueError, match=rf"wanted .*{'url' if key == 'url' else key}"):
        client_of(server, authority, **{key: value})


def test_a_request_that_is_too_large_is_not_sent(server: SignedServer, authority: Authority) -> None:
    assert failure(client_of(server, authority, max_request_bytes=150)).kind == "rejected"
    assert server.requests == []


# Refusals

RESPONSES: list[tuple[str, tuple[int, dict[str, str], bytes], list[str]]] = [
    (
        "no such endpoint",
        error("ValidationError", f"Endpoint {NAME} of account 123456789012 not found."),
        ["400 ValidationError", "no endpoint digits in eu-west-1", "InService"],
    ),
    ("throttled", error("ThrottlingException", None), ["400 ThrottlingException: it says no more", "lower the rate"]),
    (
        "expired token",
        (403, *error("ExpiredTokenException", "The security token included in the request is expired")[1:]),
        ["403 ExpiredTokenException", "the host gives new ones"],
    ),
    (
        "not allowed",
        (403, *error("AccessDeniedException", "User: … is not authorized to perform: sagemaker:InvokeEndpoint")[1:]),
        ["may not call this endpoint", "allow sagemaker:InvokeEndpoint"],
    ),
    (
        "wrong region",
        (403, *error("InvalidSignatureException", "Credential should be scoped to a valid region.")[1:]),
        ["the url is not of the region eu-west-1"],
    ),
    (
        "too large",
        (413, {"Content-Type": "text/plain"}, b"HTTP content length exceeded 6291456 bytes."),
        ["413", "narrower type", "max_request_bytes = 6291456"],
    ),
    (
        "the model raised",
        (
            424,
            *error("ModelError", None, OriginalStatusCode=500, OriginalMessage="KeyError: 'x'" + 9999 * "!")[1:],
        ),
        ["the container answered 500: KeyError: 'x'", "log"],
    ),
    (
        "the model is too slow",
        (
            424,
            *error(
                "ModelError",
                "Your invocation timed out while waiting for a response from container primary",
                OriginalStatusCode=0,
            )[1:],
        ),
        ["the container was too slow", "60 s"],
    ),
    ("loading", (429, *error("ModelNotReadyException", "not ready")[1:]), ["429", "still loading the model"]),
    ("500", (500, *error("InternalFailure", "internal")[1:]), ["500 InternalFailure", "attempts = 2"]),
    ("503", (503, *error("ServiceUnavailable", None)[1:]), ["503 ServiceUnavailable", "busy"]),
    ("530", (530, *error("InternalDependencyException", "x")[1:]), ["530 InternalDependencyException", "depends on"]),
    ("a portal", (200, {"Content-Type": "text/html"}, b"<html>log in</html>"), ["a web page"]),
    ("a portal's no", (403, {"Content-Type": "text/html"}, b"<html>log in</html>"), ["403", "a web page"]),
    ("a redirect", (302, {"Location": "http://hotel/"}, b""), ["a redirect to http://hotel/: none is followed"]),
    ("no JSON", (400, {}, b"\x00\xff"), ["400 Bad Request"]),
    ("a list", (400, {}, b"[1]"), ["400 Bad Request"]),
]


@pytest.mark.parametrize(("response", "words"), [each[1:] for each in RESPONSES], ids=[each[0] for each in RESPONSES])
def test_a_refusal_says_what_it_is_and_what_to_do(
    server: SignedServer, authority: Authority, response: Any, words: list[str]
) -> None:
    server.fault = response
    found = failure(client_of(server, authority))
    assert [word for word in words if word not in found.what] == [], found.what
    assert found.kind == ("broken" if response[0] == 200 else "refused")
    assert found.what.isprintable()


def test_an_answer_that_quotes_what_was_signed_is_not_quoted(server: SignedServer, authority: Authority) -> None:
    """A service that refuses a signature tells the canonical request, with the token in it."""
    found = failure(client_of(server, authority, KEY._replace(secret_key="other" * 8)))
    assert "403 InvalidSignatureException: The request signature we calculated does not match" in found.what
    server.fault = 503, {}, f"<{KEY.token}>{KEY.access_key}".encode()
    assert "[redacted]" in failure(client_of(server, authority)).what
    server.fault = 200, {"Content-Type": "application/json"}, json.dumps({"x": KEY.token[:30]}).encode()
    assert "[redacted]" in failure(client_of(server, authority)).what


def test_a_clock_that_is_off_is_told_with_both_times(server: SignedServer, authority: Authority) -> None:
    theirs = time.time() + 1200
    said = "Signature expired: 20261128T000000Z is now earlier than 20261128T001500Z (20261128T002000Z - 5 min.)"
    refused = error("InvalidSignatureException", said)
    server.fault = 403, {**refused[1], "Date": formatdate(theirs, usegmt=True)}, refused[2]
    found = failure(client_of(server, authority)).what
    stamps = [time.strftime("%Y-%m-%d %H:%M", time.gmtime(moment)) for moment in (time.time(), theirs)]
    assert "the clocks differ" in found
    assert all(stamp in found for stamp in stamps)
    assert "timedatectl set-ntp true" in found


def test_a_closed_connection_may_mean_a_large_answer(server: SignedServer, authority: Authority) -> None:
    server.closes = True
    found = failure(client_of(server, authority))
    assert (found.kind, "with an answer that is larger than it passes on" in found.what) == ("unreachable", True)


# Secrets


def test_credentials_show_in_no_text_and_no_log(server: SignedServer, authority: Authority) -> None:
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        client = client_of(server, authority)
        client.infer([X])
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    texts = [
        *lines,
        repr(KEY.header()),
        repr({**KEY.header()}),
        repr(KEY),
        str(KEY),
        f"{KEY}",
        f"{KEY!r:.90}",
        repr(client._wallet),
        str(client.facts()),
    ]
    assert not [text for text in texts if KEY.token[:12] in text or KEY.secret_key in text]
    assert not [value for value in vars(client._signer._auth).values() if value == KEY]
    client.close()


def test_what_is_sent_to_the_device_has_them_though() -> None:
    sent = json.loads(bytes(encode({"op": "credentials", **KEY.header()})[0])[20:])
    assert [sent[key] for key in ("access_key", "secret_key", "token")] == [*KEY[:3]]


def test_an_error_while_they_are_sent_shows_no_frame_that_has_them() -> None:
    def send(data: bytes) -> None:
        raise LinkLost("the connection dropped", found="nothing", where="tests")

    def call(header: dict[str, Any], *_: Any) -> None:
        try:
            send(bytes(encode(header)[0]))
        except LinkLost as lost:
            raise LinkLost("during 'credentials'", found="nothing", where="tests") from lost

    session: Any = SimpleNamespace(exchange=SimpleNamespace(call=call), timeouts=Timeouts())
    with pytest.raises(LinkLost) as caught:
        Deployment(session).give_credentials(KEY)
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "during 'credentials'" in shown
    assert "redacted" in shown
    assert not [secret for secret in KEY[:3] if secret in shown]


def test_a_name_that_is_not_resolved_may_be_another_region_s(authority: Authority) -> None:
    wallet = Wallet()
    wallet.put(KEY)
    url = f"https://runtime.{'x' * 64}.eu-moon-1.invalid"  # a label so long that nobody is asked
    with SignedServer(authority.server()) as server:
        described = server.description(authority.pem, url=url, region="eu-moon-1")
    client = SageMakerClient(read_endpoint(described, "sagemaker"), wallet)
    client.open()
    found = failure(client)
    assert (found.kind, "is the region eu-moon-1 right" in found.what) == ("unreachable", True), found


def test_redaction_knows_secrets_that_are_cut_or_quoted() -> None:
    assert KEY.redact(f"a {KEY.token[:15]} b") == "a [redacted] b"
    assert KEY.redact(f"a '{KEY.secret_key}'") == "a '[redacted]'"
    slashed = Credentials("AKIA0123456789", "a/b+c/d+e/f+g/h", "")
    assert slashed.redact("?key=a%2Fb%2Bc%2Fd%2Be%2Ff&x") == "?key=[redacted]&x"


def test_what_are_no_credentials_is_not_told() -> None:
    from harness.agent.remote.credentials import receive

    for wrong in ({}, {"access_key": "a\nb", "secret_key": "s3cret", "token": "t"}):
        with pytest.raises(ValueError, match="wanted access_key") as caught:
            receive(wrong)
        assert "s3cret" not in str(caught.value)
