"""An emulated service as a run has it: started as a process of its own, which ends with the run, however that ends."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pickle
import re
import secrets
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from ...agent.remote.credentials import Credentials
from ...device.device import Device
from ...errors import EndpointError
from ...export import Artifact
from ...host.leash import end_session, leashed
from ...host.optional import SERVING, SIGNING, check_cloud
from ...model.model_file import ModelFile
from ...model.user_process import environment, search_path
from .fault import Fault
from .issuing import KEY_BYTES, Issuer
from .settings import ServiceSettings

# Started by these words, so that it finds hilgate, and a model's own modules, where this process does.
START = (
    "import json, sys; sys.path[:] = json.loads(sys.stdin.readline());"
    "from harness.serving.service.process import main; main()"
)
# Loading a large model may take minutes; a service that does not come up by then is not waited for.
STARTED_S, ENDED_S = 600.0, 5.0
TOLD_BYTES = 4_000


@dataclass(frozen=True, kw_only=True)
class ServiceRequest:
    """What a service is to serve.

    Attributes:
        artifact: the model, in the backend's format.
        file: the model file, as it was read; none of its code is in it.
        device: this machine, as its file says: the backend's threads and options.
        backend: what runs the model behind the service.
        settings: what is emulated.
        faults: which calls fail on purpose.
        project: the folder that has the lock file, if there is one.
        key: what credentials are issued with.
    """

    artifact: Artifact
    file: ModelFile
    device: Device
    backend: str
    settings: ServiceSettings
    faults: Sequence[Fault] = ()
    project: Path | None = None
    key: bytes = field(default_factory=lambda: secrets.token_bytes(KEY_BYTES), repr=False)


@dataclass(kw_only=True)
class RunningService:
    """An emulated service that listens.

    Attributes:
        url: where, by https.
        authority: the certificate of the authority that has signed its own, in PEM.
        model: the name of the served model, for the backend oip.
        settings: what it emulates.
        issuer: issues the credentials that it takes.
    """

    url: str
    authority: str
    model: str
    settings: ServiceSettings
    issuer: Issuer
    _process: subprocess.Popen[str]

    @classmethod
    def start(cls, asked: ServiceRequest) -> Self:
        """Start a service, and wait until it listens.

        Raises:
            InputError: hilgate[cloud] is not installed.
            EndpointError: it cannot be started; with the reason.
        """
        check_cloud("the emulated service", (*SERVING, *SIGNING))
        errors = os.memfd_create("service")
        process = subprocess.Popen(
            leashed([sys.executable, "-c", START]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment(),
            start_new_session=True,  # Ctrl-C is for the run
        )
        try:
            answer = _answer(process, asked)
            if "problem" in answer or not answer:
                raise _not_started(answer.get("problem") or _told(errors), asked)
        except BaseException:
            _end(process)
            raise
        finally:
            os.close(errors)
        issuer = Issuer(key=asked.key)
        return cls(
            url=answer["url"],
            authority=answer["authority"],
            model=answer["model"],
            settings=asked.settings,
            issuer=issuer,
            _process=process,
        )

    def credentials(self) -> Credentials:
        """Issue credentials that it takes, for 15 minutes."""
        return self.issuer.issue()

    def close(self) -> None:
        """End it. Never raises."""
        _end(self._process)


def endpoint_name(model: str) -> str:
    """Make a name that SageMaker would take out of a model's."""
    return re.sub(r"[^A-Za-z0-9]+", "-", model).strip("-")[:63].strip("-") or "model"


def _answer(process: subprocess.Popen[str], asked: ServiceRequest) -> dict[str, str]:
    """Tell the process what to serve, and return what it answers; {} where it ended or does not come up."""
    if process.stdin is None or process.stdout is None:
        raise AssertionError("both are pipes")
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(search_path()) + "\n")
        process.stdin.write(base64.b64encode(pickle.dumps(asked)).decode() + "\n")
        process.stdin.flush()
    if not select.select([process.stdout], [], [], STARTED_S)[0]:
        return {}
    line = process.stdout.readline()
    answer: dict[str, str] = json.loads(line) if line.endswith("\n") else {}
    return answer


def _told(errors: int) -> str:
    """Read the end of what the process has written to its stderr."""
    size = os.fstat(errors).st_size
    return os.pread(errors, TOLD_BYTES, max(size - TOLD_BYTES, 0)).decode(errors="replace").strip()


def _not_started(found: str, asked: ServiceRequest) -> EndpointError:
    return EndpointError(
        "the emulated service does not start",
        wanted=f"{asked.file.name} with {asked.backend}, served on this machine",
        found=found or "it said nothing",
        where="endpoint.serve",
        hint=f"hilgate serve {asked.file.path} --backend {asked.backend} shows more",
    )


def _end(process: subprocess.Popen[str]) -> None:
    """Close its stdin, on which it ends in order; kill it where it does not."""
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            if pipe is not None:
                pipe.close()
    deadline = time.monotonic() + ENDED_S
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    end_session(process)
    process.wait()
