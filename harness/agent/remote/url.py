"""Where a server is. Standard library only, as all here that connects: hilgate doctor runs it without numpy."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlsplit

PORTS = {"http": 80, "https": 443}
# What an address may consist of, so that no request has a second line; the path comes quoted.
_HOST = re.compile(r"[0-9A-Za-z._:%-]{1,255}\Z")
_PATH = re.compile(r"[!-~]{0,2000}\Z")


class Url(NamedTuple):
    """Where a server is. path: what precedes "/v2", without a "/" at its end."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """Host and port as a request names them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


def parse_url(text: str) -> Url:
    """Read http://HOST[:PORT][/PATH], or https.

    Raises:
        ValueError: it is none; the text says what is wrong, and does not repeat it where it has a password in it.
    """
    parts = urlsplit(text)
    if "@" in parts.netloc:
        raise ValueError("wanted a url without a name and a password before its host; found one with them")
    try:
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ValueError(f"wanted a url with a port from 1 to 65535; found {text!r}: {error}") from error
    if parts.scheme not in PORTS or not _HOST.match(host) or port == 0:
        raise ValueError(f"wanted a url such as http://192.168.1.20:8000, or https://…; found {text!r}")
    if parts.query or parts.fragment or not _PATH.match(parts.path):
        raise ValueError(f"wanted a url without ?, # and other signs in its path; found {text!r}")
    return Url(parts.scheme, host, port or PORTS[parts.scheme], parts.path.rstrip("/"))
