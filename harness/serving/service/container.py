"""What stands behind the service: any program with a container's routes, asked in this process.

The front of `hilgate serve` is one. It is asked through its routes, by HTTP's own words, as a container is: nothing but
a content type and a body reaches it, for the service strips all other headers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

INVOCATIONS = "/invocations"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a container answered."""

    status: int
    content_type: str
    body: bytes


async def invoke(app: App, body: bytes, headers: dict[str, str]) -> Answer:
    """Ask a container for an inference.

    Args:
        app: its routes.
        body: the request's.
        headers: content-type and accept, where the caller gave them.
    """
    given = {**headers, "content-length": str(len(body))}
    left = [body]
    status, kind, parts = 500, "application/octet-stream", list[bytes]()

    async def receive() -> Message:
        if not left:
            await asyncio.Event().wait()  # nobody goes: who asks is in this process
        return {"type": "http.request", "body": left.pop(), "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status, kind
        if message["type"] == "http.response.start":
            status = message["status"]
            kind = next((value.decode("latin-1") for key, value in message["headers"] if key == b"content-type"), kind)
        else:
            parts.append(message.get("body", b""))

    await app(_scope([(key.encode(), value.encode("latin-1")) for key, value in given.items()]), receive, send)
    return Answer(status=status, content_type=kind, body=b"".join(parts) if len(parts) != 1 else parts[0])


def _scope(headers: list[tuple[bytes, bytes]]) -> Message:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": INVOCATIONS,
        "raw_path": INVOCATIONS.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": headers,
        "server": ("127.0.0.1", 8080),
        "client": None,
    }
