"""The proxy that shapes the network: 25 ms each way and a rate of 7 Mbit/s, against what was asked for."""

from __future__ import annotations

import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness.agent.network.start import Running
from harness.agent.remote.tunnel import connect_through

from .support.row import RATIO, Aim, Options, Row

DELAY_MS, BOTH_WAYS = 25.0, 2
DELAY_AIM, RATE_AIM = Aim(1.0, low=-1.0), Aim(1.02, low=0.98)
SMALL, TENSOR = 256, 602_112
READ = 1 << 16
MBIT = 125_000.0


def run(options: Options) -> Iterator[Row]:
    """Ask an echo on loopback, through the proxy and directly, in turns."""
    with _echo() as where:
        yield _delay(where, 30 if options.quick else 200)
        for mbit in (7.0, 100.0):
            yield _rate(where, mbit, 3 if options.quick else 7)
        yield _handshake(where, 5 if options.quick else 20)


def _delay(where: Any, count: int) -> Row:
    """Subtract what the echo itself takes; what is left is two ways, each off by half of it."""
    with _through(where, _way(DELAY_MS), _way(DELAY_MS)) as shaped, socket.create_connection(where) as direct:
        direct.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pairs = [(_turn(shaped, SMALL), _turn(direct, SMALL)) for _ in range(count)]
    added_ms = [(own - other) * 1e3 for own, other in pairs]
    off_ms = statistics.median(added_ms) / BOTH_WAYS - DELAY_MS
    p99_ms = sorted(added_ms)[int(0.99 * count)] / BOTH_WAYS - DELAY_MS
    details = {"p99_off_ms": p99_ms, "samples": count, "direct_ms": statistics.median(each for _, each in pairs) * 1e3}
    return Row("a delay of 25 ms each way: off at p50", off_ms, "ms", f"p99: {p99_ms:+.2f} ms", DELAY_AIM, details)


def _rate(where: Any, mbit: float, count: int) -> Row:
    """Send a tensor up at the rate, and have it come back at none."""
    asked_s = TENSOR / (mbit * MBIT)
    with _through(where, _way(0.0, mbit), _way(0.0)) as shaped:
        took_s = statistics.median(_turn(shaped, TENSOR) for _ in range(count))
    against = f"{asked_s * 1e3:.1f} ms for {TENSOR} bytes"
    return Row(f"{mbit:g} Mbit/s: the time of a tensor", took_s / asked_s, RATIO, against, RATE_AIM, {"samples": count})


def _handshake(where: Any, count: int) -> Row:
    proxy = _started(_way(DELAY_MS), _way(DELAY_MS))
    took_ms = []
    for _ in range(count):
        start = time.perf_counter()
        connect_through(proxy.place, where, 10.0).close()
        took_ms.append((time.perf_counter() - start) * 1e3)
    proxy.close()
    off_ms = statistics.median(took_ms) / BOTH_WAYS - DELAY_MS
    return Row("a new connection's round trip: off at p50, each way", off_ms, "ms", "the same delay", DELAY_AIM)


def _turn(through: socket.socket, size: int) -> float:
    """Send so many bytes, and wait until all are back; return how long it took."""
    start = time.perf_counter()
    sending = threading.Thread(target=through.sendall, args=(bytes(size),))
    sending.start() if size > READ else through.sendall(bytes(size))
    left = size
    while left:
        left -= len(through.recv(READ))
    if size > READ:
        sending.join()
    return time.perf_counter() - start


def _way(delay_ms: float, mbit: float = 0.0) -> dict[str, float]:
    return {"delay_ms": delay_ms, "jitter_ms": 0.0, "bytes_per_s": mbit * MBIT}


def _started(up: dict[str, float], down: dict[str, float]) -> Running:
    return Running({"up": up, "down": down, "outages": []})


@contextmanager
def _through(where: Any, up: dict[str, float], down: dict[str, float]) -> Iterator[socket.socket]:
    """Connect through a proxy of its own."""
    proxy = _started(up, down)
    try:
        with connect_through(proxy.place, where, 10.0) as shaped:
            shaped.settimeout(60.0)
            yield shaped
    finally:
        proxy.close()


@contextmanager
def _echo() -> Iterator[Any]:
    """Serve on loopback: what comes goes back."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_serve, args=(listener,), daemon=True).start()
        yield listener.getsockname()


def _serve(listener: socket.socket) -> None:
    while True:
        try:
            opened = listener.accept()[0]
        except OSError:
            return
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_answer, args=(opened,), daemon=True).start()


def _answer(opened: socket.socket) -> None:
    with opened:
        while data := opened.recv(READ):
            opened.sendall(data)
