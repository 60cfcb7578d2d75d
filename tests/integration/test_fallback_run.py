"""Whole runs of a cell with a fallback, against a server in this process that goes away, stays away, or comes back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from tests.support.oip_server import OipServer

from .conftest import Project
from .test_remote_run import DEVICE, server, tiny, write_endpoint

__all__ = ["server"]

FALLBACK = DEVICE.replace('"laptop"', '"laptop"\n    fallback = "onnxruntime"\n    timeout_ms = 200')
OIP = ("--device", "robot", "--backend", "oip")


@pytest.fixture
def robot(project: Project, server: OipServer) -> Project:
    """A project whose device answers itself where the endpoint does not."""
    project.write("devices/robot.toml", FALLBACK)
    write_endpoint(project, server.url)
    return project


@contextmanager
def away(server: OipServer) -> Iterator[None]:
    """Have a server refuse all connections meanwhile."""
    server.pause()
    try:
        yield
    finally:
        server.resume()


def test_both_sides_are_judged_and_the_bundle_has_both(robot: Project) -> None:
    done = robot.run(*OIP, "-k", "parity or memory_peak", "--time-limit", "6")
    assert done.status == 0, done.output
    (cell,) = done.evidence["cells"]
    parity = done.check("parity")
    assert (cell["verdict"], parity["verdict"]) == ("PASS", "PASS")
    assert {side: one["verdict"] for side, one in parity["by_side"].items()} == {
        "the far end": "PASS",
        "the fallback onnxruntime": "PASS",
    }
    assert min(one["samples"] for one in parity["by_side"].values()) > 20
    fallback = cell["fallback"]
    assert (fallback["backend"], fallback["artifact"]["bytes"] > 100) == ("onnxruntime", True)
    manifest = robot.folder / f"build/hil/bundles/{cell['bundle']['sha256']}.json"
    assert all(name in manifest.read_text() for name in ("agent/near.py", "artifact/model.onnx", '"fallback"'))
    assert set(cell["fingerprint"]["runtime"]) == {"numpy", "onnxruntime"}


def test_a_far_end_that_is_not_there_leaves_parity_open_and_is_not_available(robot: Project, server: OipServer) -> None:
    with away(server):
        done = robot.run(*OIP, "-k", "parity or availability or switch or p50", "--time-limit", "6")
    assert done.status == 1, done.output
    parity = done.check("parity")
    assert parity["verdict"] == "INCONCLUSIVE"
    assert parity["reason"].startswith("the far end: ")
    assert "refused" in parity["reason"]
    assert parity["by_side"]["the fallback onnxruntime"]["verdict"] == "PASS"
    available, switch = done.check("availability"), done.check("switch_ms")
    assert (available["value"], available["answered"]["far"]) == (0, 0)
    assert switch["verdict"] == "INCONCLUSIVE"
    assert "the device answered from the start" in switch["reason"]
    assert done.check("latency_p50_ms")["value"] < 100


def test_a_wrong_answer_of_one_side_fails_however_right_the_other_is(robot: Project, server: OipServer) -> None:
    server.model = lambda inputs: {"output": tiny(inputs)["output"] + np.float32(1)}
    try:
        done = robot.run(*OIP, "-k", "parity", "--time-limit", "6")
    finally:
        server.model = tiny
    assert done.status == 1, done.output
    parity = done.check("parity")
    assert (parity["verdict"], parity["reason"].startswith("the far end: ")) == ("FAIL", True)
    assert parity["by_side"]["the fallback onnxruntime"]["verdict"] == "PASS"


@pytest.mark.parametrize(
    ("fallback", "words"),
    [
        pytest.param("onnxrutime", ["no such backend", "did you mean 'onnxruntime'?"], id="unknown"),
        pytest.param("torchscript", ["has no backend torchscript to fall back on"], id="not-listed"),
        pytest.param("oip", ["cannot be a fallback", "calls another computer itself"], id="itself"),
        pytest.param("onnxruntime-cpp", ["cannot be a fallback", "a program of its own"], id="native"),
    ],
)
def test_what_cannot_be_a_fallback_is_refused_before_anything_starts(
    robot: Project, fallback: str, words: list[str]
) -> None:
    listed = '["onnxruntime", "onnxruntime-cpp", "oip"]'
    device = FALLBACK.replace('["onnxruntime", "oip"]', listed).replace(
        'fallback = "onnxruntime"', f'fallback = "{fallback}"'
    )
    robot.write("devices/robot.toml", device)
    done = robot.run(*OIP)
    assert done.status == 4, done.output
    assert [word for word in [*words, "options.oip.fallback"] if word not in done.output] == []


@pytest.mark.slow
def test_a_server_that_is_killed_in_the_middle_and_comes_back_is_seen_as_it_was(
    robot: Project, server: OipServer
) -> None:
    """On a sensor's clock, so that the shares are those of the time: 20 s of 60 s without it, in one piece."""
    model = robot.folder / "model.py"
    model.write_text(model.read_text().replace("dims={", 'rate_hz=20, late="drop", dims={'))
    first = threading.Event()
    server.fails = lambda number: bool(first.set())

    def outage() -> None:
        first.wait(120)
        time.sleep(25)
        server.pause()
        time.sleep(20)
        server.resume()

    thread = threading.Thread(target=outage)
    thread.start()
    try:
        done = robot.run(*OIP, "-k", "availability or switch or p50", "--time-limit", "120")
    finally:
        thread.join()
        server.fails = lambda number: False
    switch, available = done.check("switch_ms"), done.check("availability")
    answered = available["answered"]
    total = sum(answered.values())
    assert total > 1000, done.output
    near = (answered["near"] + answered["near_after_a_miss"]) / total
    assert 0.2 < near < 0.45
    assert (switch["samples"], switch["verdict"]) == (answered["near_after_a_miss"], "MEASURED")
    assert 1 <= switch["samples"] <= 3
    assert 0 < switch["value"] < 1000  # refused at once, or cut off after 200 ms; and a local answer
    assert switch["missed"].keys() <= {"refused", "unreachable", "late", "broken"}
    folder = robot.folder / "build/hil"
    raw, sides = np.load(folder / switch["raw"]), np.load(folder / switch["raw_sides"])
    spans = raw[:, 2] - raw[:, 1]
    assert switch["value"] == pytest.approx(spans[(sides > 0) & (sides < 6)].max() / 1e6)
    assert available["value"] == pytest.approx(1 - near)
