"""The process of an emulated service: the model is loaded, and callers are answered until stdin ends.

It is told what to serve by one line on stdin, and tells by one line on stdout where it listens, or why it does not.
Whoever started it keeps stdin open; so it ends with them, however they end.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pickle
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...bundle.lock_file import use_project
from ...deploy.deployment import Deployment
from ...errors import HilgateError
from .. import sockets
from ..front import Front
from ..limits import ServingLimits
from ..preparing import local_backend, opened
from ..server import Signals, run_app
from ..worker import Worker
from .certificate import ADDRESS, make_identity
from .fault import Faults
from .issuing import Issuer
from .routes import Service
from .starting import ServiceRequest

# Once it is told to end nobody waits for an answer any more.
GRACE_S = 1.0


def main() -> None:
    """Serve what stdin names."""
    told = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints is no answer
    asked: ServiceRequest = pickle.loads(base64.b64decode(sys.stdin.readline()))  # noqa: S301  # our parent's
    if asked.project is not None:
        use_project(asked.project)
    with Signals() as signals:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
        try:
            _serve(asked, signals, told)
        except HilgateError as error:
            _say(told, {"problem": str(error)})


def _serve(asked: ServiceRequest, signals: Signals, told: int) -> None:
    backend = local_backend(asked.device, asked.backend, "endpoint.serve")
    # What the service itself takes is looked at first: a container takes what the service lets through.
    limits = replace(ServingLimits(grace_s=GRACE_S), request_bytes=asked.settings.request_bytes)
    identity = make_identity()
    with (
        contextlib.closing(sockets.bind(ADDRESS, 0)) as listening,
        opened(asked.artifact, asked.file, asked.device, backend) as served,
    ):
        first, load = served.start()

        def start() -> Deployment:
            return served.start()[0]

        worker = Worker(live=first, start=start, tell=_tell)
        try:
            interface = served.interface(first, load)
            sockets.listen(listening)
            worker.run()
            service = Service(
                container=Front(worker, interface, limits).app(),
                settings=asked.settings,
                issuer=Issuer(key=asked.key),
                faults=Faults(rules=asked.faults),
            )
            port = listening.getsockname()[1]
            _say(told, {"url": f"https://{ADDRESS}:{port}", "authority": identity.authority, "model": interface.name})
            run_app(service, limits, listening, signals, _tell, context=identity.context)
        finally:
            worker.close()


def _end_with_stdin() -> None:
    """End in order once whoever started this process has closed its stdin, or has ended."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


def _say(told: int, answer: Mapping[str, Any]) -> None:
    with open(told, "w", encoding="utf-8", closefd=False) as file:
        file.write(json.dumps(answer) + "\n")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
