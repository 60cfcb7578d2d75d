"""What SageMaker says of a call that it refuses, in words that say what to do.

The names, their status and their wording are those of the service's model (API 2017-05-13), and of what people got and
reported; a name that is not known is told with its status and text.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from http.client import HTTPMessage
from typing import Any, NamedTuple

from .answer import PAGE, is_page, shown
from .clock import MOST_SKEW_S, server_time, stamp
from .connection import REDIRECTS, Refusal
from .credentials import Credentials
from .description import Endpoint
from .failure import REFUSED, CallFailed

TOO_LARGE, MODEL_ERROR = 413, 424
NUMBER = re.compile(r"\b(\d{4,12}) bytes")
KEYS = "log in again, or look at the keys that the host uses (aws sts get-caller-identity)"
HINTS: Mapping[str, str] = {
    "MissingAuthenticationTokenException": "the signature did not arrive: does a proxy between here and the service "
    "remove headers? Is the url the service's?",
    "MissingAuthenticationToken": "the signature did not arrive: does a proxy remove headers?",
    "UnrecognizedClientException": f"the service does not know the access key or its token: {KEYS}",
    "InvalidClientTokenId": f"the service does not know the access key: {KEYS}",
    "InvalidSignatureException": "the secret is not the access key's, or something between here and the service "
    f"changes requests: {KEYS}",
    "SignatureDoesNotMatch": f"the secret is not the access key's, or something changes requests on their way: {KEYS}",
    "ExpiredTokenException": "the credentials have expired: the host gives new ones before that; is its clock right, "
    "and its own login not over?",
    "ExpiredToken": "the credentials have expired: is the host's clock right, and its own login not over?",
    "AccessDeniedException": "these credentials may not call this endpoint: allow sagemaker:InvokeEndpoint (and "
    "sagemaker:InvokeEndpointWithResponseStream for stream = true) on it",
    "ThrottlingException": "too many calls for this account or endpoint: lower the rate, or have the quota raised",
    "ModelNotReadyException": "the service is still loading the model: try again in a minute",
    "InternalFailure": "the service failed by itself: attempts = 2 asks once more",
    "ServiceUnavailable": "the service is busy or restarting: attempts = 2 asks once more",
    "InternalDependencyException": "something that the service depends on failed: try again in a minute",
    "ModelError": "look at the container's log, in CloudWatch",
}


class ServiceError(NamedTuple):
    """A refusal. container_status: the container's own, where it is that which refused; else 0."""

    failure: CallFailed
    container_status: int = 0


def explain(refusal: Refusal, endpoint: Endpoint, credentials: Credentials) -> ServiceError:
    """Word a refusal of the service's."""
    text = credentials.redact(refusal.text.decode("utf-8", "replace"))
    table = _table(text)
    name = _name(refusal, table)
    message = table.get("message") or table.get("Message") or ("" if table else text)
    if is_page(refusal.headers, refusal.text):
        return _refused(
            refusal, f"{endpoint.url} answered {refusal.status} {shown(refusal.reason)}, {PAGE}: {_said(text)}"
        )
    if refusal.status in REDIRECTS:
        where = shown(refusal.headers.get("Location", "nowhere"))
        return _refused(refusal, f"{endpoint.url} answered {refusal.status}, a redirect to {where}: none is followed")
    if name == "ModelError" or refusal.status == MODEL_ERROR:
        return _model_error(refusal, table, shown(message))
    hint = _hint(refusal, name, str(message or ""), endpoint)
    return _refused(refusal, f"{_title(refusal, name)}: {_said(message)}{f' ({hint})' if hint else ''}")


def _refused(refusal: Refusal, what: str, container_status: int = 0) -> ServiceError:
    failure = CallFailed(REFUSED, what, answered=True, status=refusal.status)
    return ServiceError(failure, container_status)


def _title(refusal: Refusal, name: str) -> str:
    return f"the service answered {refusal.status} {name or shown(refusal.reason)}"


def _said(message: Any) -> str:
    return shown(message) if message else "it says no more"


def _table(text: str) -> dict[str, Any]:
    try:
        table = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return table if isinstance(table, dict) else {}


def _name(refusal: Refusal, table: Mapping[str, Any]) -> str:
    """Return the error's name: a header has it, with a URL behind it; or the body's __type or code."""
    said = refusal.headers.get("x-amzn-ErrorType") or table.get("__type") or table.get("code") or ""
    return shown(str(said).partition(":")[0].rpartition("#")[2])[:80]


def _model_error(refusal: Refusal, table: Mapping[str, Any], message: str) -> ServiceError:
    status = table.get("OriginalStatusCode")
    status = status if type(status) is int and 0 <= status < 1000 else 0  # what HTTP has
    original = shown(table.get("OriginalMessage") or message or "nothing")
    if "timed out" in message and not status:
        hint = "the service waits 60 s for a container, and stream = true 8 minutes"
        return _refused(refusal, f"{_title(refusal, 'ModelError')}: the container was too slow: {message} ({hint})")
    what = f"{_title(refusal, 'ModelError')}: the container answered {status or 'something else'}: {original}"
    return _refused(refusal, f"{what} ({HINTS['ModelError']})", status)


def _hint(refusal: Refusal, name: str, message: str, endpoint: Endpoint) -> str:
    if skew := _why_clock(refusal.headers, message):
        return skew
    if "valid region" in message or "scoped to" in message:
        return f"the url is not of the region {endpoint.region} that the endpoint's file names"
    if refusal.status == TOO_LARGE or "oversize" in message:
        most = NUMBER.search(message)
        key = f"max_request_bytes = {most[1]}" if most else "max_request_bytes"
        return f"the request is larger than the service takes: send a narrower type, or smaller sizes; set {key}"
    if name == "ValidationError" and "not found" in message:
        return (
            f"there is no endpoint {endpoint.endpoint_name} in {endpoint.region} that can be called: are name, region "
            "and account right, and is it InService, not still Creating, Failed, or deleted?"
        )
    return HINTS.get(name, "")


def _why_clock(headers: HTTPMessage, message: str) -> str:
    """Say what both clocks say, where a call was refused for their difference; "" else."""
    theirs = server_time(headers)
    is_said = (
        "Signature expired" in message or "Signature not yet current" in message or "RequestTimeTooSkewed" in message
    )
    if not is_said and not ("ignature" in message and theirs and abs(theirs - time.time()) > MOST_SKEW_S):
        return ""
    here = stamp(time.time())
    there = f", the service's {stamp(theirs)}" if theirs else ""
    return (
        f"the clocks differ: this device's says {here}{there}; set the device's, by NTP (timedatectl set-ntp true): a "
        "board without a battery begins in the past"
    )
