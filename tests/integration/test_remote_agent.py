"""The backend oip in the agent's own process: calls that are answered, and calls that fail."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import harness.agent
import harness.backends
from harness.agent.failure import KINDS, NEVER
from harness.agent.frames import Array, Frame, encode, read_frame
from harness.protocol import agent, parse
from tests.support.oip_server import OipServer, linear

SETTINGS = {"threads": 1, "interop_threads": 1, "flush_denormals": False}
X = np.arange(3, dtype=np.float32).reshape(1, 3)
LINEAR = ({"name": "y", "datatype": "FP32", "shape": [-1, 2]}, {"name": "n", "datatype": "INT64", "shape": [1]})
REFUSED = KINDS.index("refused") + 1


class Agent:
    """An agent's process with a backend that calls another computer, spoken to in frames."""

    def __init__(self, folder: Path, backend: str = "oip") -> None:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(Path(harness.agent.__file__).parent, folder / "agent", ignore=ignored)
        shutil.copyfile(Path(harness.backends.__file__).parent / f"{backend}.py", folder / "agent" / "backend.py")
        self.folder = folder
        command = [sys.executable, "-B", "-m", "agent", "--records", str(folder / "r"), "--results", str(folder / "s")]
        self.process = subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._read()

    def ask(self, operation: str, *tensors: Array, **header: Any) -> Frame:
        """Ask for an operation, and wait for the answer, whatever it is."""
        assert self.process.stdin is not None
        self.process.stdin.writelines(encode({"op": operation, "limit_s": 60, **header}, list(tensors)))
        self.process.stdin.flush()
        frame = self._read()
        if "error" not in frame.header:
            parse(agent.ANSWERS[operation], frame.header, to=operation, where="tests")
        return frame

    def load(self, description: dict[str, Any], *inputs: Array) -> Frame:
        """Load an endpoint; the first inference's inputs are X, or others."""
        path = self.folder / "endpoint.json"
        path.write_text(json.dumps(description))
        names = [each["name"] for each in description["inputs"]]
        return self.ask(
            "load", *(inputs or (X,)), artifact=str(path), options={"endpoint": "test"}, inputs=names, **SETTINGS
        )

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        assert self.process.wait(20) == 0
        self.process.stdout.close()

    def _read(self) -> Frame:
        assert self.process.stdout is not None
        return read_frame(self.process.stdout.read)


@pytest.fixture
def oip(tmp_path: Path) -> Iterator[Agent]:
    started = Agent(tmp_path)
    yield started
    started.close()


@pytest.fixture
def server() -> Iterator[OipServer]:
    with OipServer() as started:
        yield started


@pytest.mark.parametrize("binary", [True, False])
def test_an_endpoint_is_loaded_and_infers(oip: Agent, binary: bool) -> None:
    with OipServer(linear, outputs=LINEAR, binary=binary) as server:
        loaded = oip.load(server.description()).header
        assert (loaded["outputs"], [*loaded["runtime"]]) == (["y", "n"], ["numpy"])
        settings = loaded["settings"]
        assert (settings["threads"], settings["wire"]) == (1, "binary" if binary else "json")
        assert (settings["url"], settings["server"], settings["http"]) == (server.url, "plain 7", "HTTP/1.1")
        assert min(settings["request_bytes"], settings["response_bytes"]) > 12
        assert loaded["load_ns"] > loaded["first_ns"] > 0
        found = oip.ask("infer", X, X + 1)
        assert "repeated" not in found.header
        for got, x in zip(found.tensors[::2], (X, X + 1), strict=True):
            np.testing.assert_array_equal(got, linear({"x": x})["y"])
        assert oip.ask("profile", X, count=3).header["operators"] == []
        assert server.connections == (1 if binary else 2)  # one more, after binary tensors were refused


def test_an_endpoint_is_called_from_a_process_that_was_forked(oip: Agent, server: OipServer) -> None:
    """A forkserver imports what the backend needs, and forks: threads do not come along."""
    program = (
        "import os, sys; sys.path.insert(0, '.'); from agent import backend; backend.preload()\n"
        "if os.fork(): sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))\n"
        "engine = backend.Engine({'threads': 1, 'interop_threads': 1}, {}); engine.load('endpoint.json')\n"
        "import numpy; x = numpy.ones((1, 3), 'f4'); found = engine.arrays(engine.run(engine.prepare({'x': x})))\n"
        "print(found[0].tolist())"
    )
    (oip.folder / "endpoint.json").write_text(json.dumps(server.description()))
    done = subprocess.run([sys.executable, "-c", program], cwd=oip.folder, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[[2.0, 2.0, 2.0]]\n", "")


def test_calls_that_fail_are_samples_that_never_end(oip: Agent, server: OipServer) -> None:
    oip.load(server.description())
    server.fails = lambda number: number % 3 == 0
    found = oip.ask("measure", X, samples=30, budget_ns=10**10)
    durations, codes = found.tensors
    assert [str(durations.dtype), str(codes.dtype), len(codes)] == ["int64", "uint8", 30]
    assert np.count_nonzero(codes == REFUSED) == np.count_nonzero(codes) == 10
    assert ((durations == NEVER) == (codes > 0)).all()
    header = found.header
    assert (header["failed"], len(header["failures"])) == ({"refused": 10}, 3)
    assert "503" in header["failures"][0]
    # All of the loop's time is accounted for.
    timed = int(durations[codes == 0].sum()) + header["failed_ns"] + header["making_ns"] + header["untimed_ns"]
    assert timed <= header["loop_ns"] < timed * 1.3 + 100_000_000


def test_a_measurement_without_failures_is_as_ever(oip: Agent, server: OipServer) -> None:
    oip.load(server.description())
    found = oip.ask("measure", X, samples=5, budget_ns=10**10)
    assert len(found.tensors) == 1
    assert not {"failed", "failures", "failed_ns"} & found.header.keys()


def test_late_calls_are_cut_off_and_measured_on(oip: Agent, server: OipServer) -> None:
    oip.load(server.description(timeout_ms=60))
    server.delay_s = 0.3
    found = oip.ask("measure", X, samples=4, budget_ns=10**10)
    assert (found.header["failed"], found.tensors[0].tolist()) == ({"late": 4}, [NEVER] * 4)
    assert found.header["failed_ns"] < 4 * (60 * 1.05 + 100) * 1e6


def test_a_server_that_goes_and_comes_back_is_called_again(oip: Agent, server: OipServer) -> None:
    oip.load(server.description(timeout_ms=500))
    server.pause()
    found = oip.ask("measure", X, samples=5, budget_ns=10**10)
    assert found.header["failed"] == {"refused": 5}
    assert "connection refused" in found.header["failures"][2]
    server.resume()
    assert len(oip.ask("measure", X, samples=5, budget_ns=10**10).tensors) == 1


def test_a_warm_up_counts_what_failed(oip: Agent, server: OipServer) -> None:
    oip.load(server.description())
    server.fails = lambda number: number % 2 == 0
    some = oip.ask("warm_up", X, budget_ns=2 * 10**9).header
    assert 0 < some["failed"]["refused"] < some["iterations"]
    server.fails = lambda _: True
    every = oip.ask("warm_up", X, budget_ns=10**9).header
    assert every["failed"] == {"refused": every["iterations"]}
    assert every["median_ns"] > 0


def test_a_release_whose_call_failed_keeps_start_and_end(oip: Agent, server: OipServer) -> None:
    oip.load(server.description())
    server.fails = lambda number: number % 3 == 0  # every second is the ring's own, which is not timed
    pace = {"period_ns": 20_000_000, "late": "queue", "behind_ns": -20_000_000}
    found = oip.ask("measure", X, samples=24, budget_ns=10**10, **pace)
    fates, codes = found.tensors
    assert (fates.shape, codes.shape, found.header["failed"]["refused"]) == ((24, 3), (24,), np.count_nonzero(codes))
    failed = fates[codes > 0]
    assert len(failed) >= 4
    assert (failed[:, 2] > failed[:, 1]).all()
    assert (failed[:, 1] >= failed[:, 0]).all()


def test_where_outputs_are_wanted_a_failed_call_is_repeated_three_times(oip: Agent, server: OipServer) -> None:
    oip.load(server.description())
    first = server.inferences
    server.fails = lambda number: number - first in (2, 3)
    found = oip.ask("infer", X, X + 1, X + 2)
    assert found.header["repeated"] == {"refused": 2}
    assert [each.tolist() for each in found.tensors] == [(2 * (X + more)).tolist() for more in (0, 1, 2)]
    server.fails = lambda _: True
    before = server.inferences
    lost = oip.ask("infer", X).header
    assert (lost["remote"], server.inferences - before) == ("refused", 4)
    assert lost["error"].startswith("CallFailed: refused: http://127.0.0.1:")
    assert parse(agent.Refusal, lost, to="infer", where="tests").remote == "refused"
    server.fails = lambda _: False
    assert len(oip.ask("infer", X).tensors) == 1  # the agent lives on


def test_loading_repeats_too_and_names_what_is_wrong(oip: Agent, server: OipServer) -> None:
    server.fails = lambda number: number == 1
    assert oip.load(server.description()).header["repeated"] == {"refused": 1}
    other = {"inputs": [{"name": "x", "dtype": "float64", "shape": [1, 3]}]}
    misfit = oip.load(server.description(**other)).header
    assert ("takes other inputs than this one" in misfit["error"], "remote" in misfit) == (True, False)
    rejected = oip.load(server.description(max_request_bytes=50)).header
    assert (rejected["remote"], "max_request_bytes is 50" in rejected["error"]) == ("rejected", True)
    server.pause()
    assert oip.load(server.description()).header["remote"] == "refused"


def test_a_refusal_without_a_call_has_no_kind() -> None:
    assert parse(agent.Refusal, {"error": "x"}, to="load", where="tests").remote == ""
