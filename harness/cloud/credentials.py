"""Temporary credentials for one endpoint: what a device is given to sign its calls with.

The host's own credentials are used here, and go to STS and nowhere else. What STS gives for them may call one endpoint,
lasts a quarter of an hour, and is renewed five minutes before its end. It is in this process's memory, and in that of
the process on the device; in no file, no log and no text.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from ..agent.remote.credentials import Credentials
from ..endpoint import Endpoint
from ..errors import CredentialsError
from .chain import Host, within
from .explaining import is_root, not_narrowed
from .policy import account_of_role, endpoint_arns, partition_of, session_policy

# The least that STS gives for a role, and for a federated user.
DURATION_S = 900
RENEW_S = 300.0
# Where they cannot be renewed, the old ones are used until so long before their end, and renewed at most so often.
LEAST_S = 30.0
RETRY_S = 30.0
NAME = "hilgate"


class Granted(NamedTuple):
    """What STS gave. account: the number of the endpoint's; caller: the ARN that this host is known by."""

    credentials: Credentials
    account: str
    caller: str


def grant(endpoint: Endpoint) -> Granted:
    """Ask STS for credentials that call one endpoint of SageMaker and nothing else.

    By its role, where the endpoint's file names one; else as a federated user of whoever has the long-lived keys on
    this host. What is temporary already cannot be narrowed without a role, and is refused: no device is given more than
    it needs.

    Raises:
        InputError: botocore is not installed.
        CredentialsError: there are none, they have ended, or STS refuses or does not answer.
    """
    host = Host()
    own = within(host.credentials, "looking for credentials of AWS")
    try:
        return within(lambda: _grant(host, own, endpoint), _what(endpoint))
    except CredentialsError as error:
        error.found = own.redact(error.found)  # AWS quotes what was signed, now and then
        raise


def _what(endpoint: Endpoint) -> str:
    by = f"AssumeRole {endpoint.role}" if endpoint.role else "GetFederationToken"
    return f"temporary credentials for endpoint {endpoint.name} ({by}, {endpoint.region})"


def _grant(host: Host, own: Credentials, endpoint: Endpoint) -> Granted:
    sts = host.sts(endpoint.region, own)
    caller = sts.get_caller_identity()
    arn, where = str(caller["Arn"]), str(endpoint.path)
    account = account_of_role(endpoint.role) or str(caller["Account"])
    arns = endpoint_arns(partition_of(endpoint.role or arn), endpoint.region, account, endpoint.endpoint_name)
    common = {"Policy": session_policy(arns), "DurationSeconds": DURATION_S}
    if endpoint.role:
        given = _taken(sts.assume_role(RoleArn=endpoint.role, RoleSessionName=NAME, **common))
    elif own.token:
        raise not_narrowed(arn, where)
    elif arn.endswith(":root"):
        raise is_root(arn, where)
    else:
        given = _taken(sts.get_federation_token(Name=NAME, **common))
    return Granted(given, account, arn)


def _taken(answer: dict[str, Any]) -> Credentials:
    given = answer["Credentials"]
    access_key, secret_key, token = (str(given[key]) for key in ("AccessKeyId", "SecretAccessKey", "SessionToken"))
    return Credentials(access_key, secret_key, token, given["Expiration"].timestamp())


class Supplier:
    """Gives the credentials for one endpoint, asking for new ones before they end. Call it before each request.

    Invariants: what it returns lasts for LEAST_S at least; it asks again RENEW_S before the end, and, where that fails,
    every RETRY_S until LEAST_S before it. Time is this process's own monotonic clock, from before the question on: a
    wrong clock of this host's neither ends credentials early nor keeps them too long.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        ask: Callable[[Endpoint], Granted] = grant,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with none: they are asked for when they are needed first."""
        self._endpoint, self._ask, self._clock = endpoint, ask, clock
        self._granted: Granted | None = None
        self._ends = self._again = 0.0

    def __repr__(self) -> str:
        return f"Supplier({self._endpoint.name})"

    def __call__(self) -> Credentials:
        """Return credentials that last for a while.

        Raises:
            InputError: botocore is not installed.
            CredentialsError: there are none to be had.
        """
        now = self._clock()
        if self._granted is not None and (now < self._ends - RENEW_S or now < min(self._again, self._ends - LEAST_S)):
            return self._granted.credentials
        try:
            granted = self._ask(self._endpoint)
        except CredentialsError:
            if self._granted is None or self._clock() >= self._ends - LEAST_S:
                raise
            self._again = self._clock() + RETRY_S
            return self._granted.credentials
        self._granted, self._ends, self._again = granted, now + DURATION_S, 0.0
        return granted.credentials
