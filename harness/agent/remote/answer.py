"""What a server said: an answer, and the start of a text of its own, fit to be shown."""

from __future__ import annotations

from http.client import HTTPMessage
from typing import Any, NamedTuple

from ..wire import Buffer
from .failure import BROKEN, CallFailed

PAGE = (
    "a web page, as a portal, a proxy or another program's server has it: is the network logged in, and the url right?"
)
# Characters of a server's text in an error.
SHOWN = 300


class Answer(NamedTuple):
    """An answer with the status 200. body: valid until the next call on the same connection."""

    headers: HTTPMessage
    body: memoryview


def is_page(headers: HTTPMessage, body: Buffer) -> bool:
    """Whether an answer is HTML."""
    start = bytes(body[:64]).lstrip().lower()
    kind = str(headers.get("Content-Type", "")).lower()
    return kind.startswith("text/html") or start.startswith((b"<!doctype html", b"<html"))


def shown(text: Any) -> str:
    """Quote the start of what a server said, on one line, without signs that do something."""
    if isinstance(text, (bytes, bytearray)):
        text = text[: 8 * SHOWN].decode("utf-8", "replace")
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in str(text)[: 8 * SHOWN]).split())
    return line if len(line) <= SHOWN else f"{line[:SHOWN]} …"


def broken(what: str) -> CallFailed:
    """Make the error of an answer that is not what was asked for."""
    return CallFailed(BROKEN, what, answered=True)
