"""One HTTP/1.1 connection, used again and again; http.client reads what comes, within bounds that are set here.

A connection that was idle for 20 s is made anew: routers and load balancers drop idle ones without a word. One that the
server ended in between is made anew, too, also when that is only seen as a request is sent on it: no byte of an answer
has come then. Neither redirects nor proxies are followed; nothing is unpacked.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Sequence
from http.client import HTTPException, HTTPMessage, HTTPResponse
from typing import NamedTuple

from ..wire import Buffer
from .answer import PAGE, Answer, broken, is_page, shown
from .bounded_reader import BoundedRaw, LastingReader
from .dialing import Dialer, PresentCall
from .failure import BROKEN, REFUSED, UNREACHABLE, CallFailed
from .tunnel import Proxy
from .url import Url

IDLE_S = 20.0
OK, REDIRECTS = 200, range(300, 400)
# http.client bounds a header's line (64 KiB) and their number (100), but not their sum.
MOST_HEAD = 1 << 17
# An answer that is no good is read this far for its text.
MOST_TEXT = 1 << 16
# A body whose size is not said is read into a buffer that grows from this.
FIRST_BUFFER = 1 << 16
# What a body may have around it, in bytes and in times: chunks of one byte have five around each.
AROUND, AROUND_TIMES = 1 << 16, 8
# What lies on a connection that nobody asked for.
ENDED, MORE = "ended", "more"


class Refusal(NamedTuple):
    """An answer that says no. text: the start of its body."""

    status: int
    reason: str
    headers: HTTPMessage
    text: bytes


class Connection:
    """A connection to one server; see the module.

    Attributes:
        deadline: ends the present call; whoever calls arms it before, and disarms it afterwards.
        version: "HTTP/1.1" and the version of TLS, once there was an answer.
        explain: words an answer that says no, of a service that has words of its own; None: its status and text.
        ended_hint: what it may mean that the other end closes a connection in place of an answer; "" if nothing more.
        body_reader: reads an answer's body, where that is not taken as it comes.
    """

    def __init__(self, url: Url, *, ca: str = "", max_response_bytes: int, proxy: Proxy | None = None) -> None:
        """Connect to nothing yet.

        Args:
            url: the server.
            ca: whom to trust; "" for those whom the device trusts.
            max_response_bytes: what is read of an answer at most.
            proxy: shapes what passes; None without one.

        Raises:
            ValueError: ca has no certificate.
        """
        self.url, self.max_response_bytes = url, max_response_bytes
        self._present = PresentCall(url)
        self.deadline, self.version = self._present.deadline, ""
        self.explain: Callable[[Refusal], CallFailed] | None = None
        self.ended_hint = ""
        self.body_reader: Callable[[HTTPResponse], memoryview] | None = None
        self._dialer = Dialer(self._present, ca, proxy)
        self._socket: socket.socket | None = None
        self._used_at = 0.0
        self._buffer = bytearray()

    def call(self, parts: Sequence[Buffer]) -> Answer:
        """Send a request, and return the answer.

        Args:
            parts: the request, head and all, sent one after another.

        Raises:
            CallFailed: there is no answer with the status 200, whole and within the bounds.
        """
        is_reused = self._is_usable()
        try:
            if not is_reused:
                self._connect()
            return self._exchange(parts)
        except CallFailed as error:
            if not is_reused or error.answered or error.kind != UNREACHABLE:
                raise
        self._connect()  # the server had ended it
        return self._exchange(parts)

    def close(self) -> None:
        """End the connection; the next call makes a new one."""
        if self._socket is not None:
            self.deadline.watch(None)
            self._socket.close()
            self._socket = None

    def late(self) -> CallFailed:
        """Return the error of a call whose time is over."""
        return self._present.late()

    # Connecting

    def _connect(self) -> None:
        self.close()
        self._socket = opened = self._dialer.dial()
        self._used_at = time.monotonic()
        self._raw = BoundedRaw(opened)
        self._reader = LastingReader(self._raw)
        self._poll = select.poll()
        self._poll.register(opened, select.POLLIN)

    def _is_usable(self) -> bool:
        """Whether there is a connection that may take another request; one that may not is closed."""
        if self._socket is None:
            return False
        if time.monotonic() - self._used_at < IDLE_S and not self._unasked():
            self.deadline.watch(self._socket)
            return True
        self.close()
        return False

    def _unasked(self) -> str:
        """Look at what nobody asked for: ENDED, where the server has ended the connection; MORE; or nothing, ""."""
        if self._socket is None or not self._poll.poll(0):
            return ""
        try:  # the method of an SSLSocket would take no flags
            said = socket.socket.recv(self._socket, 1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError:
            return ENDED
        if not said:
            return ENDED
        # Through TLS a server says things of its own, such as tickets for later connections.
        return "" if self._dialer.secures else MORE

    # One request and its answer

    def _exchange(self, parts: Sequence[Buffer]) -> Answer:
        raw = self._raw
        raw.came, raw.allowed, raw.quiet = 0, MOST_HEAD, False
        try:
            answer = self._answer(parts)
        except CallFailed as error:
            self.close()
            raise (self.late() if self._is_cut_off(error) else error) from None
        except (OSError, HTTPException, ValueError) as error:
            self.close()
            raise self._failure(error) from None
        except BaseException:
            self.close()
            raise
        self._used_at = time.monotonic()
        if self.deadline.is_over:  # what is cut off may look like a whole answer that ends with its connection
            self.close()
            raise self.late()
        return answer

    def _is_cut_off(self, error: CallFailed) -> bool:
        """Whether an answer is cut because its time was over: we did that."""
        return error.kind in (BROKEN, UNREACHABLE) and self.deadline.is_over

    def _failure(self, error: Exception) -> CallFailed:
        if self.deadline.is_over:
            return self.late()
        what = shown(getattr(error, "strerror", None) or error) or type(error).__name__
        if not self._raw.came:
            what = f"{self.url} ended the connection without an answer, {self._present.doing}: {what}{self.ended_hint}"
            return CallFailed(UNREACHABLE, what)
        has_ended = isinstance(error, OSError) or self._raw.has_ended
        wrong = "ended the connection inside an answer" if has_ended else "sent no answer in HTTP"
        return CallFailed(
            BROKEN, f"{self.url} {wrong}, {self._present.doing}: {type(error).__name__}: {what}", answered=True
        )

    def _answer(self, parts: Sequence[Buffer]) -> Answer:
        unsent = self._send(parts)
        self._present.doing = "waiting for the answer"
        response = HTTPResponse(self._reader, method="POST")  # type: ignore[arg-type]
        try:
            response.begin()
        except (OSError, HTTPException):
            if unsent is not None and not self._raw.came:
                raise unsent from None
            raise
        if self._raw.has_ended:  # http.client takes that for the end of the head
            raise broken("the answer ended inside its head")
        self._present.doing = "reading the answer"
        self._raw.allowed = self._raw.came + AROUND + AROUND_TIMES * self.max_response_bytes
        if response.status != OK:
            raise self._refusal(response)
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("", "identity"):
            raise broken(f"the answer is packed with {encoding[:40]!r}, which was not asked for")
        body = (self.body_reader or self._body)(response)
        self._check_end(response, unsent)
        return Answer(response.headers, body)

    def _send(self, parts: Sequence[Buffer]) -> OSError | None:
        """Send; return the error, for a server may answer, and then end the connection, before it has read all."""
        self._present.doing = "sending the request"
        if self._socket is None:
            raise OSError("there is no connection")
        try:
            for part in parts:
                self._socket.sendall(part)
            # A server that writes head and body apart, without TCP_NODELAY, waits with the body until the head is
            # acknowledged, which the kernel puts off by 40 ms. It forgets that it was told not to: so each time.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        except OSError as error:
            if self.deadline.is_over:
                raise
            return error
        return None

    def _body(self, response: HTTPResponse) -> memoryview:
        length, most = response.length, self.max_response_bytes
        if length is None:
            return self._unmeasured_body(response)
        if length > most:
            raise broken(f"the answer has {length} bytes; max_response_bytes is {most}")
        if len(self._buffer) < length:
            self._buffer = bytearray(length)  # kept, and used again
        view = memoryview(self._buffer)[:length]
        came = 0
        while came < length:
            count = response.readinto(view[came:])
            if not count:
                raise broken(f"the answer ended after {came} bytes of the {length} that it announced")
            came += count
        return view

    def _unmeasured_body(self, response: HTTPResponse) -> memoryview:
        """Read a body in chunks, or one that ends with the connection."""
        most, came = self.max_response_bytes, 0
        buffer = bytearray(min(FIRST_BUFFER, most + 1))
        while count := response.readinto(memoryview(buffer)[came:]):
            came += count
            if came > most:
                raise broken(f"the answer has more than {most} bytes, which max_response_bytes is")
            if came == len(buffer):
                larger = bytearray(min(2 * came, most + 1))
                larger[:came] = buffer
                buffer = larger
        return memoryview(buffer)[:came]

    def _check_end(self, response: HTTPResponse, unsent: OSError | None) -> None:
        """Refuse an answer with more behind it; close a connection that takes no further request."""
        self._raw.quiet = True
        more = MORE if self._reader.peek(1) else self._unasked()
        if more == MORE:
            raise broken("the answer has more bytes than it announced")
        self.version = f"HTTP/1.{response.version % 10}{self._dialer.tls}"
        if response.will_close or unsent is not None or more == ENDED:
            self.close()

    # Answers that say no

    def _refusal(self, response: HTTPResponse) -> CallFailed:
        text = self._text_of(response)
        if self.explain is not None:
            return self.explain(Refusal(response.status, response.reason, response.headers, text))
        said = f"{self.url} answered {response.status} {shown(response.reason)}"
        if response.status in REDIRECTS:
            where = shown(response.headers.get("Location", "nowhere"))
            said += f", a redirect to {where}: none is followed, for that may be a portal that wants a login"
        elif is_page(response.headers, text):
            said += f", {PAGE}"
        if text:
            said += f": {shown(text)}"
        return CallFailed(REFUSED, said, answered=True, status=response.status)

    def _text_of(self, response: HTTPResponse) -> bytes:
        """Read the start of an answer that says no; a broken one has less of it."""
        text = bytearray(MOST_TEXT)
        came = 0
        try:
            while count := response.readinto(memoryview(text)[came:]):
                came += count
        except (OSError, HTTPException, ValueError, CallFailed):
            if self.deadline.is_over:
                raise
        return bytes(text[:came])
