"""Temporary credentials from a real STS that is not ours (moto's): a user's, a role's, and who is refused.

IAM is really asked: whoever has a wrong secret, or may not do what it asks for, is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import pytest

from harness.agent.remote.credentials import Credentials
from harness.cloud import Granted, grant
from harness.endpoint import Endpoint
from harness.errors import CredentialsError
from tests.support.moto import moto_server

from .runners import USERS_CACHE

pytestmark = pytest.mark.slow

REGION, ACCOUNT = "eu-central-1", "123456789012"
Use = Callable[[Credentials | None], None]


class Account(NamedTuple):
    """What there is in the account: two users' keys, a role, and the server's URL."""

    url: str
    caller: Credentials
    nobody: Credentials
    role: str


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    """An account whose IAM decides; setting it up takes six questions of somebody who needs no permission."""
    with moto_server(USERS_CACHE, INITIAL_NO_AUTH_ACTION_COUNT="6") as url:
        keys = {"aws_access_key_id": "admin", "aws_secret_access_key": "admin"}
        iam = boto3.client("iam", region_name=REGION, endpoint_url=url, **keys)
        caller, nobody = (_user(iam, name) for name in ("caller", "nobody"))
        allow = {"Effect": "Allow", "Action": ["sts:*", "sagemaker:*"], "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
        trust = {
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/caller"},
            "Action": "sts:AssumeRole",
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        iam.put_user_policy(UserName="caller", PolicyName="all", PolicyDocument=document)
        role = iam.create_role(RoleName="robot", AssumeRolePolicyDocument=policy)["Role"]["Arn"]
        yield Account(url, caller, nobody, role)


def _user(iam: Any, name: str) -> Credentials:
    iam.create_user(UserName=name)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return Credentials(key["AccessKeyId"], key["SecretAccessKey"])


@pytest.fixture
def use(account: Account, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Use:
    """Has the chain find these credentials, or none, and STS be the account's."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", account.url)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))

    def use(credentials: Credentials | None) -> None:
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        for name, value in zip(names, credentials[:3] if credentials else ("", "", ""), strict=True):
            monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)

    return use


def endpoint(role: str = "") -> Endpoint:
    return Endpoint(
        name="cloud",
        path=Path("endpoints/cloud.toml"),
        description="d",
        kind="sagemaker",
        url=f"https://runtime.sagemaker.{REGION}.amazonaws.com",
        region=REGION,
        endpoint_name="Digits-prod",
        role=role,
    )


def identity(url: str, given: Credentials) -> str:
    access_key, secret_key, token = given[:3]
    keys = {"aws_access_key_id": access_key, "aws_secret_access_key": secret_key, "aws_session_token": token}
    return str(boto3.client("sts", region_name=REGION, endpoint_url=url, **keys).get_caller_identity()["Arn"])


def refused(role: str = "") -> CredentialsError:
    with pytest.raises(CredentialsError) as caught:
        grant(endpoint(role))
    return caught.value


def test_a_users_keys_stay_here_and_a_federated_users_are_given(account: Account, use: Use) -> None:
    use(account.caller)
    granted: Granted = grant(endpoint())
    assert (granted.account, granted.caller) == (ACCOUNT, f"arn:aws:iam::{ACCOUNT}:user/caller")
    assert granted.credentials.token
    assert granted.credentials.access_key != account.caller.access_key
    assert granted.credentials.secret_key != account.caller.secret_key


def test_a_role_is_assumed_for_a_user_and_for_who_is_temporary_already(account: Account, use: Use) -> None:
    use(account.caller)
    first = grant(endpoint(account.role))
    assert identity(account.url, first.credentials) == f"arn:aws:sts::{ACCOUNT}:assumed-role/robot/hilgate"
    use(first.credentials)
    assert "temporary" in refused().what
    assert "role" in refused().hint


def test_who_may_not_is_refused_and_told_what_to_allow(account: Account, use: Use) -> None:
    use(account.nobody)
    assert "sts:AssumeRole" in refused(account.role).hint
    assert "role" in refused().hint


def test_unknown_keys_and_wrong_secrets_are_told_without_them(account: Account, use: Use) -> None:
    for key, secret in ((account.caller.access_key, "w" * 40), ("AKIAUNKNOWNUNKNOWN00", "w" * 40)):
        use(Credentials(key, secret))
        error = refused()
        assert "STS refused" in error.what
        assert secret not in str(error)
    use(None)
    assert "no credentials of AWS on this host" in refused().what
