"""Signature Version 4, verified as the service does: by computing it again.

botocore computes it: a signer of our own would agree with itself, and prove nothing. Which of the headers count is what
the caller's Authorization says; what must be among them is checked here.
"""

from __future__ import annotations

import datetime
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials as Keys

from .failure import Failure, refused
from .issuing import Issuer

ALGORITHM, SERVICE, TERMINATOR = "AWS4-HMAC-SHA256", "sagemaker", "aws4_request"
FORMAT = "%Y%m%dT%H%M%SZ"
AUTHORIZATION = re.compile(rf"{ALGORITHM} +(.+)\Z", re.DOTALL)
SKEW_MINUTES = 5
# These say who the caller is and when it called: unsigned, anybody could change them.
ALWAYS_SIGNED = ("host", "x-amz-date", "x-amz-security-token")

MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)


@dataclass(frozen=True, kw_only=True)
class SignedRequest:
    """A request, as it came.

    Attributes:
        method: HTTP's.
        target: path and query, as they were sent.
        headers: by their names in lower case, in their order.
        body: all of it.
    """

    method: str
    target: str
    headers: Sequence[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """Return a header's only value; None where it is not there, or there twice."""
        values = [value for key, value in self.headers if key == name]
        return values[0] if len(values) == 1 else None


@dataclass(frozen=True)
class _Claims:
    """What an Authorization header says."""

    access_key: str
    day: str
    region: str
    service: str
    headers: Sequence[str]
    signature: str


class _Recomputing(SigV4Auth):  # type: ignore[misc]  # botocore has no types
    """botocore's signer, over the headers that the caller has signed."""

    def headers_to_sign(self, request: Any) -> Any:
        """Return them."""
        return request.context["signed"]


def verify(request: SignedRequest, issuer: Issuer, region: str) -> None:
    """Check that whoever has the credentials has signed this request, just now, for this region and service.

    Raises:
        Failure: as the service words it.
    """
    claims = _claims(request.header("authorization"))
    date = request.header("x-amz-date")
    if date is None:
        raise _incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
    secret = issuer.secret_of(claims.access_key, request.header("x-amz-security-token"))
    _check_clock(date, issuer.clock())
    _check_scope(claims, date, region)
    unsigned = [name for name in ALWAYS_SIGNED if name not in claims.headers and request.header(name) is not None]
    try:
        expected = _signature(request, claims, secret, date)
    except ValueError:  # a host that is none
        expected = ""
    if unsigned or not hmac.compare_digest(expected, claims.signature):
        raise refused("InvalidSignatureException", MISMATCH)


def _claims(text: str | None) -> _Claims:
    if not text:
        raise refused("MissingAuthenticationTokenException", "Missing Authentication Token")
    match = AUTHORIZATION.match(text)
    if match is None:
        raise _incomplete(f"Authorization header requires '{ALGORITHM}'.")
    said = dict(_pair(each) for each in match[1].split(","))
    for name in ("Credential", "Signature", "SignedHeaders"):
        if not said.get(name):
            raise _incomplete(f"Authorization header requires '{name}' parameter.")
    scope = said["Credential"].split("/")
    if len(scope) != 5 or scope[-1] != TERMINATOR:
        raise _incomplete(
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term"
        )
    access_key, day, region, service, _ = scope
    headers = said["SignedHeaders"].lower().split(";")
    return _Claims(access_key, day, region, service, headers, said["Signature"].encode("ascii", "replace").decode())


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.strip().partition("=")
    return name, value


def _incomplete(why: str) -> Failure:
    return refused("IncompleteSignatureException", why)


def _check_clock(date: str, now: float) -> None:
    try:
        signed = datetime.datetime.strptime(date, FORMAT).replace(tzinfo=datetime.UTC)
    except ValueError:
        raise _incomplete(f"Date must be in ISO-8601 'basic format'. Got '{date[:40]}'.") from None
    here = datetime.datetime.fromtimestamp(int(now), datetime.UTC)
    span = datetime.timedelta(minutes=SKEW_MINUTES)
    if signed < here - span:
        bound, said = here - span, f"Signature expired: {date} is now earlier than"
        raise refused("InvalidSignatureException", _window(said, bound, here, "-"))
    if signed > here + span:
        bound, said = here + span, f"Signature not yet current: {date} is still later than"
        raise refused("InvalidSignatureException", _window(said, bound, here, "+"))


def _window(said: str, bound: datetime.datetime, here: datetime.datetime, sign: str) -> str:
    return f"{said} {bound.strftime(FORMAT)} ({here.strftime(FORMAT)} {sign} {SKEW_MINUTES} min.)"


def _check_scope(claims: _Claims, date: str, region: str) -> None:
    wrong = {
        f"Credential should be scoped to a valid region, not '{claims.region}'. ": claims.region != region,
        f"Credential should be scoped to correct service: '{SERVICE}'. ": claims.service != SERVICE,
        f"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{claims.day}' != "
        f"'{date[:8]}', from '{date}'.": claims.day != date[:8],
    }
    if found := [text for text, is_wrong in wrong.items() if is_wrong]:
        raise refused("InvalidSignatureException", "".join(found).strip())


def _signature(request: SignedRequest, claims: _Claims, secret: str, date: str) -> str:
    """Compute the signature that the caller should have come to."""
    signed = HTTPHeaders()
    for name, value in request.headers:
        if name in claims.headers:
            signed.add_header(name, value)
    # Without headers: a hash of the body that the caller announces is not believed.
    url = f"https://{request.header('host') or ''}{request.target}"
    made = AWSRequest(method=request.method, url=url, data=request.body)
    made.context.update({"timestamp": date, "signed": signed, "payload_signing_enabled": True})
    signer = _Recomputing(Keys(claims.access_key, secret), SERVICE, claims.region)
    signature: str = signer.signature(signer.string_to_sign(made, signer.canonical_request(made)), made)
    return signature
