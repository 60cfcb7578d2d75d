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
        selected = "parity or availability or switch or p50 or memory_peak"
        done = robot.run_command(robot.command(*OIP, "-k", selected, "--time-limit", "6"), timeout=600)
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


RATE_HZ, AWAY_S = 20, 4.0


class Paced:
    """Sees when a server is called by a sensor's clock: 20 calls in a row, none of which follows the other at once."""

    def __init__(self) -> None:
        self.seen = threading.Event()
        self._last, self._row = 0.0, 0

    def __call__(self, number: int) -> bool:
        """Note a call; never fail it."""
        now = time.monotonic()
        self._row = self._row + 1 if now - self._last > 0.6 / RATE_HZ else 0
        self._last = now
        if self._row >= RATE_HZ:
            self.seen.set()
        return False


@pytest.mark.slow
def test_a_server_that_is_killed_in_the_middle_and_comes_back_is_seen_as_it_was(
    robot: Project, server: OipServer
) -> None:
    """On a sensor's clock the local answers are as many as inputs came meanwhile; of an outage within a process."""
    model = robot.folder / "tiny.py"
    model.write_text(model.read_text().replace("dims={", f'rate_hz={RATE_HZ}, late="drop", dims={{'))
    server.fails = paced = Paced()

    def outage() -> None:
        paced.seen.wait(600)
        with away(server):
            time.sleep(AWAY_S)

    thread = threading.Thread(target=outage)
    thread.start()
    try:
        command = robot.command(*OIP, "-k", "availability or switch or p50", "--time-limit", "36")
        done = robot.run_command(command, timeout=600)
    finally:
        paced.seen.set()
        thread.join()
        server.fails = lambda number: False
    switch, available = done.check("switch_ms"), done.check("availability")
    answered = available["answered"]
    near = answered["near"] + answered["near_after_a_miss"]
    # While it was away, and until it was asked again; less, where the process ended meanwhile.
    assert 1 < near / RATE_HZ < AWAY_S + 4, done.output
    assert answered["far"] > RATE_HZ
    assert available["value"] == pytest.approx(answered["far"] / (answered["far"] + near))
    assert (switch["samples"], switch["verdict"]) == (answered["near_after_a_miss"], "MEASURED")
    assert switch["missed"].keys() <= {"refused", "unreachable", "late", "broken"}
    folder = robot.folder / "build/hil"
    raw, sides = np.load(folder / switch["raw"]), np.load(folder / switch["raw_sides"])
    is_switch = (sides > 0) & (sides < 6)
    assert is_switch.sum() == switch["samples"] >= 1
    assert switch["value"] == pytest.approx((raw[:, 2] - raw[:, 1])[is_switch].max() / 1e6)
    assert 0 < switch["value"] < 2000  # refused at once, or cut off after 200 ms; and a local answer
