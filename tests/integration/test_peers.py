"""The backend oip against servers that are not ours: Triton, KServe, MLServer, with the digits example behind them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.agent.failure import NEVER
from harness.agent.frames import Array
from harness.agent.remote.client import Client
from harness.agent.remote.description import read_endpoint
from harness.export import export_artifact
from harness.measure import known_metrics
from harness.model.process import build_hosted, read_hosted
from tests.support.peers.installing import KSERVE, MLSERVER, PEERS, TRITON
from tests.support.peers.serving import Peer, running

from .conftest import HANGS_S, Outcome, Project
from .runners import USERS_CACHE
from .test_remote_agent import Agent

pytestmark = pytest.mark.slow

DIGITS = Path(__file__).parents[2] / "examples" / "digits.py"
DEVICE = """
    extends = "local"

    [device]
    backends = ["oip"]

    [options.oip]
    endpoint = "{name}"
    timeout_ms = 30000
"""
ENDPOINT = """
    [endpoint]
    description = "a server that is not ours"
    url = "{url}"
    model = "{model}"
"""
# How tensors travel there.
WIRES = {TRITON: "binary", KSERVE: "binary", MLSERVER: "json"}
IN_JSON = "the server takes no binary tensors: inputs and outputs travel as JSON"
TIMEOUT_MS = 500
IMAGE: Array = np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 1, 8, 8)

Get = Callable[[str], Peer]


@pytest.fixture(scope="module")
def exported(cache: Path) -> Path:
    """The digits example as ONNX, from the user's own cache, where it mostly is."""
    file = read_hosted(DIGITS, [*known_metrics().values()])
    with pytest.MonkeyPatch.context() as patch, contextlib.closing(file.process):
        patch.setenv("HILGATE_CACHE", str(USERS_CACHE))
        artifact = export_artifact(build_hosted(file), "onnx")
    return artifact.folder / artifact.files[0].name


@pytest.fixture(scope="module")
def peers(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Get]:
    """All of them, installed and started beside each other; who asks for one that does not begin gets the reason."""
    with contextlib.ExitStack() as ends, ThreadPoolExecutor(len(PEERS)) as starting:

        def begin(name: str) -> Peer:
            return ends.enter_context(running(name, exported, USERS_CACHE, tmp_path_factory.mktemp(name)))

        begun: dict[str, Future[Peer]] = {name: starting.submit(begin, name) for name in PEERS}
        yield lambda name: begun[name].result()


@pytest.fixture(scope="module")
def outcome(peers: Get, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What one run came to, with a device for each peer, and one for Triton's wrong model."""
    project = Project(tmp_path_factory.mktemp("project"))
    project.write("pytest.ini", f"[pytest]\nhil_model = {DIGITS}\n")
    devices: list[str] = []
    for name in PEERS:
        with contextlib.suppress(AssertionError, pytest.skip.Exception):  # its own tests say so
            url = peers(name).url
            for model in ("digits", "wrong")[: 2 if name == TRITON else 1]:
                devices += ["--device", f"{name}-{model}"]
                project.write(f"devices/{name}-{model}.toml", DEVICE.format(name=f"{name}-{model}"))
                project.write(f"endpoints/{name}-{model}.toml", ENDPOINT.format(url=url, model=model))
    return project.run_command(project.command(*devices, "-k", "parity", "--time-limit", "20"), timeout=2 * HANGS_S)


@pytest.mark.parametrize("name", PEERS)
def test_right_answers_are_judged_so_in_the_form_that_the_server_takes(peers: Get, outcome: Outcome, name: str) -> None:
    peers(name)
    cell = cell_of(outcome, f"{name}-digits")
    assert (parity(cell), cell["verdict"]) == ("PASS", "PASS"), outcome.output
    assert cell["endpoint"]["wire"] == WIRES[name]
    assert cell["endpoint"]["server"].startswith(name)
    assert (IN_JSON in cell["notes"]) is (WIRES[name] == "json")
    assert not cell.get("service_emulated")


def test_a_wrong_model_fails(peers: Get, outcome: Outcome) -> None:
    peers(TRITON)
    cell = cell_of(outcome, f"{TRITON}-wrong")
    assert (parity(cell), cell["verdict"], outcome.evidence["verdict"]) == ("FAIL", "FAIL", "FAIL"), outcome.output
    assert (outcome.status, cell["endpoint"]["model"]) == (1, "wrong")


def cell_of(outcome: Outcome, device: str) -> dict[str, Any]:
    """The cell on a device."""
    (found,) = (cell for cell in outcome.evidence["cells"] if cell["device"] == device)
    return dict(found)


def parity(cell: dict[str, Any]) -> str:
    """The verdict on a cell's parity."""
    (found,) = (check["verdict"] for check in cell["checks"] if check["metric"] == "parity")
    return str(found)


def described(peer: Peer, **more: Any) -> dict[str, Any]:
    """Describe a peer's right model as artifact/endpoint.json does."""
    inputs = [{"name": "image", "dtype": "float32", "shape": ["batch", 1, 8, 8]}]
    named = {"endpoint": "peer", "url": peer.url, "model": "digits", "version": "", "ca": ""}
    return {"schema": 1, "protocol": "oip", **named, "inputs": inputs, "outputs": [], **more}


@pytest.mark.parametrize("name", [TRITON, KSERVE])
def test_json_says_the_same_as_binary_tensors(peers: Get, name: str) -> None:
    client = Client(read_endpoint(described(peers(name)), "oip"))
    client.open()
    (binary,) = client.infer([IMAGE])
    scores = binary.copy()
    assert client.wire == client.answered_in == "binary"
    client.wire = "json"
    (listed,) = client.infer([IMAGE])
    assert client.answered_in == "json"
    assert (scores.shape, scores.dtype.name) == ((1, 10), "float32")
    np.testing.assert_array_equal(listed, scores)
    client.close()


def test_a_triton_that_is_killed_fails_the_calls_in_bounded_time(exported: Path, tmp_path: Path) -> None:
    with running(TRITON, exported, USERS_CACHE, tmp_path / "triton") as triton:
        agent = Agent(tmp_path)
        loaded = agent.load(described(triton, timeout_ms=TIMEOUT_MS), IMAGE)
        assert loaded.header["settings"]["wire"] == "binary"
        killer = threading.Timer(1.0, triton.kill)
        killer.start()
        found = agent.ask("measure", IMAGE, samples=100_000, budget_ns=3 * 10**9)
        killer.join()
        durations, codes = found.tensors
        failed = int(np.count_nonzero(codes))
        assert 0 < failed < len(codes)
        assert not codes[:10].any()
        assert codes[-10:].all()
        assert ((durations == NEVER) == (codes > 0)).all()
        assert set(found.header["failed"]) <= {"refused", "unreachable", "broken", "late"}
        assert found.header["loop_ns"] < (3 + 2 * TIMEOUT_MS / 1e3) * 1e9 * 1.3
        agent.close()
