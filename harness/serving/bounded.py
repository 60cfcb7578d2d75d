"""Connections that end when their callers stall, and no more of them than there is room for.

uvicorn alone waits for ever for a request's first line, for the rest of a body that is being dropped, and for a caller
that does not read its answer; and what it refuses by itself, it tells in plain text.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from .front import JOB
from .limits import ServingLimits

REASONS = {400: "Bad Request", 408: "Request Timeout", 503: "Service Unavailable"}
# Beyond the time in which the front itself ends the reading of a body, with a better answer.
MORE_S = 3.0
CLOSING_S = 2.0
# The same where the server ends.
LAST_S = 0.1
# Under which an application finds what closes its connection without an answer, in its scope's "state".
HANG_UP = "hilgate.hang_up"


class BoundedProtocol(H11Protocol):
    """One connection. Its timer runs whenever the caller has the word; what the caller sends does not put it off."""

    limits = ServingLimits()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._timer: asyncio.TimerHandle | None = None
        self._in_request = False
        self.app_state = {**self.app_state, HANG_UP: self._hang_up}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or tell that there are too many."""
        if len(self.connections) >= self.limits.connections:
            self.transport = transport
            self._tell(503, f"more than {self.limits.connections} connections")
            return
        super().connection_made(transport)
        self._await_caller(self.limits.read_s)

    def data_received(self, data: bytes) -> None:
        """Take a part of a request."""
        if not self._in_request and self._is_idle():
            self._in_request = True
            self._await_caller(self.limits.read_s + MORE_S)
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request, or for what is left of this one."""
        self._in_request = False
        if self.transport.is_closing():  # once the caller has taken the answer
            self._await_caller(self.limits.write_s)
        else:
            left = self.conn.their_state is h11.SEND_BODY
            self._await_caller(self.limits.read_s if left else self.limits.idle_s + MORE_S)
        super().on_response_complete()
        self._look()

    def pause_writing(self) -> None:
        """Bound how long the caller may leave its answer unread."""
        super().pause_writing()
        self._await_caller(self.limits.write_s)

    def resume_writing(self) -> None:
        """Go on with the answer."""
        super().resume_writing()
        self._await_caller(self.limits.write_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Abandon what nobody waits for any more."""
        self._stop()
        if self.cycle is not None and not self.cycle.response_complete:
            job = cast("dict[str, Any]", self.cycle.scope).get(JOB)
            if job is not None:
                job.abandoned = True
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """End the connection as soon as it may end, as the server does."""
        super().shutdown()
        if self.transport.is_closing():
            self.loop.call_later(LAST_S, self.transport.abort)

    def send_400_response(self, msg: str) -> None:
        """Tell that a request is none of HTTP's, in the protocol's form."""
        self._tell(400, "this is no request of HTTP/1.1, or its headers are too long")

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _look(self) -> None:
        """Stop the timer once a whole request has come: then it is the server that works."""
        if self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body:
            self._stop()

    def _await_caller(self, limit_s: float) -> None:
        self._stop()
        self._timer = self.loop.call_later(limit_s, self._expire)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        if self.cycle is None or (self._in_request and self.cycle.response_complete):
            self._tell(408, f"no request came in {self.limits.read_s:g} s")
        else:
            self.transport.abort()

    def _hang_up(self, *, reset: bool = False) -> None:
        """Close the connection in the middle of a request: in order, or as by a program that died."""
        if not reset:
            self._close()
            return
        if (link := self.transport.get_extra_info("socket")) is not None:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _tell(self, status: int, text: str) -> None:
        """Answer without the application, and close."""
        if self.transport.is_closing():
            return
        body = json.dumps({"error": text}).encode()
        head = f"HTTP/1.1 {status} {REASONS[status]}\r\ncontent-type: application/json\r\nconnection: close\r\n"
        self.transport.write(head.encode() + f"content-length: {len(body)}\r\n\r\n".encode() + body)
        self._close()

    def _close(self) -> None:
        """Close in order; TLS would wait for half a minute for the caller's last word."""
        self.transport.close()
        self.loop.call_later(CLOSING_S, self.transport.abort)


def bounded_protocol(limits: ServingLimits) -> type[BoundedProtocol]:
    """Make the class of connections with given limits; uvicorn makes one for each."""
    return type("Bounded", (BoundedProtocol,), {"limits": limits})
