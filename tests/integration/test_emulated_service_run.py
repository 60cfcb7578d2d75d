"""Runs with the emulated service as a process of its own: what is judged, what is kept secret, and how it ends."""

from __future__ import annotations

import contextlib
import pickle
import signal
import socket
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from harness.agent import orphans
from harness.device import load_device
from harness.errors import EndpointError
from harness.export import export_artifact
from harness.host.shipped import DEVICES
from harness.measure import known_metrics
from harness.model.model_file import ModelFile
from harness.model.process import build_hosted, read_hosted
from harness.serving.service.fault import Fault
from harness.serving.service.settings import ServiceSettings
from harness.serving.service.starting import RunningService, ServiceRequest
from tests.support.processes import descendants

from .conftest import MODEL, Project

QUICK = ("-k", "parity or memory or load_time or artifact", "--time-limit", "20")
# A service, in a process that is killed: it waits for nothing, and closes nothing.
HOLDER = (
    "import pickle, sys; from harness.serving.service.starting import RunningService;"
    "service = RunningService.start(pickle.load(sys.stdin.buffer));"
    "print(service.url, flush=True); import time; time.sleep(60)"
)


def test_a_run_starts_it_and_judges_answers_memory_and_sizes(project: Project) -> None:
    done = project.run("--device", "local-cloud", "--backend", "sagemaker", "--backend", "oip", *QUICK)
    assert done.status == 0, done.output
    evidence = done.evidence
    cells = {cell["backend"]: cell for cell in evidence["cells"]}
    assert set(cells) == {"sagemaker", "oip"}
    for cell in cells.values():
        assert (cell["service_emulated"], cell["emulated"], cell["verdict"]) == (True, False, "PASS")
        checks = {check["metric"]: check for check in cell["checks"]}
        assert checks["parity"]["verdict"] == "PASS"
        assert checks["memory_peak_mib"]["verdict"] == "MEASURED"
        assert (checks["load_time_s"]["verdict"], checks["load_time_s"]["value"] > 0) == ("NOT_APPLICABLE", True)
        assert "no cloud's" in checks["load_time_s"]["reason"]
        assert (cell["endpoint"]["name"], cell["endpoint"]["wire"]) == ("emulated", "binary")
    assert cells["sagemaker"]["endpoint"]["url"] == cells["oip"]["endpoint"]["url"]  # one for both
    assert cells["sagemaker"]["endpoint"]["endpoint_name"] == "tiny"
    # The verdict is of the checks; what it is not of is said beside it, and in the decision.
    assert evidence["verdict"] == "PASS"
    (decision,) = evidence["decision"]
    assert decision["taken"] is None
    assert decision["sentence"].startswith("Deploy none: only emulated services were called, and nothing of this")
    *_, remark, verdict = [line for line in done.output.splitlines() if line.startswith(("emulated", "verdict"))]
    assert remark.startswith("emulated services (sagemaker, oip): what is judged is answers, memory and sizes at most;")
    assert verdict == "verdict: PASS"
    assert is_refused(cells["oip"]["endpoint"]["url"])


@pytest.fixture(scope="module")
def request_of_tiny(tmp_path_factory: pytest.TempPathFactory) -> ServiceRequest:
    """What a service is started with."""
    path = tmp_path_factory.mktemp("service") / "tiny.py"
    path.write_text(textwrap.dedent(MODEL))
    metrics = [*known_metrics().values()]
    file = read_hosted(path, metrics)
    with contextlib.closing(file.process):
        artifact = export_artifact(build_hosted(file), "onnx")
    return ServiceRequest(
        artifact=artifact,
        file=ModelFile(file.path, file.model, file.limits, sha256=file.sha256),
        device=load_device("local-cloud", [DEVICES], metrics),
        backend="onnxruntime",
        settings=ServiceSettings(endpoint="tiny"),
        faults=[Fault("throttled")],
    )


def test_it_ends_with_whoever_started_it_even_if_that_is_killed(request_of_tiny: ServiceRequest) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdin is not None
    assert holder.stdout is not None
    with holder:
        holder.stdin.write(pickle.dumps(request_of_tiny))
        holder.stdin.flush()
        url = holder.stdout.readline().decode().strip()
        assert not is_refused(url, within_s=0.0)
        seen = [(each.pid, orphans.identity(each.pid)) for each in descendants(holder.pid)]
        started = [(pid, process[1]) for pid, process in seen if process]
        assert len(started) >= 4  # leash, service, daemon and agent
        holder.send_signal(signal.SIGKILL)
    assert is_refused(url)
    assert left_of(started) == []


def left_of(started: list[tuple[int, int]], within_s: float = 20.0) -> list[int]:
    """List the processes, (pid, start), that are still there when they had some time to end."""
    end = time.monotonic() + within_s
    while True:
        found = [(pid, start, orphans.identity(pid)) for pid, start in started]
        left = [pid for pid, start, now in found if now and now[1] == start and now[2] not in "ZX"]
        if not left or time.monotonic() >= end:
            return left
        time.sleep(0.1)


def test_a_service_that_cannot_be_started_says_why(request_of_tiny: ServiceRequest) -> None:
    with pytest.raises(EndpointError, match="the emulated service does not start") as caught:
        RunningService.start(replace(request_of_tiny, backend="oip"))
    assert "cannot be served from here" in caught.value.found


def is_refused(url: str, within_s: float = 10.0) -> bool:
    """Tell whether nobody listens there, or not any more."""
    end = time.monotonic() + within_s
    while True:
        try:
            socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=5).close()
        except ConnectionRefusedError:
            return True
        if time.monotonic() >= end:
            return False
        time.sleep(0.1)
