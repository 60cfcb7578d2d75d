"""A fallback in the agent's own process: the device answers where a real server fails, and until that is back."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.agent.failure import KINDS
from harness.agent.frames import Array, Frame
from harness.agent.sides import FAR, UNASKED
from tests.support import doubling_backend
from tests.support.oip_server import OipServer

from .test_remote_agent import SETTINGS, Agent, X

LATE, REFUSED = (KINDS.index(kind) + 1 for kind in ("late", "refused"))
S = 1_000_000_000


class Fallback:
    """An agent with the client of a server, and a local model that doubles."""

    def __init__(self, folder: Path, server: OipServer) -> None:
        self.agent, self.folder, self.server = Agent(folder), folder, server
        shutil.copyfile(Path(doubling_backend.__file__), folder / "agent" / "near.py")

    def load(self, does: str = "", artifact: str = "near.bin", **description: Any) -> Frame:
        """Load both sides."""
        (self.folder / "near.bin").touch()
        path = self.folder / "endpoint.json"
        path.write_text(json.dumps(self.server.description(**{"outputs": ["y"], "timeout_ms": 2000, **description})))
        near = {"artifact": str(self.folder / artifact), "options": {"does": does}, "name": "doubling"}
        return self.agent.ask("load", X, artifact=str(path), options={}, inputs=["x"], fallback=near, **SETTINGS)

    def measure(self, samples: int, seconds: float = 60, **header: Any) -> tuple[Array, Array, dict[str, Any]]:
        """Time inferences; return durations or releases, sides, and the header."""
        found = self.agent.ask("measure", X, samples=samples, ring=64, budget_ns=int(seconds * S), **header)
        assert found.header["sides"] is True
        measured, sides = found.tensors
        assert (str(sides.dtype), len(sides)) == ("uint8", len(measured))
        return measured, sides, found.header


@pytest.fixture
def server() -> Iterator[OipServer]:
    with OipServer() as started:
        yield started


@pytest.fixture
def both(tmp_path: Path, server: OipServer) -> Iterator[Fallback]:
    made = Fallback(tmp_path, server)
    yield made
    made.agent.close()


def test_the_far_end_answers_as_long_as_it_does_so(both: Fallback, server: OipServer) -> None:
    loaded = both.load().header
    assert (loaded["outputs"], loaded["settings"]["wire"]) == (["y"], "binary")
    assert set(loaded["runtime"]) == {"numpy", "doubling"}
    durations, sides, header = both.measure(50)
    assert (sides == FAR).all()
    assert (durations > 0).all()
    assert "failed" not in header
    assert server.inferences == 52  # the first one, and one that warms the caches


@pytest.mark.parametrize("fault", ["late", "refused", "killed"])
def test_the_very_inference_that_is_missed_is_answered_here_and_those_behind_it(
    both: Fallback, server: OipServer, fault: str
) -> None:
    both.load(timeout_ms=300 if fault == "late" else 5000)
    if fault == "killed":
        server.pause()
    server.delay_s, server.status = (2.0 if fault == "late" else 0.0), (503 if fault == "refused" else 200)
    asked, began = server.inferences, time.monotonic()
    durations, sides, header = both.measure(1000)
    assert sides[0] == {"late": LATE, "refused": REFUSED, "killed": REFUSED}[fault]
    assert (sides[1:] == UNASKED).all()
    assert server.inferences <= asked + 3 + int(time.monotonic() - began)
    # What is timed is the wait for the call, and the local answer.
    assert 0.3 * (fault == "late") <= durations[0] / S < 2
    assert np.median(durations[1:]) < 0.05 * S
    assert not {"failed", "failures", "failed_ns"} & header.keys()


def test_a_far_end_that_comes_back_answers_again_within_its_second(both: Fallback, server: OipServer) -> None:
    both.load()
    server.pause()
    away_s = 1.5
    threading.Timer(away_s, server.resume).start()
    began = time.monotonic()
    releases, sides, _ = both.measure(250, period_ns=S // 50, late="drop", behind_ns=0)  # 5 s of 20 ms
    assert time.monotonic() - began >= 4.9
    ran = sides[sides <= UNASKED]
    missed = np.flatnonzero((ran > FAR) & (ran < UNASKED))
    assert missed.tolist() == [0]
    back = int(np.argmax(ran == FAR))
    assert (ran[1:back] == UNASKED).all()
    assert (ran[back:] == FAR).all()
    # It was asked one and two seconds after the switch, and is back after the second time.
    at_s = releases[sides <= UNASKED][back, 0] / S
    assert 1.4 < at_s < 4.5


def test_a_far_end_that_flaps_switches_each_time(both: Fallback, server: OipServer) -> None:
    """Each third inference there fails; those that ask it again once a second come in between."""
    both.load()
    first = server.inferences
    server.fails = lambda number: number > first + 1 and (number - first) % 3 == 0
    releases, sides, _ = both.measure(150, period_ns=S // 40, late="drop", behind_ns=0)
    ran = sides[releases[:, 2] > 0]
    switches = np.flatnonzero((ran > FAR) & (ran < UNASKED))
    assert len(switches) >= 2
    for switch in switches:
        assert ran[switch] == REFUSED
        assert ran[switch + 1 : switch + 2].tolist() in ([UNASKED], [FAR], [])
    assert (ran == FAR).sum() >= 3


def test_local_answers_are_not_held_up_by_a_far_end_that_is_silent(both: Fallback, server: OipServer) -> None:
    both.load(timeout_ms=900)
    server.delay_s = 3.0
    durations, sides, _ = both.measure(10**6, seconds=4)
    assert sides[0] == LATE
    assert set(sides[1:].tolist()) == {UNASKED}
    assert durations[1:].max() < 0.7 * S  # a call that is waited for would take 0.9 s


def test_without_a_far_end_from_the_first_call_on_the_device_answers(both: Fallback, server: OipServer) -> None:
    server.pause()
    loaded = both.load().header
    assert loaded["outputs"] == ["y"]
    assert not {"wire", "request_bytes", "response_bytes"} & set(loaded["settings"])
    _, sides, _ = both.measure(20)
    assert (sides == UNASKED).all()


def test_each_side_can_be_asked_alone(both: Fallback, server: OipServer) -> None:
    server.model = lambda inputs: {"y": inputs["x"] * np.float32(3)}  # another answer than the local one
    both.load()
    for side, factor in (("far", 3), ("near", 2), ("far", 3)):
        found = both.agent.ask("infer", X, X + 1, side=side)
        for got, x in zip(found.tensors, (X, X + 1), strict=True):
            np.testing.assert_array_equal(got, x * np.float32(factor))
    server.pause()
    assert both.agent.ask("infer", X, side="far").header["remote"] == "refused"
    np.testing.assert_array_equal(both.agent.ask("infer", X, side="near").tensors[0], X * 2)
    (either,) = both.agent.ask("infer", X).tensors
    np.testing.assert_array_equal(either, X * 2)


def test_a_local_model_that_cannot_be_loaded_or_fails_too_is_an_error_with_both(
    both: Fallback, server: OipServer
) -> None:
    refused = both.load(artifact="missing.bin").header["error"]
    assert "the fallback doubling cannot load its artifact: FileNotFoundError" in refused
    assert "cannot load its artifact: MemoryError" in both.load(does="full").header["error"]
    both.load()
    failing = both.load(does="worn").header
    assert "error" not in failing
    server.status = 503
    found = both.agent.ask("measure", X, samples=5, budget_ns=S).header
    assert "the fallback doubling failed: RuntimeError" in found["error"]
    assert "refused" in found["error"]


def test_other_outputs_on_both_sides_are_an_error(both: Fallback) -> None:
    found = both.load(outputs=["z"]).header["error"]
    assert "other outputs" in found


def test_the_memory_of_both_is_that_of_the_process(both: Fallback) -> None:
    """The local model is loaded, and has inferred, before the first call is answered."""
    steps = both.load(does="large").header["memory_kib"]
    assert steps["first"] - steps["before_runtime"] > 60_000
