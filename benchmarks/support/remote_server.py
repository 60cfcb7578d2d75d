"""A server of SageMaker's route for benchmarks, a program by itself: TLS, no signature looked at, echoes, and faults.

It prints three ports in one line: its own; one that accepts, and never speaks TLS; one whose queue is full, so that the
kernel drops each request for a connection. The endpoint's name in a request's path is "echo", or a fault's.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import sys
import threading
import time
import zlib

HOST = "127.0.0.1"
BINARY = "application/vnd.sagemaker-triton.binary+json;json-header-size="
PAUSE_S, FOR_EVER_S = 0.02, 3600
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4000\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


def frame(payload: bytes) -> bytes:
    """Write a frame of an event stream that carries a part of the body."""
    lines = b""
    for name, value in ((b":message-type", b"event"), (b":event-type", b"PayloadPart")):
        lines += struct.pack(">B", len(name)) + name + b"\x07" + struct.pack(">H", len(value)) + value
    prelude = struct.pack(">II", 16 + len(lines) + len(payload), len(lines))
    whole = prelude + struct.pack(">I", zlib.crc32(prelude)) + lines + payload
    return whole + struct.pack(">I", zlib.crc32(whole))


def trickle(connection: socket.socket, text: bytes, pause_s: float = PAUSE_S) -> None:
    """Send a byte at a time, again and again."""
    while True:
        for index in range(len(text)):
            connection.sendall(text[index : index + 1])
            time.sleep(pause_s)


def _chunk(payload: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(payload), payload)


# By the fault's name: what is sent at once, what is sent again and again a byte at a time, and the pause before each.
FAULTS: dict[str, tuple[bytes, bytes, float]] = {
    "trickled head": (b"HTTP/1.1 200 OK\r\n", b"X-Filler: 1\r\n", PAUSE_S),
    "endless 100s": (b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.002),
    "half a head": (HEAD[:30], b"", 0),
    "no body": (HEAD, b"", 0),
    "trickled body": (HEAD, b" ", PAUSE_S),
    "trickled slowly": (HEAD, b" ", 0.8),
    "trickled chunks": (CHUNKED, _chunk(b"a"), 0.005),
    "half a chunk": (CHUNKED + b"4000\r\nabc", b"", 0),
    "trickled frames": (CHUNKED, _chunk(frame(b"{")), 0.005),
    "silence": (b"", b"", 0),
}


def misbehave(connection: socket.socket, fault: str) -> None:
    """Answer a request wrongly, until the other side goes."""
    at_once, again, pause_s = FAULTS[fault]
    connection.sendall(at_once)
    if again:
        trickle(connection, again, pause_s)
    time.sleep(FOR_EVER_S)


def serve(raw: socket.socket, context: ssl.SSLContext) -> None:
    """Answer the requests of one connection."""
    with contextlib.suppress(OSError, ValueError):
        connection = context.wrap_socket(raw, server_side=True)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = connection.makefile("rb")
        while line := reader.readline():
            path, headers = line.split()[1].decode(), {}
            while (text := reader.readline().strip()) != b"":
                name, _, value = text.decode().partition(":")
                headers[name.lower()] = value.strip()
            fault = path.split("/")[2].replace("-", " ")
            if fault == "stalled upload":
                time.sleep(FOR_EVER_S)
            body = reader.read(int(headers["content-length"]))
            if fault != "echo":
                misbehave(connection, fault)
            size = int(headers["content-type"].removeprefix(BINARY))
            request = json.loads(body[:size])
            outputs = [{**one, "name": "y"} for one in request["inputs"]]
            head = json.dumps({"outputs": outputs}).encode()
            lines = ["HTTP/1.1 200 OK", f"Content-Type: {BINARY}{len(head)}"]
            lines.append(f"Content-Length: {len(head) + len(body) - size}")
            connection.sendall("\r\n".join([*lines, "", ""]).encode() + head + body[size:])


def listen(backlog: int = 128) -> socket.socket:
    """Listen at a free port of loopback."""
    listening = socket.create_server((HOST, 0), backlog=backlog)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    return listening


def main() -> None:
    """Serve until stdin ends; the one argument is a file of key and certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1])
    own, mute, full = listen(), listen(), listen(0)
    fillers = [socket.socket() for _ in range(3)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(full.getsockname())

    def accept() -> None:
        while True:
            threading.Thread(target=serve, args=(own.accept()[0], context), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    print(*(each.getsockname()[1] for each in (own, mute, full)), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
