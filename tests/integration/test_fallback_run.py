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
from .test_remote_run import DEVICE, server, write_endpoint

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


@pytest.mark.slow
def test_a_far_end_that_is_not_there_leaves_parity_open_and_is_not_available(robot: Project, server: OipServer) -> None:
    with away(server):
        done = robot.run(*OIP, "-k", "parity or availability or switch or p50 or memory_peak", "--time-limit", "6")
    assert done.status == 1, done.output
    (cell,) = done.evidence["cells"]
    parity = done.check("parity")
    assert (cell["verdict"], parity["verdict"]) == ("INCONCLUSIVE", "INCONCLUSIVE")
    assert parity["reason"].startswith("the far end: ")
    assert "refused" in parity["reason"]
    near = parity["by_side"]["the fallback onnxruntime"]
    assert (near["verdict"], near["samples"] > 20) == ("PASS", True)
    available, switch = done.check("availability"), done.check("switch_ms")
    assert (available["value"], available["answered"]["far"]) == (0, 0)
    assert switch["verdict"] == "NOT_APPLICABLE"  # with a limit it were open
    assert "the device answered from the start" in switch["reason"]
    assert done.check("latency_p50_ms")["value"] < 100
    # What is on the device, and in its memory, is both.
    fallback = cell["fallback"]
    assert (fallback["backend"], fallback["artifact"]["bytes"] > 100) == ("onnxruntime", True)
    manifest = (robot.folder / f"build/hil/bundles/{cell['bundle']['sha256']}.json").read_text()
    files = ("agent/near.py", "agent/remote/fallback.py", "artifact/model.onnx", "artifact/endpoint.json")
    assert [name for name in (*files, '"fallback"') if name not in manifest] == []
    assert set(cell["fingerprint"]["runtime"]) == {"numpy", "onnxruntime"}
    assert "providers" in cell["fingerprint"]["settings"]


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
    """On a sensor's clock, whose share of local answers is that of the time. Each process may meet a part of it."""
    model = robot.folder / "tiny.py"
    model.write_text(model.read_text().replace("dims={", 'rate_hz=20, late="drop", dims={'))
    begun, ended = threading.Event(), threading.Event()
    server.fails = lambda number: begun.set() or False  # type: ignore[func-returns-value]
    away_s: list[float] = []

    def outage() -> None:
        begun.wait(200)
        ended.wait(10)
        with away(server):
            start = time.monotonic()
            ended.wait(8)
            away_s.append(time.monotonic() - start)

    thread = threading.Thread(target=outage)
    thread.start()
    try:
        done = robot.run(*OIP, "-k", "availability or switch or p50", "--time-limit", "30")
    finally:
        ended.set()
        thread.join()
        server.fails = lambda number: False
    switch, available = done.check("switch_ms"), done.check("availability")
    answered = available["answered"]
    total = sum(answered.values())
    near = answered["near"] + answered["near_after_a_miss"]
    # The outage, and up to a second and a call until the far end was asked again, of 20 inferences a second.
    assert 0.3 * away_s[0] < near / 20 < away_s[0] + 5, done.output
    assert answered["far"] > 100
    assert available["value"] == pytest.approx(answered["far"] / total)
    assert (switch["samples"], switch["verdict"]) == (answered["near_after_a_miss"], "MEASURED")
    assert switch["missed"].keys() <= {"refused", "unreachable", "late", "broken"}
    folder = robot.folder / "build/hil"
    raw, sides = np.load(folder / switch["raw"]), np.load(folder / switch["raw_sides"])
    is_switch = (sides > 0) & (sides < 6)
    assert is_switch.sum() == switch["samples"] >= 1
    assert switch["value"] == pytest.approx((raw[:, 2] - raw[:, 1])[is_switch].max() / 1e6)
    assert 0 < switch["value"] < 2000  # refused at once, or cut off after 200 ms; and a local answer
