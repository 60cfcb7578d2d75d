"""The emulated service, called by clients that hilgate did not write: boto3, curl and awscrt."""

from __future__ import annotations

import contextlib
import io
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, EventStreamError, ResponseStreamingError

from harness.serving.service.fault import Fault
from harness.serving.service.issuing import Issuer
from tests.support.emulated_service import EmulatedService, boto3_client
from tests.support.oip import TRITON, floats, in_binary, in_json

BODY, HEADER_BYTES = in_binary([1, 2], [1, 2])
CALL = {"EndpointName": "net", "Body": BODY, "ContentType": f"{TRITON}{HEADER_BYTES}"}
STREAM = "invoke_endpoint_with_response_stream"


@pytest.fixture(scope="module")
def service() -> Iterator[EmulatedService]:
    """A service that answers each call."""
    with EmulatedService(request_bytes=1 << 16, response_bytes=1 << 15, answer_s=0.3) as running:
        yield running
    assert running.told == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where files of the module are."""
    return tmp_path_factory.mktemp("service")


@pytest.fixture(scope="module")
def client(service: EmulatedService, folder: Path) -> Iterator[Any]:
    """A client of boto3's."""
    with contextlib.closing(boto3_client(service, folder)) as made:
        yield made


@pytest.fixture(autouse=True)
def nothing_fails(service: EmulatedService) -> Iterator[None]:
    """Leave a service that answers to the next test."""
    yield
    service.fail()
    service.worker.delay_s = 0.0


def failing(client: Any, operation: str = "invoke_endpoint", **more: Any) -> ClientError:
    """Call, and return boto3's error."""
    with pytest.raises(ClientError) as caught:
        getattr(client, operation)(**{**CALL, **more})
    return caught.value


def facts(error: ClientError) -> tuple[int, str]:
    """Return an error's status and name."""
    return error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]


# What is answered


def test_boto3_gets_the_models_answer(client: Any) -> None:
    answer = client.invoke_endpoint(**CALL)
    assert answer["InvokedProductionVariant"] == "AllTraffic"
    assert answer["ContentType"].startswith(TRITON)
    assert floats(answer["Body"].read(), int(answer["ContentType"].removeprefix(TRITON))) == [2, 4]
    said = client.invoke_endpoint(EndpointName="net", Body=in_json([3, 4], [1, 2]), ContentType="application/json")
    assert b'"data": [6.0, 8.0]' in said["Body"].read()


def test_boto3_gets_the_same_as_a_stream_in_parts(client: Any) -> None:
    whole = client.invoke_endpoint(**CALL)
    streamed = client.invoke_endpoint_with_response_stream(**CALL)
    parts = [event["PayloadPart"]["Bytes"] for event in streamed["Body"]]
    assert len(parts) == 2
    assert b"".join(parts) == whole["Body"].read()
    assert (streamed["ContentType"], streamed["InvokedProductionVariant"]) == (whole["ContentType"], "AllTraffic")


# What is refused, with the status, name and wording that people really got (docs/remote.md)


def test_an_endpoint_that_is_not_there(client: Any) -> None:
    for operation in ("invoke_endpoint", STREAM):
        error = failing(client, operation, EndpointName="other")
        assert facts(error) == (400, "ValidationError")
        assert error.response["Error"]["Message"] == "Endpoint other of account 123456789012 not found."
    assert facts(failing(client, TargetVariant="blue")) == (400, "ValidationError")


def test_a_request_and_an_answer_that_are_too_large(client: Any) -> None:
    error = failing(client, Body=bytes((1 << 16) + 1))
    assert facts(error) == (413, "413")
    large, header = in_binary([0.0] * (1 << 13), [1 << 12, 2])
    with pytest.raises(ConnectionClosedError):
        client.invoke_endpoint(EndpointName="net", Body=large, ContentType=f"{TRITON}{header}")
    streamed = client.invoke_endpoint_with_response_stream(
        EndpointName="net", Body=large, ContentType=f"{TRITON}{header}"
    )
    assert sum(len(event["PayloadPart"]["Bytes"]) for event in streamed["Body"]) > 1 << 15


def test_a_model_that_fails_or_takes_too_long(client: Any, service: EmulatedService) -> None:
    error = failing(client, ContentType="text/csv")
    assert facts(error) == (424, "ModelError")
    assert error.response["OriginalStatusCode"] == 415
    assert 'Received client error (415) from primary with message "{' in error.response["Error"]["Message"]
    service.worker.delay_s = 5.0
    begun = time.monotonic()
    error = failing(client)
    assert time.monotonic() - begun < 4.0
    assert (facts(error), error.response["OriginalStatusCode"]) == ((424, "ModelError"), 0)
    assert "Your invocation timed out while waiting for a response from container primary" in str(error)


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("throttled", (400, "ThrottlingException")),
        ("revoked", (403, "UnrecognizedClientException")),
        ("expired", (403, "ExpiredTokenException")),
        ("denied", (403, "AccessDeniedException")),
        ("not-ready", (429, "ModelNotReadyException")),
        ("internal", (500, "InternalFailure")),
        ("unavailable", (503, "ServiceUnavailable")),
        ("dependency", (530, "InternalDependencyException")),
        ("model-error", (424, "ModelError")),
        ("timeout", (424, "ModelError")),
    ],
)
def test_errors_that_a_rule_sets_off(client: Any, service: EmulatedService, kind: str, found: tuple[int, str]) -> None:
    service.fail(Fault(kind, after=1))
    client.invoke_endpoint(**CALL)
    error = failing(client)
    assert facts(error) == found
    assert (kind in ("throttled", "internal")) == (error.response["Error"]["Message"] is None)


def test_connections_that_a_rule_closes(client: Any, service: EmulatedService) -> None:
    service.fail(Fault("too-large"))
    with pytest.raises(ConnectionClosedError):
        client.invoke_endpoint(**CALL)
    service.fail(Fault("reset"))
    with pytest.raises(ConnectionClosedError):
        client.invoke_endpoint(**CALL)
    service.fail(Fault("cut"))
    with pytest.raises(ResponseStreamingError, match="IncompleteRead"):
        client.invoke_endpoint(**CALL)["Body"].read()
    service.fail(Fault("html"))
    assert client.invoke_endpoint(**CALL)["Body"].read().startswith(b"<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("bad-crc", "Checksum mismatch"),
        ("cut-frame", ""),  # boto3 does not notice it: its loop ends
        ("cut-edge", ""),
        ("stream-reset", "ended prematurely|reset"),
        ("stream-error", "ModelStreamError.*did not end its answer in time"),
        ("stream-broken", "ModelStreamError"),
        ("stream-failure", "InternalStreamFailure"),
    ],
)
def test_streams_that_a_rule_breaks(client: Any, service: EmulatedService, kind: str, found: str) -> None:
    service.fail(Fault(kind))
    client.invoke_endpoint(**CALL)  # whole answers are not touched
    with contextlib.closing(client.invoke_endpoint_with_response_stream(**CALL)["Body"]) as events:
        if not found:
            assert len([*events]) == 1
            return
        with pytest.raises(Exception, match=found) as caught:
            list(events)
    assert isinstance(caught.value, EventStreamError) == found.startswith(("Model", "Internal"))


# Signatures


def test_keys_that_are_not_good(service: EmulatedService, folder: Path) -> None:
    good = service.credentials()
    expired, other = service.service.issuer.issue(-1.0), Issuer().issue()
    cases = [
        ((good[0], "wrong" * 8, good[2]), "InvalidSignatureException"),
        ((good[0], good[1], None), "UnrecognizedClientException"),
        ((good[0], good[1], service.credentials()[2]), "UnrecognizedClientException"),
        (expired[:3], "ExpiredTokenException"),
        (other[:3], "UnrecognizedClientException"),
    ]
    for keys, name in cases:
        with contextlib.closing(boto3_client(service, folder, keys)) as made:
            assert facts(failing(made)) == (403, name)
    with contextlib.closing(boto3_client(service, folder, good)) as made:
        made.invoke_endpoint(**CALL)
        service.service.issuer.revoked.add(good[0])
        assert facts(failing(made)) == (403, "UnrecognizedClientException")


def test_a_call_for_another_region(service: EmulatedService, folder: Path) -> None:
    with contextlib.closing(boto3_client(service, folder, region_name="eu-west-1")) as made:
        error = failing(made)
    assert facts(error) == (403, "InvalidSignatureException")
    assert "Credential should be scoped to a valid region" in str(error)


@pytest.mark.parametrize(("off_s", "words"), [(400, "Signature expired: "), (-400, "Signature not yet current: ")])
def test_a_clock_that_is_off_by_more_than_five_minutes(
    client: Any, service: EmulatedService, off_s: float, words: str
) -> None:
    issuer = service.service.issuer
    issuer.clock = lambda: time.time() + off_s
    try:
        error = failing(client)
    finally:
        issuer.clock = time.time
    assert facts(error) == (403, "InvalidSignatureException")
    assert words in str(error)
    assert " 5 min.)" in str(error)


def test_a_body_or_header_that_was_changed_on_the_way(service: EmulatedService, folder: Path) -> None:
    def change_body(request: Any, **_: Any) -> None:
        request.body = request.body[:-1] + b"\0"

    def change_header(request: Any, **_: Any) -> None:
        request.headers["X-Amzn-SageMaker-Inference-Id"] = "another"

    for change in (change_body, change_header):
        with contextlib.closing(boto3_client(service, folder)) as made:
            made.meta.events.register_last("before-send", change)
            assert facts(failing(made, InferenceId="one")) == (403, "InvalidSignatureException")


def test_a_call_without_a_signature(service: EmulatedService, folder: Path) -> None:
    status, head, body = curl(service, folder)
    assert (status, body) == (403, b'{"message": "Missing Authentication Token"}')
    assert "x-amzn-errortype: missingauthenticationtokenexception:http://" in head


def test_curls_own_signature(service: EmulatedService, folder: Path) -> None:
    keys = service.credentials()
    signed = ("--aws-sigv4", "aws:amz:us-east-1:sagemaker", "-H", f"X-Amz-Security-Token: {keys.token}")
    status, _, body = curl(service, folder, *signed, "--user", f"{keys.access_key}:{keys.secret_key}")
    assert (status, b'"outputs"' in body) == (200, True)
    status, head, _ = curl(service, folder, *signed, "--user", f"{keys.access_key}:{keys.secret_key[::-1]}")
    assert (status, "invalidsignatureexception" in head) == (403, True)
    other = [each.replace("sagemaker", "s3") for each in signed]
    status, _, body = curl(service, folder, *other, "--user", f"{keys.access_key}:{keys.secret_key}")
    assert (status, b"scoped to correct service: 'sagemaker'" in body) == (403, True)


def test_awscrts_own_signature(service: EmulatedService, folder: Path) -> None:
    keys = service.credentials()
    for secret, expected in ((keys.secret_key, 200), (keys.secret_key[::-1], 403)):
        headers = [f"{name}: {value}" for name, value in awscrt_headers(service, keys.access_key, secret, keys.token)]
        arguments = [word for header in headers for word in ("-H", header)]
        status, _, body = curl(service, folder, *arguments)
        assert (status, b'"outputs"' in body) == (expected, expected == 200)


def curl(service: EmulatedService, folder: Path, *words: str) -> tuple[int, str, bytes]:
    """Call by curl; return the status, the head in lower case and the body."""
    path = folder / "request"
    path.write_bytes(in_json([1, 2], [1, 2]))
    url = f"{service.url}/endpoints/net/invocations"
    kind = (
        ()
        if any(word.lower().startswith("content-type") for word in words)
        else ("-H", "Content-Type: application/json")
    )
    command = ["curl", "-qsSi", "--cacert", str(service.ca(folder)), "--data-binary", f"@{path}", *kind, *words, url]
    done = subprocess.run(command, capture_output=True, timeout=30, check=True)
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    return int(head.split()[1]), head.decode().lower(), body


def awscrt_headers(service: EmulatedService, access_key: str, secret: str, token: str) -> list[tuple[str, str]]:
    """Have awscrt sign the request that curl sends; return the headers."""
    from awscrt import auth, http
    from awscrt.io import InputStream

    body = in_json([1, 2], [1, 2])
    headers = http.HttpHeaders([("host", f"127.0.0.1:{service.port}"), ("content-type", "application/json")])
    stream = InputStream(io.BytesIO(body))
    request = http.HttpRequest("POST", "/endpoints/net/invocations", headers, stream)
    provider = auth.AwsCredentialsProvider.new_static(access_key, secret, token)
    config = auth.AwsSigningConfig(
        algorithm=auth.AwsSigningAlgorithm.V4,
        signature_type=auth.AwsSignatureType.HTTP_REQUEST_HEADERS,
        credentials_provider=provider,
        region="us-east-1",
        service="sagemaker",
        signed_body_header_type=auth.AwsSignedBodyHeaderType.X_AMZ_CONTENT_SHA_256,
    )
    signed = auth.aws_sign_request(request, config).result(10)
    return [*signed.headers]
