"""A whole run of calls that fail in every way, told in every way: no byte that is written has a secret in it.

The user's own keys are in the run's environment, as many have them; temporary ones come from an STS. Neither is in any
file of the project, the cache, the device's store or the folder for temporary files, in the output, or in what /proc
shows of a process.
"""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

from harness.agent.remote.credentials import Credentials
from harness.serving.front import Front
from harness.serving.interface import OutputFacts
from harness.serving.limits import ServingLimits
from harness.serving.service.fault import KINDS, Fault
from tests.support.emulated_service import INTERFACE, Doubling, EmulatedService
from tests.support.small_sts import SmallSts

from .conftest import Outcome, Project

pytestmark = pytest.mark.slow  # a whole run, at a slow pace

OWN = Credentials("AKIASECRETSECRETOWN0", "ownSecretKey/ownSecretKey+ownSecretKey00")
DEVICE = """
    extends = "local"

    [device]
    backends = ["sagemaker"]

    [options.sagemaker]
    endpoint = "cloud"
    timeout_ms = 150
    stream = true

    [measure]
    block_ms = 1
"""
MODEL = """
    import torch

    from harness import Input, Model


    class Double(torch.nn.Module):
        def forward(self, x):
            return 2 * x


    model = Model(
        build=lambda: Double().eval(),
        inputs=[Input("x", shape=("batch", 2), min_value=-1.0, max_value=1.0)],
        dims={"batch": (1, 4)},
        name="net",
        limits={"latency_p99_ms": 50, "deadline_ms": 50, "deadline_miss_rate": 0.5, "availability_min": 0.9},
    )
"""
# Everything that a user may ask for that shows more: the log of all libraries, the values of variables, all output.
LOUD = ("-vv", "--showlocals", "-o", "log_level=DEBUG", "-o", "log_file=all.log", "-o", "log_file_level=DEBUG")


class Issued:
    """Credentials that the service issues, all of them kept."""

    def __init__(self, service: EmulatedService) -> None:
        self.service, self.all = service, list[Credentials]()

    def __call__(self) -> Credentials:
        self.all.append(self.service.credentials())
        return self.all[-1]


class Watch:
    """A thread that reads what /proc shows of every process, again and again, and finds secrets in it."""

    def __init__(self, issued: Issued) -> None:
        self.issued, self.found, self.seen = issued, list[str](), set[str]()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(0.2):
            needles = needles_of(*self.issued.all)
            for process in Path("/proc").glob("[0-9]*"):
                self._look(process, needles)

    def _look(self, process: Path, needles: set[bytes]) -> None:
        try:
            command, variables = ((process / name).read_bytes() for name in ("cmdline", "environ"))
        except OSError:
            return
        # What runs on the device has nothing of the user's own, either.
        is_device = b"HILGATE_RUN" in variables or b"\0agent\0" in command or b"forkserver_agent" in command
        own = needles_of(OWN) if is_device else set()
        if is_device:
            self.seen.add(process.name)
        for needle in needles | own:
            if needle in command + variables:
                self.found.append(f"{process.name} {command[:80]!r}")


def needles_of(*all_of_them: Credentials) -> set[bytes]:
    """Return each secret as it may be written: as it is, in a URL, in base64 and in UTF-16."""
    needles = set[bytes]()
    for credentials in all_of_them:
        for secret in filter(None, (credentials.secret_key, credentials.token)):
            needles |= {secret.encode(), quote(secret, safe="").encode(), secret.encode("utf-16-le")}
            needles |= {base64.b64encode(secret.encode())[:24]}
    return needles


def written(*folders: Path) -> Iterator[tuple[Path, bytes]]:
    """Yield every file below these folders."""
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                yield path, path.read_bytes()


@pytest.fixture(scope="module")
def service() -> Iterator[EmulatedService]:
    """One call of six fails, in each way in turn."""
    faults = [Fault(kind, after=6 * number, every=6 * len(KINDS)) for number, kind in enumerate(KINDS)]
    interface = replace(INTERFACE, outputs=(OutputFacts("output", "FP32", (-1, 2)),))
    with EmulatedService(*faults, container=Front(Doubling(), interface, ServingLimits()).app()) as running:
        yield running


def test_no_secret_is_in_any_byte_that_a_run_writes(project: Project, service: EmulatedService) -> None:
    issued = Issued(service)
    with SmallSts(issued) as sts, Watch(issued) as watch:
        done = run(project, service, sts.url)
    assert {"GetCallerIdentity", "GetFederationToken"} == set(sts.asked)
    assert len(issued.all) <= 2  # one device process after the other is given the same ones
    assert_failed_in_many_ways(done)
    assert watch.seen, "no process of the device's was seen"
    assert watch.found == []
    needles = needles_of(OWN, *issued.all)
    folders = (project.folder, Path(project.environment["HILGATE_CACHE"]), Path(project.environment["TMPDIR"]))
    files = dict(written(*folders))
    assert {"all.log", "evidence.json", "junit.xml", "bench.json"} <= {path.name for path in files}
    assert [str(path) for path, content in files.items() if any(needle in content for needle in needles)] == []
    assert not [needle for needle in needles if needle in done.output.encode()]
    # The search does find what is there.
    assert any(issued.all[0].secret_key.encode() in needle for needle in needles)


def run(project: Project, service: EmulatedService, sts: str) -> Outcome:
    """Run the suite against the service, as an endpoint of SageMaker's."""
    settings = service.service.settings
    project.write("devices/robot.toml", DEVICE)
    project.write("net.py", MODEL)
    project.write("endpoints/authority.pem", service.identity.authority)
    project.write(
        "endpoints/cloud.toml",
        f"""
        [endpoint]
        description = "an endpoint"
        region = "{settings.region}"
        name = "{settings.endpoint}"
        url = "{service.url}"
        ca = "authority.pem"

        [prices]
        per_instance_hour_usd = 0.1
        source = "a test"
        """,
    )
    for name in ("cache", "tmp"):
        (project.folder.parent / name).mkdir(exist_ok=True)
    project.environment |= {
        "AWS_ACCESS_KEY_ID": OWN.access_key,
        "AWS_SECRET_ACCESS_KEY": OWN.secret_key,
        "AWS_ENDPOINT_URL_STS": sts,
        "AWS_EC2_METADATA_DISABLED": "true",
        "HILGATE_CACHE": str(project.folder.parent / "cache"),
        "TMPDIR": str(project.folder.parent / "tmp"),
    }
    quick = ("--time-limit", "12", "--benchmark-json", "bench.json")
    return project.run("--device", "robot", "--model", "net.py", *LOUD, *quick)


def assert_failed_in_many_ways(done: Outcome) -> None:
    """Check that calls were made and failed, so that there was something to tell."""
    found: dict[str, Any] = done.check("availability")
    assert found["calls"] > 200, done.output[-3000:]
    assert {"refused", "late", "broken"} <= set(found["failed"])
    assert done.check("cost_per_hour_usd")["value"] == 0.1
    assert np.isfinite(done.check("first_part_p50_ms")["value"])


def test_the_search_looks_where_it_says(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(b"x" + OWN.secret_key.encode("utf-16-le"))
    assert [path.name for path, content in written(tmp_path) if any(n in content for n in needles_of(OWN))] == ["b"]
    assert os.environ.get("AWS_SECRET_ACCESS_KEY", "") not in {OWN.secret_key}
