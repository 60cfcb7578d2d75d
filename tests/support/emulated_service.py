"""The emulated service in this process, in a thread: real sockets, TLS and signatures, and a small container.

with EmulatedService(Fault("throttled", after=3)) as service:
    client = boto3_client(service, tmp_path)
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import uvicorn

from harness.agent.frames import Array
from harness.agent.remote.credentials import Credentials
from harness.model.input_spec import Input
from harness.serving import sockets
from harness.serving.front import Front
from harness.serving.interface import Interface, OutputFacts
from harness.serving.limits import ServingLimits
from harness.serving.server import run_app
from harness.serving.service.certificate import ADDRESS, make_identity
from harness.serving.service.fault import Fault, Faults
from harness.serving.service.issuing import Issuer
from harness.serving.service.routes import Service
from harness.serving.service.settings import ServiceSettings
from harness.serving.worker import Job

INTERFACE = Interface(
    name="net",
    platform="hilgate_test",
    inputs=(Input("x", shape=("batch", 2), dtype="float32"),),
    dims={"batch": range(1, 1 << 20)},
    outputs=(OutputFacts("y", "FP32", (-1, 2)),),
)
STARTED_S = 10.0


class Doubling:
    """In a worker's place: doubles x, at once or later."""

    def __init__(self) -> None:
        self.problem = ""
        self.delay_s = 0.0

    def submit(self, inputs: dict[str, Array]) -> Job:
        """Take a set of inputs."""
        loop = asyncio.get_running_loop()
        job = Job(inputs=inputs, answer=loop.create_future())
        loop.call_later(self.delay_s, job.settle, [2 * inputs["x"]])
        return job


class EmulatedService:
    """A context manager; see the module.

    Attributes:
        service: the routes, with settings, issuer and faults.
        worker: what the container asks.
        url: where it listens, by https.
        told: what went wrong in it.
    """

    def __init__(
        self, *faults: Fault, container: Any = None, clock: Callable[[], float] = time.time, **settings: Any
    ) -> None:
        self.worker = Doubling()
        limits = ServingLimits(grace_s=1.0)
        self.service = Service(
            container=container or Front(self.worker, INTERFACE, limits).app(),
            settings=ServiceSettings(**{"endpoint": "net", **settings}),
            issuer=Issuer(clock=clock),
            faults=Faults(rules=faults),
        )
        self.identity, self.told = make_identity(), list[str]()
        self.server: uvicorn.Server | None = None
        self._listening = sockets.bind(ADDRESS, 0)
        self.port: int = self._listening.getsockname()[1]
        self.url = f"https://{ADDRESS}:{self.port}"
        sockets.listen(self._listening)
        self._thread = threading.Thread(target=self._run, args=(limits,))

    def _run(self, limits: ServingLimits) -> None:
        context = self.identity.context
        run_app(self.service, limits, self._listening, self, self.told.append, context=context)

    def __enter__(self) -> Self:
        self._thread.start()
        end = time.monotonic() + STARTED_S
        while self.server is None or not self.server.started:
            if time.monotonic() > end:
                raise AssertionError(f"it did not start: {self.told}")
            time.sleep(0.01)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.server is not None:
            self.server.should_exit = True
        self._thread.join(STARTED_S)
        self._listening.close()

    def fail(self, *faults: Fault) -> None:
        """Have other calls fail from now on; none without any."""
        self.service.faults.replace(*faults)

    def credentials(self) -> Credentials:
        """Issue credentials for a run."""
        return self.service.issuer.issue()

    def ca(self, folder: Path) -> Path:
        """Write the authority's certificate down, for those that want a file."""
        path = folder / "authority.pem"
        path.write_text(self.identity.authority)
        return path


def boto3_client(service: EmulatedService, folder: Path, keys: Sequence[Any] = (), **more: Any) -> Any:
    """Make a client of boto3's, with one attempt, which takes the service for SageMaker's runtime.

    Args:
        service: what it calls.
        folder: where the authority's certificate is put.
        keys: access key, secret and token; those of new credentials without.
        more: such as region_name.
    """
    import boto3
    from botocore.config import Config

    access_key, secret_key, token, *_ = [*keys] or service.credentials()
    settings = {"retries": {"total_max_attempts": 1}, "read_timeout": 10, "connect_timeout": 10}
    arguments = {
        "region_name": service.service.settings.region,
        "endpoint_url": service.url,
        "verify": str(service.ca(folder)),
        "aws_access_key_id": access_key,
        "aws_secret_access_key": secret_key,
        "aws_session_token": token,
        "config": Config(**settings),
    }
    return boto3.client("sagemaker-runtime", **{**arguments, **more})
