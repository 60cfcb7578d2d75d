"""Temporary credentials: what is asked of STS, when they are renewed, and what an error says, without any secret."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import botocore.session
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.stub import Stubber

from harness.agent.remote.credentials import Credentials
from harness.cloud import Granted, Supplier, credentials, grant
from harness.cloud.chain import Host, within
from harness.cloud.credentials import DURATION_S, LEAST_S, RENEW_S, RETRY_S
from harness.cloud.explaining import explain
from harness.cloud.policy import endpoint_arns
from harness.deploy.deployment import Deployment, Timeouts
from harness.deploy.session import Session
from harness.endpoint import Endpoint
from harness.errors import UNDECIDED, CredentialsError

ROLE = "arn:aws-cn:iam::999988887777:role/robots/caller"
OWN = Credentials("AKIAOWNOWNOWNOWNOWN0", "own-secret-own-secret-own-secret-own-sec")
ALLOWED = ["sagemaker:InvokeEndpoint", "sagemaker:InvokeEndpointWithResponseStream"]
GIVEN = {
    "AccessKeyId": "ASIAGIVENGIVENGIVEN0",
    "SecretAccessKey": "given-secret",
    "SessionToken": "given-token",
    "Expiration": datetime(2026, 11, 28, 1, 0, tzinfo=UTC),
}


def endpoint(role: str = "") -> Endpoint:
    keys: dict[str, Any] = {"region": "eu-central-1", "endpoint_name": "Digits", "role": role}
    return Endpoint(name="cloud", path=Path("endpoints/cloud.toml"), description="d", kind="sagemaker", **keys)


@pytest.fixture
def sts(monkeypatch: pytest.MonkeyPatch) -> Stubber:
    """STS that answers what a test expects it to be asked: no server shows which policy it was given."""
    keys = {"aws_access_key_id": OWN.access_key, "aws_secret_access_key": OWN.secret_key}
    client = botocore.session.Session().create_client("sts", region_name="eu-central-1", **keys)
    monkeypatch.setattr(Host, "credentials", lambda host: OWN)
    monkeypatch.setattr(Host, "sts", lambda host, region, own: client)
    stubber = Stubber(client)
    stubber.activate()
    return stubber


def identity(sts: Stubber, arn: str = "arn:aws:iam::111122223333:user/me") -> None:
    sts.add_response("get_caller_identity", {"UserId": "U", "Account": "111122223333", "Arn": arn}, {})


def policy(*arns: str) -> str:
    statement = {"Effect": "Allow", "Action": ALLOWED, "Resource": list(arns)}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]}, separators=(",", ":"))


def test_a_user_is_given_calls_of_one_endpoint_and_nothing_else(sts: Stubber) -> None:
    identity(sts)
    place = "arn:aws:sagemaker:eu-central-1:111122223333:endpoint/"
    asked = {"Name": "hilgate", "Policy": policy(f"{place}Digits", f"{place}digits"), "DurationSeconds": 900}
    sts.add_response("get_federation_token", {"Credentials": GIVEN}, asked)
    found = grant(endpoint())
    assert found.credentials == ("ASIAGIVENGIVENGIVEN0", "given-secret", "given-token", GIVEN["Expiration"].timestamp())  # type: ignore[attr-defined]
    assert (found.account, found.caller) == ("111122223333", "arn:aws:iam::111122223333:user/me")


def test_a_roles_account_has_the_endpoint(sts: Stubber) -> None:
    identity(sts)
    place = "arn:aws-cn:sagemaker:eu-central-1:999988887777:endpoint/"
    asked = {"RoleArn": ROLE, "RoleSessionName": "hilgate", "DurationSeconds": 900}
    sts.add_response(
        "assume_role", {"Credentials": GIVEN}, {**asked, "Policy": policy(f"{place}Digits", f"{place}digits")}
    )
    assert grant(endpoint(ROLE)).account == "999988887777"


def test_an_endpoint_in_small_letters_has_one_arn() -> None:
    assert endpoint_arns("aws", "r", "1", "digits") == ["arn:aws:sagemaker:r:1:endpoint/digits"]


@pytest.mark.parametrize(
    ("token", "arn", "words"),
    [
        ("token", "arn:aws:sts::111122223333:assumed-role/me/x", ["temporary", "role = "]),
        ("", "arn:aws:iam::111122223333:root", ["root"]),
    ],
)
def test_what_cannot_be_narrowed_is_given_to_no_device(
    sts: Stubber, monkeypatch: pytest.MonkeyPatch, token: str, arn: str, words: list[str]
) -> None:
    monkeypatch.setattr(Host, "credentials", lambda host: OWN._replace(token=token))
    identity(sts, arn)
    with pytest.raises(CredentialsError) as caught:
        grant(endpoint())
    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("code", "message", "role", "words"),
    [
        ("ExpiredToken", "The security token included in the request is expired", "", "sign in again"),
        (
            "InvalidClientTokenId",
            "The security token included in the request is invalid.",
            "",
            "does not know this key",
        ),
        ("AccessDenied", "User: me is not authorized to perform: sts:AssumeRole", ROLE, "trust policy"),
        (
            "AccessDenied",
            "User: me may not perform: sts:GetFederationToken",
            "",
            "sts:GetFederationToken, or name a role",
        ),
        ("SignatureDoesNotMatch", "Signature expired: 1 is now earlier than 2 (3 - 5 min.)", "", "machine's clock"),
        ("RegionDisabledException", "STS is not activated in this region", "", "have STS activated"),
    ],
)
def test_a_refusal_says_what_to_do(sts: Stubber, code: str, message: str, role: str, words: str) -> None:
    sts.add_client_error("get_caller_identity", code, message)
    with pytest.raises(CredentialsError) as caught:
        grant(endpoint(role))
    assert words in str(caught.value)
    assert message[:20] in str(caught.value)
    assert isinstance(caught.value, UNDECIDED)


def test_what_was_signed_is_quoted_nowhere(sts: Stubber) -> None:
    said = (
        f"It does not match {OWN.access_key}. The Canonical String for this request should have been 'x-amz-security'"
    )
    sts.add_client_error("get_caller_identity", "SignatureDoesNotMatch", said)
    with pytest.raises(CredentialsError) as caught:
        grant(endpoint())
    assert "does not match" in caught.value.found
    assert [each for each in (OWN.access_key, OWN.secret_key, "Canonical") if each in caught.value.found] == []
    assert caught.value.__suppress_context__


def test_an_sts_that_is_not_there_is_no_riddle() -> None:
    error = explain(EndpointConnectionError(endpoint_url="https://sts.eu-nowhere-9.amazonaws.com"), "a question")
    assert "eu-nowhere-9" in error.found
    assert "region" in error.hint
    assert "ValueError: what" in explain(ValueError("what"), "a question").found
    assert "Code" in explain(ClientError({"Error": {"Code": "Code"}}, "GetCallerIdentity"), "q").found


def test_a_question_without_an_end_ends() -> None:
    go_on, began = threading.Event(), time.monotonic()
    with pytest.raises(CredentialsError, match=r"no answer in 0\.05 s"):
        within(go_on.wait, "a question", 0.05)
    go_on.set()
    assert time.monotonic() - began < 5


def test_botocore_logs_nothing_of_what_it_sends(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        Host()
        logging.getLogger("botocore.auth").debug("a token")
        logging.getLogger("botocore.parsers").debug("a secret")
    assert "a token" not in caplog.text
    assert "a secret" not in caplog.text


def granted(number: int) -> Granted:
    return Granted(Credentials("ASIA", "s", str(number)), "1", "arn")


class Clock:
    """A clock that is moved, and an STS that counts, and fails where it is told to."""

    def __init__(self) -> None:
        self.now, self.asked, self.fails = 1000.0, 0, False
        self.supply = Supplier(endpoint(), self.ask, lambda: self.now)

    def ask(self, _: Endpoint) -> Granted:
        self.asked += 1
        if self.fails:
            raise CredentialsError("no")
        return granted(self.asked)

    def at(self, seconds: float) -> str:
        self.now = 1000.0 + seconds
        return self.supply().token


def test_credentials_are_renewed_five_minutes_before_they_end() -> None:
    clock = Clock()
    assert [clock.at(seconds) for seconds in (0, DURATION_S - RENEW_S - 1)] == ["1", "1"]
    assert [clock.at(seconds) for seconds in (DURATION_S - RENEW_S, DURATION_S)] == ["2", "2"]


def test_credentials_that_cannot_be_renewed_are_used_until_they_nearly_end() -> None:
    clock = Clock()
    clock.at(0)
    clock.fails = True
    begun = DURATION_S - RENEW_S
    assert [clock.at(begun + after) for after in (0, RETRY_S - 1, RETRY_S)] == ["1"] * 3
    assert clock.asked == 3
    with pytest.raises(CredentialsError):
        clock.at(DURATION_S - LEAST_S)
    clock.fails = False
    assert clock.at(DURATION_S) == "5"


def test_nothing_shows_them() -> None:
    supply = Supplier(endpoint(), lambda _: granted(1))
    assert "ASIA" not in f"{supply()!r} {supply()} {supply!r} {vars(supply)}"
    assert credentials.NAME == "hilgate"


class Process:
    """What a deployment's process is asked, in its place: credentials and pings."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.timeouts = Timeouts()

    def call(self, header: dict[str, Any], *_: object) -> Any:
        """Note the question."""
        self.asked.append(str(header.get("token", header["op"])))
        return SimpleNamespace(answer=SimpleNamespace(written=None))


def test_a_process_gets_new_credentials_before_a_request_and_only_then() -> None:
    process, supplied = Process(), [granted(1).credentials]
    deployment = Deployment(Session(exchange=cast(Any, process)))
    deployment.use_credentials(lambda: supplied[-1])
    for number in (1, 1, 2):
        supplied.append(granted(number).credentials)
        deployment.keep([])
    assert process.asked == ["1", "keep", "keep", "2", "keep"]


def test_a_request_without_credentials_is_not_made() -> None:
    process, clock = Process(), Clock()
    clock.fails = True
    deployment = Deployment(Session(exchange=cast(Any, process)))
    deployment.use_credentials(clock.supply)
    with pytest.raises(CredentialsError):
        deployment.keep([])
    assert process.asked == []


def test_what_sent_credentials_is_in_no_traceback_of_whoever_interrupts_it() -> None:
    class Interrupted(Process):
        def call(self, header: dict[str, Any], *_: object) -> Any:
            raise KeyboardInterrupt  # as Ctrl-C does: pytest shows this frame, and what is in it

    deployment = Deployment(Session(exchange=cast(Any, Interrupted())))
    with pytest.raises(KeyboardInterrupt) as caught:
        deployment.give_credentials(OWN)
    assert [entry.name for entry in caught.traceback][-1] == "give_credentials"
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("name", "sign"), [("AWS_ACCESS_KEY_ID", " "), ("AWS_SECRET_ACCESS_KEY", "é"), ("AWS_SESSION_TOKEN", "\r")]
)
def test_keys_that_can_be_none_are_told_without_them(monkeypatch: pytest.MonkeyPatch, name: str, sign: str) -> None:
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    for key, value in zip(keys, (*OWN[:2], "own-token-own-token"), strict=True):
        monkeypatch.setenv(key, value + (sign if key == name else ""))
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with pytest.raises(CredentialsError, match="a line's end or another character") as caught:
        grant(endpoint())
    assert [each for each in (*OWN[:2], "own-token") if each in str(caught.value)] == []
    assert "(env)" in caught.value.found


@pytest.mark.parametrize(
    ("config", "variables", "words"),
    [
        ("", {}, "no credentials of AWS on this host"),
        ("", {"AWS_PROFILE": "nope"}, "profile (nope) could not be found"),
        ("[default\n", {}, "Unable to parse config file"),
        ("[default]\ncredential_process = /bin/false\n", {}, "custom-process"),
        ("", {"AWS_ACCESS_KEY_ID": "AKIA"}, "missing: AWS_SECRET_ACCESS_KEY"),
        (
            "",
            {"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "b", "AWS_ENDPOINT_URL_STS": "http://127.0.0.1:9"},
            "AWS was not reached",
        ),
    ],
)
def test_what_a_host_lacks_is_said_by_the_chain_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, config: str, variables: dict[str, str], words: str
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    (tmp_path / "config").write_text(config)
    files = {"AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none")}
    for name, value in {**files, "AWS_EC2_METADATA_DISABLED": "true", **variables}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(CredentialsError) as caught:
        grant(endpoint())
    assert words in str(caught.value)
    assert caught.value.hint
