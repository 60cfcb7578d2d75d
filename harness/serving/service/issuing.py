"""Temporary credentials, as AWS's STS issues them, and whether they are still good.

Whoever has the issuer's key issues and checks them, and nothing has to be remembered: the token has the access key and
when it ends, under an authentication code, and the secret follows from the access key. So a run issues them, and the
service, another process, takes them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import string
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ...agent.remote.credentials import Credentials
from .failure import Failure, refused

LIFETIME_S = 900.0
KEY_BYTES = 32
# AWS's temporary access keys begin so, and have 16 more.
PREFIX, CHARACTERS = "ASIA", string.ascii_uppercase + "234567"

INVALID = "The security token included in the request is invalid."
EXPIRED = "The security token included in the request is expired"


@dataclass(kw_only=True)
class Issuer:
    """Issues credentials, and checks them.

    Attributes:
        key: who has it can issue them.
        clock: seconds since 1970.
        revoked: access keys that are not good any more.
    """

    key: bytes = field(default_factory=lambda: secrets.token_bytes(KEY_BYTES), repr=False)
    clock: Callable[[], float] = time.time
    revoked: set[str] = field(default_factory=set)

    def issue(self, lifetime_s: float = LIFETIME_S) -> Credentials:
        """Issue new ones."""
        access_key = PREFIX + "".join(secrets.choice(CHARACTERS) for _ in range(16))
        expires_at = float(int(self.clock() + lifetime_s))
        content = base64.urlsafe_b64encode(json.dumps([access_key, expires_at]).encode()).decode()
        token = f"{content}.{self._code('token', content)}"
        return Credentials(access_key, self._secret(access_key), token, expires_at)

    def secret_of(self, access_key: str, token: str | None) -> str:
        """Return the secret of an access key whose token is good.

        Raises:
            Failure: it is none of this issuer's, or not good any more.
        """
        content, _, code = (token or "").partition(".")
        if not hmac.compare_digest(code.encode(), self._code("token", content).encode()):
            raise _invalid()
        named, expires_at = json.loads(base64.urlsafe_b64decode(content))
        if named != access_key or access_key in self.revoked:
            raise _invalid()
        if self.clock() >= expires_at:
            raise refused("ExpiredTokenException", EXPIRED)
        return self._secret(access_key)

    def _secret(self, access_key: str) -> str:
        return self._code("secret", access_key)

    def _code(self, purpose: str, content: str) -> str:
        """Return 40 characters that only who has the key can make."""
        made = hmac.new(self.key, f"{purpose}:{content}".encode(), hashlib.sha256).digest()
        return base64.b64encode(made, b"+/")[:40].decode()


def _invalid() -> Failure:
    return refused("UnrecognizedClientException", INVALID)
