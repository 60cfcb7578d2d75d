"""The sensor's clock of the agent, in Python, and of the runners, in C++."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from harness.agent.frames import Array
from harness.agent.pacing import Pace
from harness.bundle.native.building import SOURCES
from harness.bundle.native.packages import provide_headers
from harness.deploy.deployment import Deployment
from harness.deploy.paced_plausibility import behind_after, why_releases_impossible
from harness.deploy.plausibility import why_clock_impossible
from tests.support.fake_sensor import FakeSensor

from .runners import Runners, load, scripted, start_agent

PERIOD_NS = 10_000_000
SETS = [{"x": np.full(6, index, np.float32)} for index in range(8)]
MODEL = "def forward(x):\n    return x * 2"
# Takes some 40 ms, and more than 10 ms on any machine.
SLOW = "def forward(x):\n    for _ in range(40000):\n        x = x * 1.0\n    return x"

Start = Callable[[str, str], Deployment]


@pytest.fixture(scope="module")
def replay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runner's loop, on a clock that a list of durations moves."""
    program = tmp_path_factory.mktemp("replay") / "replay_pace"
    sources = [SOURCES / "tests" / "replay_pace.cpp", SOURCES / "src" / "pacing.cpp"]
    json = ["-isystem", provide_headers(onnxruntime=False).json]
    command = ["g++", "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", *json, "-o", program, *sources]
    subprocess.run(list(map(str, command)), check=True, timeout=120)
    return program


@pytest.mark.parametrize("late", ["drop", "queue"])
@pytest.mark.parametrize("mean", [3_000_000, 9_900_000, 27_000_000])
@pytest.mark.parametrize(("behind", "releases", "budget"), [(-PERIOD_NS, 400, 10**12), (83_000_000, 50, 200_000_000)])
def test_agent_and_runner_release_and_drop_the_same(
    replay: Path, late: str, mean: int, behind: int, releases: int, budget: int
) -> None:
    """From one list of durations, whose ends meet a release now and then."""
    random = np.random.default_rng(mean)
    durations = (random.lognormal(0, 0.7, 300) * mean).astype(np.int64)
    durations[::7] = PERIOD_NS
    for ring, making, lateness in ((1, 7_000_000, 0), (16, 1_234_567, 60_123)):
        numbers = [releases, budget, ring, making, lateness, *durations.tolist()]
        words = " ".join(map(str, [PERIOD_NS, late, behind, *numbers]))
        done = subprocess.run([replay], input=words, capture_output=True, text=True, check=True, timeout=60)
        found = np.array([line.split() for line in done.stdout.splitlines()], np.int64)
        sensor = FakeSensor(durations.tolist(), ring=ring, making=making, lateness=lateness)
        wanted = sensor.measure(Pace(PERIOD_NS, late, behind), releases, budget)
        assert found.tolist() == wanted.tolist()
        assert len(found) > 5


@pytest.fixture
def start(runners: Runners, tmp_path: Path) -> Iterator[Start]:
    """Starts an agent or a runner with a TorchScript function."""
    started: list[Deployment] = []

    def start(backend: str, forward: str) -> Deployment:
        artifact = scripted(tmp_path, forward)
        if backend == "libtorch":
            return runners.loaded(backend, artifact)
        started.append(start_agent(tmp_path / "agent-of" / str(len(started)), backend))
        load(started[-1], artifact)
        return started[-1]

    yield start
    for deployment in started:
        deployment.close()


def measured(deployment: Deployment, pace: Pace, releases: int, budget_s: float = 60.0) -> Array:
    """What became of releases; a report that is possible."""
    found, header = deployment.measure(SETS, releases, budget_s, pace=pace)
    call = deployment.last_call
    said = why_releases_impossible(found, header, call, asked=releases, budget_s=budget_s, pace=pace)
    assert (said, why_clock_impossible(found[found[:, 2] > 0] @ [0, -1, 1])) == ("", "")
    return found


@pytest.mark.parametrize("backend", ["torchscript", "libtorch"])
def test_what_a_slow_model_misses_is_seen_on_a_device_too(start: Start, backend: str) -> None:
    deployment = start(backend, SLOW)
    ran = measured(deployment, Pace(PERIOD_NS, "drop", -PERIOD_NS), 60)[:, 2] > 0
    assert ran[0]
    assert ran.mean() < 0.6
    pace = Pace(PERIOD_NS, "queue", -PERIOD_NS)
    first = measured(deployment, pace, 30)
    again = measured(deployment, Pace(PERIOD_NS, "queue", behind_after(first, pace)), 30)
    response = np.concatenate([first, again]) @ [-1, 0, 1]
    # 30 releases later it is 30 times too late, whether the call is another or not.
    assert response[[29, 30, 59]].tolist() == sorted(response[[29, 30, 59]].tolist())
    assert response[59] > 1.5 * response[29] > 30 * PERIOD_NS / 4


@pytest.mark.parametrize("late", ["drop", "queue"])
@pytest.mark.parametrize("backend", ["torchscript", "libtorch"])
def test_a_process_that_is_stopped_misses_what_was_released_meanwhile(start: Start, backend: str, late: str) -> None:
    """Not one long sample: a closed loop shows no more than that."""
    deployment, stopped_s = start(backend, MODEL), 0.4
    deployment.warm_up(SETS, 1.0)

    def stop() -> None:
        os.kill(deployment.hello.pid, signal.SIGSTOP)
        time.sleep(stopped_s)
        os.kill(deployment.hello.pid, signal.SIGCONT)

    timer = threading.Timer(0.6, stop)
    timer.start()
    found = measured(deployment, Pace(PERIOD_NS, late, -PERIOD_NS), 160)  # 1.6 s
    timer.join()
    assert len(found) == 160
    is_late = (found[:, 2] < 0) | (found @ [-1, 0, 1] > PERIOD_NS)
    assert np.count_nonzero(is_late) >= 0.9 * stopped_s * 1e9 / PERIOD_NS
    assert (np.count_nonzero(found[:, 2] < 0) > 30) == (late == "drop")
