"""What an endpoint's URL may be: a scheme, a host, a port and a path, and nothing that could be a secret."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

SCHEMES = ("http", "https")
MOST = 2000
_HOST = re.compile(r"[0-9A-Za-z._:%-]{1,255}")


def why_unusable(url: str, *, signed: bool = False) -> str:
    """Say why a server cannot be called by a URL; "" where it can.

    What is refused is not repeated where it may hold a password.

    Args:
        url: as it was written.
        signed: whether calls carry a signature and a token, which whoever reads them could use for minutes.
    """
    if any(character.isspace() or not character.isprintable() for character in url):
        return "it has a blank or a control character in it"
    if not url.isascii():
        return "it has a character beyond ASCII in it: write the host's name as it is in DNS (xn--…)"
    if len(url) > MOST:
        return f"it has {len(url)} characters, and may have {MOST}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:  # a port that is none, a bracket that is not closed
        return "its host or port cannot be read" if "@" in url else str(error)
    if parts.scheme not in SCHEMES:
        return f"its scheme is {parts.scheme!r}" if "://" in url else "it has no scheme"
    if signed and parts.scheme != "https":
        return "its scheme is 'http', and a signed call has a token in it that nobody else may read"
    return _why_place(parts, port)


def _why_place(parts: SplitResult, port: int | None) -> str:
    if "@" in parts.netloc:
        return "it has a user's name or a password in it; evidence and a device's files would have them, too"
    if not parts.hostname:
        return "it has no host"
    if not _HOST.fullmatch(parts.hostname):
        return f"its host is {parts.hostname!r}"
    if port == 0 or parts.netloc.endswith(":"):
        return "its port is 0" if port == 0 else "it has a colon, and no port"
    return "it has a query or a fragment; the protocol's own paths follow" if parts.query or parts.fragment else ""


def without_end(url: str) -> str:
    """Return a URL without the slash at its end."""
    return url.rstrip("/")


def shown(url: str) -> str:
    """Return a URL as a message may show it: without a user's name and password."""
    before, separator, rest = url.partition("://")
    if not separator:
        return f"…@{before.rpartition('@')[2]}" if "@" in before else url
    return f"{before}://…@{rest.rpartition('@')[2]}" if "@" in rest else url
