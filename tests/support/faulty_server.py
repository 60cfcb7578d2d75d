"""A server that misbehaves by name: raw sockets in threads, one fault each.

It reads requests of one tensor x (FP32 [1, 3] mostly) and knows what a right answer would be: the doubled input.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

HOST = "127.0.0.1"
# Closing a socket that does not linger sends a reset.
RESET = struct.pack("ii", 1, 0)
PATIENCE_S = 5.0
HTML = b"<!DOCTYPE html><html><head><title>Log in</title></head><body>Welcome to the hotel</body></html>"


def answer(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """Write an answer of HTTP; length: what it says of the body's size, in place of the truth."""
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body) if length is None else length}", "", ""]
    return "\r\n".join(lines).encode() + body


def tensors(*outputs: dict[str, Any], data: bytes, rest: bytes = b"") -> bytes:
    """Write a binary answer: its outputs as the header has them, and their bytes."""
    header = json.dumps({"model_name": "m", "outputs": outputs}).encode()
    return answer(header + data + rest, f"Inference-Header-Content-Length: {len(header)}")


def output(name: str = "y", datatype: str = "FP32", shape: Any = (1, 3), size: Any = 12) -> dict[str, Any]:
    """Describe an output in a binary answer's header."""
    return {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": size}}


DATA = struct.pack("<3f", 0, 2, 4)
RIGHT = tensors(output(), data=DATA)
# Answers that are wrong by themselves, sent at once; the connection stays.
WRONG = {
    "short body": answer(RIGHT[-40:], length=99_000) + b"",
    "extra bytes": tensors(output(), data=DATA, rest=b"\0\0\0\0"),
    "missing bytes": tensors(output(), data=DATA[:8]),
    "long body": RIGHT + b"and more",
    "too large": answer(b"", length=1 << 40),
    "html": answer(HTML, "Content-Type: text/html"),
    "html without a type": answer(HTML),
    "html, 404": answer(HTML, "Content-Type: text/html", status="404 Not Found"),
    "other name": tensors(output("z"), data=DATA),
    "twice": tensors(output(), output(), data=DATA * 2),
    "two outputs": tensors(output(), output("z"), data=DATA * 2),
    "other shape": tensors(output(shape=[3, 1]), data=DATA),
    "other rank": tensors(output(shape=[3]), data=DATA),
    "other type": tensors(output(datatype="INT32"), data=DATA),
    "unknown type": tensors(output(datatype="BYTES"), data=DATA),
    "size of another": tensors(output(size=16), data=DATA),
    "huge shape": tensors(output(shape=[1 << 39, 1 << 39, 1 << 39]), data=DATA),
    "negative shape": tensors(output(shape=[-1, 3]), data=DATA),
    "shape of texts": tensors(output(shape=["1", "3"]), data=DATA),
    "no outputs": tensors(data=b""),
    "422": answer(b'{"error": "Unprocessable Entity"}', status="422 Unprocessable Entity"),
    "500": answer(b"Traceback: the model\nfell\x1b[31m over", status="500 Internal Server Error"),
    "413": answer(b"HTTP content length exceeded 9 bytes.", "Connection: close", status="413 Payload Too Large"),
    "redirect": answer(b"", "Location: http://portal.hotel/login", status="302 Found"),
    "gzip": answer(b"\x1f\x8b", "Content-Encoding: gzip"),
    "no json": answer(b"hello"),
    "deep json": answer(b"[" * 100_000),
    "wide json": answer(b'{"outputs":[' + b"{}," * 100_000 + b"{}]}"),
    "long number": answer(b'{"outputs":[{"name":"y","shape":[' + b"9" * 300_000 + b"]}]}"),
    "header size beyond": answer(b"{}", "Inference-Header-Content-Length: 3"),
    "header size no number": answer(b"{}", "Inference-Header-Content-Length: -2"),
    "header size of digits": answer(b"{}", "Inference-Header-Content-Length: " + "9" * 5000),
    "no http": b"SSH-2.0-OpenSSH_9.2\r\n",
    "long line": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    "many lines": b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 1000 + b"\r\n",
    "much head": b"HTTP/1.1 200 OK\r\n" + (b"X: " + b"a" * 60_000 + b"\r\n") * 90 + b"\r\n",
    "bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nhello",
    "negative chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
    "early end of chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
}


class FaultyServer:
    """A context manager: a port of loopback where every inference meets the same fault.

    Attributes:
        fault: its name: one of WRONG, or a method's; see below. "" is a right answer.
        requests: how many were read to the end of their heads; connections: how many were made.
    """

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.requests = self.connections = 0
        self._open: list[socket.socket] = []
        self._ended = threading.Event()
        self._listening = socket.socket()
        if fault == "stall the upload":
            self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._listening.bind((HOST, 0))
        self.port = self._listening.getsockname()[1]
        self.url = f"http://{HOST}:{self.port}"

    def __enter__(self) -> FaultyServer:
        if self.fault == "swallow":
            self._fill_the_queue()
        elif self.fault != "refuse":
            self._listening.listen(16)
            threading.Thread(target=self._accept, name="faulty-server", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        for each in (self._listening, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def drop_connections(self, *, reset: bool = False) -> None:
        """End those that there are, and wait until the other side's kernel knows it."""
        for each in self._open:
            if reset:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            with contextlib.suppress(OSError):
                if not reset:
                    each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._open.clear()
        time.sleep(0.02)

    def _fill_the_queue(self) -> None:
        """Let the kernel drop each request for a connection, as a firewall does: the queue of them is full."""
        self._listening.listen(0)
        for _ in range(3):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex((HOST, self.port))
            self._open.append(filler)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.connections += 1
                self._open.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while not self._ended.is_set() and (head := self._read_head(connection)):
                self.requests += 1
                if self.fault == "stall the upload":
                    self._ended.wait(PATIENCE_S)
                    return
                self._read_body(connection, head)
                self._misbehave(connection)

    def _read_head(self, connection: socket.socket) -> bytes:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = connection.recv(1)
            if not byte:
                return b""
            head += byte
        return head

    def _read_body(self, connection: socket.socket, head: bytes) -> None:
        if self.fault == "answer early":
            return
        left = int(head.lower().partition(b"content-length:")[2].split()[0])
        while left:
            left -= len(connection.recv(min(left, 1 << 16)))

    def _misbehave(self, connection: socket.socket) -> None:
        if self.fault in WRONG:
            connection.sendall(WRONG[self.fault])
            if self.fault == "short body":
                connection.shutdown(socket.SHUT_WR)
            return
        faults: dict[str, Callable[[socket.socket], None]] = {
            "": lambda connection: connection.sendall(RIGHT),
            "reset": self._reset,
            "end": lambda connection: connection.shutdown(socket.SHUT_RDWR),
            "reset after headers": self._reset_after_headers,
            "silence": lambda _: self._wait(),
            "silence after headers": self._silent_after_headers,
            "trickle headers": lambda connection: self._trickle(connection, RIGHT),
            "trickle body": self._trickle_body,
            "trickle for ever": lambda connection: self._trickle(connection, b"HTTP/1.1 100 Continue\r\n\r\n" * 9999),
            "chunks without end": self._chunks,
            "chunked": lambda connection: connection.sendall(self._chunked()),
            "half a head": self._half_a_head,
            "answer early": self._answer_early,
        }
        faults[self.fault](connection)

    def _wait(self) -> None:
        self._ended.wait(PATIENCE_S)

    def _reset(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        connection.close()

    def _reset_after_headers(self, connection: socket.socket) -> None:
        connection.sendall(RIGHT[: RIGHT.index(b"\r\n\r\n") + 4])
        time.sleep(0.05)  # a reset takes back what has not been read
        self._reset(connection)

    def _half_a_head(self, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
        connection.shutdown(socket.SHUT_WR)

    def _silent_after_headers(self, connection: socket.socket) -> None:
        connection.sendall(RIGHT[: RIGHT.index(b"\r\n\r\n") + 4])
        self._wait()

    def _trickle(self, connection: socket.socket, text: bytes) -> None:
        for index in range(len(text)):
            connection.sendall(text[index : index + 1])
            if self._ended.wait(0.02):
                return

    def _trickle_body(self, connection: socket.socket) -> None:
        begin = RIGHT.index(b"\r\n\r\n") + 4
        connection.sendall(RIGHT[:begin])
        self._trickle(connection, RIGHT[begin:])

    def _chunks(self, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not self._ended.is_set():
            connection.sendall(b"4000\r\n" + b"a" * 0x4000 + b"\r\n")

    def _chunked(self) -> bytes:
        head, _, body = RIGHT.partition(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length")]
        chunks = b"".join(
            b"%x\r\n%b\r\n" % (len(body[at : at + 50]), body[at : at + 50]) for at in range(0, len(body), 50)
        )
        return b"\r\n".join([*lines, b"Transfer-Encoding: chunked", b"", b""]) + chunks + b"0\r\n\r\n"

    def _answer_early(self, connection: socket.socket) -> None:
        """Refuse a request before it has come, and end the connection."""
        connection.sendall(WRONG["413"])
        self._reset_later(connection)

    def _reset_later(self, connection: socket.socket) -> None:
        time.sleep(0.05)
        self._reset(connection)
