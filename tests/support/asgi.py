"""Asks an ASGI application in this process, without a socket and without a client library."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# A part of a body that never comes.
STALLED = b"stalled"


@dataclass(frozen=True)
class Answer:
    """What an application answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, where all of it is JSON."""
        return json.loads(self.body)


async def ask(
    app: Any, method: str, path: str, parts: Sequence[bytes] = (), headers: Mapping[str, str] | None = None
) -> Answer:
    """Send a request, part by part; a caller that has sent all waits for its answer and does not go."""
    left = list(parts) or [b""]
    heads: list[tuple[bytes, bytes]] = []
    body = bytearray()
    status = 0

    async def receive() -> dict[str, Any]:
        if not left or left[0] is STALLED:
            await asyncio.Event().wait()
        part = left.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(left)}

    async def send(message: Mapping[str, Any]) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
            heads.extend(message["headers"])
        else:
            body.extend(message.get("body", b""))

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    await app(scope, receive, send)
    return Answer(status, {name.decode().lower(): value.decode() for name, value in heads}, bytes(body))
