"""The host's own credentials, by AWS's usual chain, and clients of AWS that end in bounded time.

The chain is botocore's: environment, profiles (~/.aws, sso, credential_process, a role to assume), containers, the
machine's role. Whatever it finds stays on this host.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from ..agent.remote.credentials import TEXT, Credentials
from ..endpoint import Endpoint
from ..errors import CredentialsError
from ..host.optional import SIGNING, check_cloud
from .explaining import explain, none_found, too_late, unusable

Result = TypeVar("Result")

CONNECT_S = 5.0
READ_S = 10.0
# The first, and one more where the connection failed or the service asks for it.
ATTEMPTS = 2
# All of it: a program that a profile names (credential_process) has no bound of botocore's, nor has the DNS.
LIMIT_S = 60.0


class Host:
    """AWS as this host reaches it, with its own credentials."""

    def __init__(self) -> None:
        """Read the user's configuration.

        Raises:
            InputError: botocore is not installed.
        """
        check_cloud("a backend that calls SageMaker", SIGNING)
        import botocore.session

        _silence()
        self._session = botocore.session.Session()

    def __repr__(self) -> str:
        return "Host()"

    def credentials(self) -> Credentials:
        """Return what the chain finds.

        Raises:
            CredentialsError: it finds nothing, or what can be no keys.
        """
        found = self._session.get_credentials()
        if found is None:
            raise none_found(self._session.get_config_variable("profile") or "")
        frozen = found.get_frozen_credentials()
        if not all(TEXT.match(text) for text in frozen if text):
            raise unusable(found.method)
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token or "")

    def sts(self, region: str, credentials: Credentials) -> Any:
        """Make a client of STS in a region."""
        return self._client("sts", region, credentials, READ_S, ATTEMPTS)

    def runtime(self, endpoint: Endpoint, credentials: Credentials, timeout_s: float, ca: str | None) -> Any:
        """Make a client of SageMaker's runtime, which asks once.

        Args:
            endpoint: where it is.
            credentials: for the endpoint.
            timeout_s: how long it may be silent.
            ca: the file of those who vouch for it; None for those that this host trusts anyway.
        """
        more = {"endpoint_url": endpoint.url, "verify": ca}
        return self._client("sagemaker-runtime", endpoint.region, credentials, timeout_s, 1, **more)

    def _client(
        self, service: str, region: str, credentials: Credentials, read_s: float, attempts: int, **more: Any
    ) -> Any:
        from botocore.config import Config

        retries = {"total_max_attempts": attempts, "mode": "standard"}
        access_key, secret_key, token = credentials[:3]
        return self._session.create_client(
            service,
            region_name=region,
            config=Config(connect_timeout=CONNECT_S, read_timeout=read_s, retries=retries),
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            aws_session_token=token or None,
            **more,
        )


def within(ask: Callable[[], Result], what: str, limit_s: float = LIMIT_S) -> Result:
    """Ask AWS in a thread of its own, which is left behind where it does not end in time.

    Args:
        ask: asks.
        what: what it is about, for errors.
        limit_s: how long it may take, in seconds.

    Raises:
        CredentialsError: it failed, or did not end in time. What failed is told, without the frames that had secrets.
    """
    done: list[tuple[bool, Any]] = []

    def run() -> None:
        try:
            done.append((True, ask()))
        except Exception as error:  # noqa: BLE001  # whatever botocore and the user's own programs raise
            done.append((False, error))

    thread = threading.Thread(target=run, daemon=True, name="hilgate-aws")
    thread.start()
    thread.join(limit_s)
    if not done:
        raise too_late(what, limit_s)
    is_answer, result = done[0]
    if is_answer:
        answer: Result = result
        return answer
    raise (result if isinstance(result, CredentialsError) else explain(result, what)) from None


def _silence() -> None:
    """Keep botocore from logging what it sends and gets: at the level DEBUG that has keys and tokens in it.

    A project's pytest.ini may ask for that level, and then all of it stands in the report of a test that fails.
    """
    names = [name for name in logging.Logger.manager.loggerDict if name.split(".")[0] == "botocore"]
    for logger in (logging.getLogger(name) for name in ("botocore", *names)):
        if logger.name == "botocore" or logger.level:
            logger.setLevel(max(logger.level, logging.INFO))
