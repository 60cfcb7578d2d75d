"""A served model, from its start until a signal ends it."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

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
    with contextlib.closing(sockets.bind(address, port)) as listening, _ending_in_order():
        with prepare(path, device, backend, metrics) as served:
            first, load = served.start()

            def start() -> Deployment:
                return served.start()[0]

            worker = Worker(live=first, start=start, tell=tell)
            try:
                interface = served.interface(first, load)
                sockets.listen(listening)
                worker.run()
                say(announcement(interface, backend, listening))
                run_front(Front(worker, interface, limits), listening)
            finally:
                worker.close()


def run_front(front: Front, listening: socket.socket) -> None:
    """Answer callers until a signal comes."""
    limits = front.limits
    config = uvicorn.Config(
        front.app(),
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
        timeout_graceful_shutdown=int(limits.grace_s),
    )
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    try:
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        sys.setswitchinterval(before)


class _Ended(SystemExit):
    """A signal came before anything was served."""


@contextlib.contextmanager
def _ending_in_order() -> Iterator[None]:
    """Have a signal end the block as an exception does, so that processes are ended and locks released.

    uvicorn takes the signals over while it serves. It raises them once more when it has ended, which must do no harm.
    """
    served = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal served
        if not served and not _has_served(frame):
            served = True
            raise _Ended(128 + number)

    before: dict[signal.Signals, Any] = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _has_served(frame: FrameType | None) -> bool:
    """Tell whether a signal is uvicorn's own repetition: it is raised in its own code."""
    while frame is not None:
        if frame.f_code.co_filename == uvicorn.server.__file__:
            return True
        frame = frame.f_back
    return False


def announcement(interface: Interface, backend: str, listening: socket.socket) -> str:
    """Say what is served, where, and what an endpoint file of it looks like."""
    url, name = sockets.url_of(listening), interface.name
    reach = "this machine only; --bind ADDRESS for others" if sockets.is_loopback(listening) else "anybody who reaches it"
    description = f"{name} with {backend}, served by hilgate on {socket.gethostname()}"
    lines = [
        f"serving {name} with {backend} at {url} ({reach}); Ctrl-C ends it",
        f"to run against it, endpoints/{name}.toml, and in the device file [options.oip] endpoint = {json.dumps(name)}:",
        "",
        "[endpoint]",
        f"description = {json.dumps(description, ensure_ascii=False)}",
        f"url = {json.dumps(url)}",
        f"model = {json.dumps(name)}",
    ]
    return "\n".join(lines)
