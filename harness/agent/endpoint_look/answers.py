"""What a server answered to a look: read within bounds, and believed no further than it is shown."""

from __future__ import annotations

import json
from http.client import HTTPException, HTTPResponse
from typing import Any

from ..wire import is_nested_deeper

# What is read of an answer that is no inference's.
MOST_TEXT = 1 << 16
MOST_NESTED = 32
MOST_TENSORS = 64
SHOWN = 300


class Failed(Exception):
    """A step did not come to its end. answer: the server's that said no; None where there was none."""

    def __init__(self, what: str, answer: HTTPResponse | None = None) -> None:
        super().__init__(what)
        self.answer = answer

    @property
    def status(self) -> int:
        """What the server answered, 0 where it did not."""
        return self.answer.status if self.answer is not None else 0


def describe_refusal(response: HTTPResponse) -> str:
    """Say what a server answered that is not 200."""
    try:
        text = response.read(MOST_TEXT)
    except (OSError, HTTPException, ValueError):
        text = b""
    where = response.headers.get("Location")
    to = f", to {shown(where)}: no redirect is followed" if where else ""
    page = ", a web page" if _is_page(text) else ""
    return f"the server answered {response.status} {shown(response.reason)}{to}{page}" + (
        f": {shown(text)}" if text and not page else ""
    )


def _is_page(text: bytes) -> bool:
    return text[:64].lstrip().lower().startswith((b"<!doctype html", b"<html"))


def read_table(content: bytes) -> dict[str, Any]:
    """Read a table in JSON.

    Raises:
        Failed: it is none.
    """
    if _is_page(content):
        raise Failed("the answer is a web page, as of a portal or of another program: is the url right?")
    if is_nested_deeper(content, MOST_NESTED):
        raise Failed(f"the answer is no JSON that a server of the protocol sends: {shown(content)}")
    try:
        value = json.loads(content.decode())
    except (ValueError, RecursionError):
        raise Failed(f"the answer is no JSON: {shown(content)}") from None
    if not isinstance(value, dict):
        raise Failed(f"the answer is no table in JSON: {shown(content)}")
    return value


def read_tensors(table: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """Read what a server says of a model's inputs, or outputs.

    Raises:
        Failed: it is not the protocol's.
    """
    listed = table.get(key) or []
    is_list = isinstance(listed, list) and len(listed) <= MOST_TENSORS
    if not is_list or not all(map(_is_tensor, listed)):
        raise Failed(f"what the server says of the model's {key} is not the protocol's: {shown(listed)}")
    return listed


def _is_tensor(one: Any) -> bool:
    if not isinstance(one, dict) or not isinstance(one.get("name"), str) or not isinstance(one.get("datatype"), str):
        return False
    shape = one.get("shape")
    return isinstance(shape, list) and len(shape) <= 64 and all(type(size) is int and size < 1 << 40 for size in shape)


def describe_tensor(one: dict[str, Any]) -> str:
    """Describe an input or output in a few words."""
    return f"{one['name']} {one['datatype']}{one['shape']}"


def shown(text: Any) -> str:
    """Quote the start of what a server said, on one line, without signs that do something."""
    if isinstance(text, (bytes, bytearray)):
        text = bytes(text[: 8 * SHOWN]).decode("utf-8", "replace")
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in str(text)[: 8 * SHOWN]).split())
    return line if len(line) <= SHOWN else f"{line[:SHOWN]} …"
