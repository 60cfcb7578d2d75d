"""What AWS said, or what finds credentials on this host, as an error that tells what to do."""

from __future__ import annotations

from typing import Any

from ..errors import CredentialsError

WANTED = "credentials of AWS on this host, and temporary ones from its STS"
FIND = (
    "aws configure, aws sso login, AWS_PROFILE=…, or a role of this machine: what `aws sts get-caller-identity` takes"
)
# Codes of STS -> what to do.
CODES = {
    "ExpiredToken": "the credentials on this host have ended: sign in again (aws sso login)",
    "ExpiredTokenException": "the credentials on this host have ended: sign in again (aws sso login)",
    "InvalidClientTokenId": "AWS does not know this key: it is of another partition, revoked, or lacks its token",
    "UnrecognizedClientException": "AWS does not know this key: it is of another partition, or was revoked",
    "SignatureDoesNotMatch": "look at the secret key, and at this machine's clock",
    "RegionDisabledException": "have STS activated in that region: IAM, account settings",
    "AccessDenied": "",
    "AccessDeniedException": "",
}
CLOCK = "set this machine's clock: AWS refuses what was signed 5 minutes too early or too late"
CLOCK_WORDS = ("Signature expired", "Signature not yet current", "RequestExpired", "RequestTimeTooSkewed")
ROLE = (
    "let this user assume the role: sts:AssumeRole on it, and the role's trust policy names the user; the role itself "
    "needs sagemaker:InvokeEndpoint"
)
FEDERATION = (
    "let this user call sts:GetFederationToken, or name a role that may call the endpoint: "
    '[endpoint] role = "arn:aws:iam::…:role/…"'
)
UNREACHABLE = frozenset(
    {
        "EndpointConnectionError",
        "ConnectTimeoutError",
        "ConnectionClosedError",
        "ReadTimeoutError",
        "ProxyConnectionError",
        "SSLError",
        "HTTPClientError",
    }
)
SHOWN = 300


def none_found(profile: str) -> CredentialsError:
    """Build the error for a host on which the chain finds nothing."""
    where = f"profile {profile}" if profile else "environment, ~/.aws, and what else AWS's chain asks"
    return CredentialsError("there are no credentials of AWS on this host", wanted=WANTED, found=where, hint=FIND)


def unusable(method: str) -> CredentialsError:
    """Build the error for keys with a character that none has: they cannot be sent. What they are is not told."""
    return CredentialsError(
        "the credentials on this host have a blank, a line's end or another character that no key has",
        wanted=WANTED,
        found=f"such in what the chain found first ({method})",
        hint="look for a blank or \\r at a line's end: a file from Windows, a variable set by hand",
    )


def too_late(what: str, limit_s: float) -> CredentialsError:
    """Build the error for a question to AWS that was not answered in time."""
    return CredentialsError(
        f"{what}: no answer in {limit_s:g} s",
        wanted=WANTED,
        hint="is AWS reached from here, and does a credential_process of ~/.aws/config end by itself?",
    )


def not_narrowed(arn: str, where: str) -> CredentialsError:
    """Build the error for temporary credentials that cannot be narrowed without a role."""
    return CredentialsError(
        "the credentials on this host are temporary, and AWS narrows such only by a role",
        wanted="temporary credentials that call one endpoint and nothing else: hilgate gives no device more",
        found=arn,
        where=where,
        hint='name a role that may call the endpoint: [endpoint] role = "arn:aws:iam::…:role/…"',
    )


def is_root(arn: str, where: str) -> CredentialsError:
    """Build the error for the keys of an account's root, which narrow nothing."""
    return CredentialsError(
        "the credentials on this host are those of the account's root",
        wanted="those of a user, or a role to assume",
        found=arn,
        where=where,
        hint="make a user or a role in IAM that may call the endpoint",
    )


def explain(error: Exception, what: str) -> CredentialsError:
    """Explain what botocore raised.

    Args:
        error: as it was raised; its frames have secrets, and are not kept.
        what: what was asked for, for messages.
    """
    kind = type(error).__name__
    answer: Any = getattr(error, "response", None)
    if isinstance(answer, dict) and isinstance(answer.get("Error"), dict):
        said = answer["Error"]
        return _refused(str(said.get("Code", kind)), _line(said.get("Message", "")), what)
    if kind in UNREACHABLE:
        hint = "is AWS reached from here (a proxy, a firewall)? Is the region in the endpoint's file right?"
        return CredentialsError(f"{what}: AWS was not reached", wanted=WANTED, found=_line(error), hint=hint)
    return CredentialsError(
        f"{what}: the credentials on this host cannot be used",
        wanted=WANTED,
        found=f"{kind}: {_line(error)}",
        hint=FIND,
    )


def _refused(code: str, message: str, what: str) -> CredentialsError:
    hint = CODES.get(code, "")
    if any(word in f"{code} {message}" for word in CLOCK_WORDS):
        hint = CLOCK
    elif code.startswith("AccessDenied"):
        hint = ROLE if "AssumeRole" in f"{message} {what}" else FEDERATION
    return CredentialsError(f"{what}: STS refused", wanted=WANTED, found=f"{code}: {message}", hint=hint or FIND)


def _line(text: object) -> str:
    """Shorten to a line, without the string that was signed, which some errors quote with the token in it."""
    line = " ".join(str(text).partition("The Canonical String")[0].split())
    return line if len(line) <= SHOWN else f"{line[:SHOWN]} …"
