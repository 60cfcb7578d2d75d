"""A look at an endpoint of SageMaker with credentials for it: who may call, and whether the endpoint answers.

It is called once from this host, and not from the device: what a device is given lives in the process that serves a
model, and a look starts none. Nobody knows here what the model takes, so the question is empty; a container that
refuses it has been reached.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from ..agent.remote.credentials import Credentials
from ..endpoint import Endpoint
from ..errors import CredentialsError
from .chain import Host, within

QUESTION = b"{}"
SHOWN = 200
# Of an answer; SageMaker's own limit.
MOST_BYTES = 6_291_456


class Answered(NamedTuple):
    """What the endpoint answered. problem: why it was no answer; "" where the container was reached."""

    found: str
    problem: str = ""


def ask_once(endpoint: Endpoint, credentials: Credentials, timeout_s: float) -> Answered:
    """Ask an endpoint an empty question, signed.

    Args:
        endpoint: the endpoint.
        credentials: temporary ones for it.
        timeout_s: how long a call may take.

    Raises:
        InputError: botocore is not installed.
    """
    host = Host()
    with tempfile.TemporaryDirectory() as folder:
        authority = Path(folder) / "ca.pem"
        authority.write_text(endpoint.ca, encoding="utf-8")
        client = host.runtime(endpoint, credentials, timeout_s, str(authority) if endpoint.ca else None)
        try:
            answered = within(lambda: _ask(client, endpoint), "one call of the endpoint", 2 * timeout_s + 5)
        except CredentialsError as error:  # of whatever kind: the call failed
            answered = Answered("", f"{error.what}: {error.found}")
    # Whoever answers may quote what was signed, the token in it: so does AWS of a signature that it does not accept.
    return Answered(*map(credentials.redact, answered))


def _ask(client: Any, endpoint: Endpoint) -> Answered:
    from botocore.exceptions import ClientError

    variant = {"TargetVariant": endpoint.target_variant} if endpoint.target_variant else {}
    asked = {"EndpointName": endpoint.endpoint_name, "ContentType": "application/json", "Body": QUESTION, **variant}
    try:
        answer = client.invoke_endpoint(**asked)
    except ClientError as error:
        return _refused(error.response)
    size = len(answer["Body"].read(MOST_BYTES + 1))
    said = f"{size} bytes" if size <= MOST_BYTES else f"more than {MOST_BYTES} bytes"
    return Answered(f"{said} for an empty question")


def _refused(response: Any) -> Answered:
    """Tell an answer that is no 200: of the container, which refuses an empty question, or of the service."""
    code, message = (str(response["Error"].get(key, "")) for key in ("Code", "Message"))
    status = response.get("OriginalStatusCode")
    said = " ".join(str(response.get("OriginalMessage") or message).split())[:SHOWN]
    if code == "ModelError" and isinstance(status, int) and 400 <= status < 500:
        return Answered(f"the container answers, and refuses an empty question ({status}: {said})")
    return Answered("", f"{code}: {said}")
