"""A served model, from its start until a signal ends it."""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, Self

import uvicorn

from ..checks.limits import Metric
from ..deploy.deployment import Deployment
from ..device.device import Device
from . import sockets
from .bounded import bounded_protocol
from .front import Front
from .interface import Interface
from .limits import ServingLimits
from .preparing import prepare
from .worker import Worker

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# How long Python's threads keep the interpreter from each other. 5 ms is the default, and many times a small inference.
SWITCH_S = 0.0005


def serve(
    path: Path,
    device: Device,
    backend: str,
    metrics: Sequence[Metric],
    *,
    address: str,
    port: int,
    limits: ServingLimits,
    say: Callable[[str], None],
    tell: Callable[[str], None],
) -> None:
    """Serve a model until SIGTERM or SIGINT; then what is under way is finished, in ``limits.grace_s`` at most.

    Args:
        path: the model file.
        device: this machine, as a device file describes it.
        backend: the backend's name.
        metrics: those that exist, for the model file's limits.
        address: where callers connect.
        port: 0 for any.
        limits: what callers may send.
        say: shows what is served, where, and how to name it.
        tell: shows what goes wrong meanwhile; called from any thread.

    Raises:
        HilgateError: it cannot be served.
    """
    with (
        Signals() as signals,
        contextlib.closing(sockets.bind(address, port)) as listening,
        prepare(path, device, backend, metrics) as served,
    ):
        first, load = served.start()

        def start() -> Deployment:
            return served.start()[0]

        worker = Worker(live=first, start=start, tell=tell)
        try:
            interface = served.interface(first, load)
            sockets.listen(listening)
            worker.run()
            say(announcement(interface, backend, listening))
            run_app(Front(worker, interface, limits).app(), limits, listening, signals, tell)
        finally:
            worker.close()


class Stops(Protocol):
    """What ends a server: by its ``should_exit``.

    Attributes:
        server: what serves; None before.
    """

    server: uvicorn.Server | None


def run_app(
    app: Any,
    limits: ServingLimits,
    listening: socket.socket,
    stops: Stops,
    tell: Callable[[str], None],
    *,
    context: ssl.SSLContext | None = None,
) -> None:
    """Answer callers until ``stops`` ends it.

    Args:
        app: the routes.
        limits: what callers may send.
        listening: where they connect.
        stops: is given the server.
        tell: shows what goes wrong meanwhile.
        context: the server's side of TLS; None without.
    """
    config = uvicorn.Config(
        app,
        http=bounded_protocol(limits),
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        log_level="error",  # what a caller sends is no news
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=limits.head_bytes,
        timeout_keep_alive=int(limits.idle_s),
        timeout_graceful_shutdown=max(int(limits.grace_s), 1),
    )
    config.load()
    config.ssl = context
    stops.server = uvicorn.Server(config)
    before, log, shown = sys.getswitchinterval(), logging.getLogger("uvicorn"), _Shown(tell)
    sys.setswitchinterval(SWITCH_S)
    log.addHandler(shown)
    try:
        stops.server.run(sockets=[listening])
    finally:
        log.removeHandler(shown)
        sys.setswitchinterval(before)


class _Shown(logging.Handler):
    """Shows what uvicorn logs, a traceback of ours: a caller's words may be in it, so it is not printed as it is."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self._tell(self.format(record))


class Signals:
    """Has SIGTERM and SIGINT end a block in order: processes are ended, and locks released.

    Before anything is served they raise SystemExit. uvicorn takes them over while it serves, and raises them once more
    when it has ended, which must do no harm.

    Attributes:
        server: what serves; None before.
    """

    def __init__(self) -> None:
        self.server: uvicorn.Server | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._stop) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self.server is None:
            raise SystemExit(128 + number)
        self.server.should_exit = True


def announcement(interface: Interface, backend: str, listening: socket.socket) -> str:
    """Say what is served, where, and what an endpoint file of it looks like."""
    url, name = sockets.url_of(listening), interface.name
    reach = (
        "this machine only; --bind ADDRESS for others" if sockets.is_loopback(listening) else "anybody who reaches it"
    )
    description = f"{name} with {backend}, served by hilgate on {socket.gethostname()}"
    lines = [
        f"serving {name} with {backend} at {url} ({reach}); Ctrl-C ends it",
        f"endpoints/{name}.toml, for devices that ask it ([options.oip] endpoint = {json.dumps(name)}):",
        "",
        "[endpoint]",
        f"description = {json.dumps(description, ensure_ascii=False)}",
        f"url = {json.dumps(url)}",
        f"model = {json.dumps(name)}",
    ]
    return "\n".join(lines)
