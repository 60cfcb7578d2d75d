"""What requests are signed with: temporary credentials, which the host gives, in this process's memory alone.

They are in no file, no environment, no log, no text of an error, and no core dump: the process has none from the moment
on in which it was given any.
"""

from __future__ import annotations

import ctypes
import math
import re
import resource
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

# prctl(2): another process of the same user reads neither /proc/PID/mem nor /proc/PID/environ, and no core is dumped.
PR_SET_DUMPABLE = 4
# What a header may have in it; a token has some 1000 characters, AWS says at most 2048 of older ones.
TEXT = re.compile(r"[!-~]{1,8192}\Z")
# So many characters name a secret: a text may have been cut behind them.
_STEM = 12
REDACTED = "[redacted]"


class Secret(str):
    """A text that its repr does not show: pytest shows the arguments of functions in the traceback of an error."""

    __slots__ = ()

    def __repr__(self) -> str:
        return REDACTED


class Credentials(NamedTuple):
    """Credentials of AWS. token: "" of long-lived ones; expires_at: in seconds since 1970."""

    access_key: str
    secret_key: str
    token: str = ""
    expires_at: float = math.inf

    def __repr__(self) -> str:
        return f"Credentials({REDACTED})"

    def __str__(self) -> str:
        return repr(self)

    def __format__(self, _: str) -> str:
        return repr(self)

    def header(self) -> dict[str, Secret]:
        """Return what is sent to the device; see receive."""
        secrets = zip(("access_key", "secret_key", "token"), self)
        return {key: Secret(value) for key, value in secrets}

    def redact(self, text: str) -> str:
        """Return a text without them: an answer may quote what was signed, the token in it, whole or cut."""
        for secret in (self.access_key, self.secret_key, self.token):
            for stem in {secret[:_STEM], quote(secret, safe="")[:_STEM]} - {""}:
                if stem in text:
                    text = re.sub(re.escape(stem) + r"[^\s\"'<>,;&]*", REDACTED, text)
        return text


class NoCredentials(RuntimeError):
    """There is nothing to sign with: the process was given none."""


class Wallet:
    """Holds the credentials of this process. Whoever signs asks it anew for each call: they are renewed meanwhile."""

    def __init__(self) -> None:
        """Begin with none."""
        self._current: Credentials | None = None

    def __repr__(self) -> str:
        return f"Wallet({REDACTED})"

    def put(self, credentials: Credentials) -> None:
        """Hold these from now on."""
        self._current = credentials

    def empty(self) -> None:
        """Hold none from now on."""
        self._current = None

    @property
    def current(self) -> Credentials:
        """Return the credentials.

        Raises:
            NoCredentials: there are none.
        """
        if self._current is None:
            raise NoCredentials(
                "this process has no credentials of AWS to sign with: the host gives temporary ones before an endpoint "
                "of SageMaker is loaded; none are looked for on the device"
            )
        return self._current


WALLET = Wallet()


def receive(header: Mapping[str, Any]) -> None:
    """Take the credentials of a request of the host's: "access_key", "secret_key" and "token".

    Raises:
        ValueError: they are none; the text says nothing of them.
    """
    access_key, secret_key, token = (str(header.get(key, "")) for key in ("access_key", "secret_key", "token"))
    if not all(TEXT.match(text) for text in (access_key, secret_key, token)):
        raise ValueError("wanted access_key, secret_key and token, texts of printable ASCII without spaces")
    forbid_dumps()
    WALLET.put(Credentials(access_key, secret_key, token))


def forbid_dumps() -> None:
    """Have the kernel write no core of this process, and let no other process of its user look into it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
