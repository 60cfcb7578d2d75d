"""hilgate doctor looks with credentials: who may call, and whether the endpoint answers (the emulated service)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.agent.remote.credentials import Credentials
from harness.cli.doctor_check import FAILED, OK, SKIPPED, Check
from harness.cli.endpoint_checks import signed
from harness.cloud import ask_once
from harness.endpoint import Calls, Endpoint
from harness.serving.service.fault import Fault
from tests.support.certificates import Authority
from tests.support.emulated_service import EmulatedService
from tests.support.signed_server import SignedServer
from tests.support.small_sts import SmallSts

CALLS = Calls(timeout_ms=2000.0)


@pytest.fixture(scope="module")
def service() -> Iterator[EmulatedService]:
    with EmulatedService() as running:
        yield running


@pytest.fixture
def sts(service: EmulatedService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SmallSts]:
    """The user's own keys, and an STS that takes them."""
    service.fail()
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOWNOWNOWNOWNOWN0")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "own")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    with SmallSts(service.credentials) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", running.url)
        yield running


def endpoint(service: EmulatedService) -> Endpoint:
    settings = service.service.settings
    return Endpoint(
        name="cloud",
        path=Path("endpoints/cloud.toml"),
        description="d",
        kind="sagemaker",
        url=service.url,
        ca=service.identity.authority,
        region=settings.region,
        endpoint_name=settings.endpoint,
    )


def looked(service: EmulatedService, broken: str = "") -> dict[str, Check]:
    return {check.name.strip(): check for check in signed(endpoint(service), CALLS, broken)}


def test_a_container_that_refuses_an_empty_question_was_reached(service: EmulatedService, sts: SmallSts) -> None:
    found = looked(service)
    assert [check.mark for check in found.values()] == [OK] * 3
    assert "account 123456789012, for this endpoint and 15 minutes" in found["credentials"].found
    assert "user/me" in found["credentials"].found
    assert "refuses an empty question (400" in found["inference"].found
    assert "6,291,456" in found["sizes"].found
    assert sts.asked == ["GetCallerIdentity", "GetFederationToken"]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("not-found", "not found"),
        ("throttled", "ThrottlingException"),
        ("denied", "not authorized to perform: sagemaker:InvokeEndpoint"),
        ("model-error", "ModelError"),
        ("silence", "one call of the endpoint"),
    ],
)
def test_an_endpoint_that_does_not_answer_is_told(
    service: EmulatedService, sts: SmallSts, monkeypatch: pytest.MonkeyPatch, kind: str, words: str
) -> None:
    service.fail(Fault(kind))
    given = service.credentials()
    answered = ask_once(endpoint(service), given, 0.5)
    assert words in answered.problem
    assert given.secret_key not in answered.problem
    assert looked(service, "name")["inference"].mark == SKIPPED


def test_another_authority_is_no_endpoint(service: EmulatedService, sts: SmallSts, tmp_path: Path) -> None:
    other = replace(endpoint(service), ca=Authority(tmp_path).pem)
    assert "AWS was not reached" in ask_once(other, service.credentials(), 2.0).problem


@pytest.mark.parametrize("status", [403, 424])
def test_an_answer_that_quotes_the_token_is_told_without_it(tmp_path: Path, sts: SmallSts, status: int) -> None:
    authority = Authority(tmp_path)
    given = Credentials("ASIATESTTESTTESTTEST", "secret", "tokentoken+tokentoken/tokentoken=")
    table = {"Message": f"Canonical: {given.token}", "OriginalStatusCode": 400, "OriginalMessage": given.token}
    with SignedServer(authority.server()) as server:
        server.fault = status, {"x-amzn-ErrorType": "ModelError"}, json.dumps(table).encode()
        keys = {"url": server.url, "ca": authority.pem, "region": "eu-west-1", "endpoint_name": "digits"}
        place = Endpoint(name="cloud", path=Path("cloud.toml"), description="d", kind="sagemaker", **keys)  # type: ignore[arg-type]
        answered = ask_once(place, given, 2.0)
    assert "[redacted]" in "".join(answered)
    assert given.token[:12] not in "".join(answered)


def test_without_credentials_nothing_is_called(
    service: EmulatedService, sts: SmallSts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    found = looked(service)
    assert (found["credentials"].mark, found["inference"].mark) == (FAILED, SKIPPED)
    assert "no credentials of AWS on this host" in found["credentials"].found
    assert sts.asked == []
