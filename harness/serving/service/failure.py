"""Errors as the service tells them: status, name and wording as people really got them.

The sources are in docs/remote.md. A name is in the header x-amzn-ErrorType, with a URL behind it that clients cut off.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NAMESPACE = "http://internal.amazon.com/coral/com.amazonaws.sagemaker.runtime/"
# Of a container's own words.
QUOTED = 1024


@dataclass(frozen=True)
class Failure(Exception):
    """A call that gets an error.

    Attributes:
        status: HTTP's.
        name: the error's; "" where the answer is plain text, without a name.
        message: its text; None where the service says null.
        more: further keys of the body.
        key: "message" or "Message", as the error has it.
    """

    status: int
    name: str
    message: str | None
    more: Mapping[str, Any] = field(default_factory=dict)
    key: str = "Message"

    @property
    def body(self) -> bytes:
        """The answer's body."""
        if not self.name:
            return (self.message or "").encode()
        return json.dumps({self.key: self.message, **self.more}).encode()

    @property
    def headers(self) -> dict[str, str]:
        """The answer's headers, but for those that every answer has."""
        if not self.name:
            return {"content-type": "text/plain"}
        return {"content-type": "application/json", "x-amzn-errortype": f"{self.name}:{NAMESPACE}"}


def refused(name: str, message: str | None, status: int = 403) -> Failure:
    """Make an error of whoever looks at signatures and rates, before the runtime sees the call."""
    return Failure(status, name, message, key="message")


def not_found(endpoint: str, account: str) -> Failure:
    """Make the error of an endpoint that does not exist."""
    return Failure(400, "ValidationError", f"Endpoint {endpoint} of account {account} not found.")


def too_long(most_bytes: int) -> Failure:
    """Make the answer to a request that is too large: plain text."""
    return Failure(413, "", f"HTTP content length exceeded {most_bytes} bytes.")


def model_failed(status: int, said: str, log: str) -> Failure:
    """Make the error of a container that answered with one of its own.

    Args:
        status: the container's.
        said: its body.
        log: where its log would be.
    """
    side = "server" if status >= 500 else "client"
    text = (
        f'Received {side} error ({status}) from primary with message "{said[:QUOTED]}". See {log} for more information.'
    )
    more = {"OriginalStatusCode": status, "OriginalMessage": said[:QUOTED], "LogStreamArn": log}
    return Failure(424, "ModelError", text, more)


def model_too_slow(log: str) -> Failure:
    """Make the error of a container that did not answer in time."""
    text = (
        "Your invocation timed out while waiting for a response from container primary. Review the latency metrics for "
        "each container in Amazon CloudWatch, resolve the issue, and try again."
    )
    more = {"OriginalStatusCode": 0, "OriginalMessage": text, "LogStreamArn": log}
    return Failure(424, "ModelError", text, more)
