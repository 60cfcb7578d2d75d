"""The sensor's clock: p99 of an inference's start behind its release ÷ p99 of cyclictest's wake-ups.

cyclictest (Debian's rt-tests) is what others measure a kernel's wake-ups with; it is run with ``--default-system``, for
a robot's program is not alone either. Where it is not installed, a bare loop of clock_nanosleep in C++ takes its place,
and the row says so. All are asked in turn, on one CPU, at the same period. Idle waits are what differs: the agent
spends the last 0.2 ms of each looking at the clock.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from harness.agent.frames import Array
from harness.agent.pacing import DROP, Pace
from harness.deploy.deployment import Deployment

from .support.deploy import prepare
from .support.interleave import Block, interleave, one_cpu
from .support.row import RATIO, Aim, Options, Row

NEEDS = ("runners",)

PERIOD_NS = 20_000_000
RELEASES, ROUNDS = 150, 6
AIM = Aim(high=2.0)
# Longer than any delay that cyclictest's histogram is to tell apart, in microseconds.
LONGEST_US = 100_000
BARE = """
#include <ctime>
#include <cstdio>
#include <cstdlib>
int main(int, char** words) {
    const long period = std::atol(words[1]);
    timespec due{}, now{};
    clock_gettime(CLOCK_MONOTONIC, &due);
    for (long left = std::atol(words[2]); left > 0; --left) {
        due.tv_nsec += period;
        due.tv_sec += due.tv_nsec / 1000000000;
        due.tv_nsec %= 1000000000;
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, nullptr);
        clock_gettime(CLOCK_MONOTONIC, &now);
        std::printf("%ld\\n", (now.tv_sec - due.tv_sec) * 1000000000 + now.tv_nsec - due.tv_nsec);
    }
}
"""


def run(options: Options) -> Iterator[Row]:
    """Yield the agent's and the runner's jitter."""
    with tempfile.TemporaryDirectory() as folder, one_cpu():
        against, waits = _other(Path(folder))
        for backend, who in (("torchscript", "the agent"), ("libtorch", "the runner")):
            prepared = prepare("digits", backend)
            with prepared.deployed() as deployment:
                deployment.warm_up(prepared.sets, budget_s=10.0)
                yield _row(f"{who}'s start behind its release", against, _starts(deployment, prepared.sets), waits)
        yield _row("noise of that", f"{against} ÷ itself", waits, waits, aim=None)


def _starts(deployment: Deployment, sets: list[dict[str, Array]]) -> Callable[[], Block]:
    def block() -> Block:
        found, _ = deployment.measure(sets, RELEASES, 60.0, pace=Pace(PERIOD_NS, DROP, -PERIOD_NS))
        ran = found[found[:, 2] > 0]
        return [float(late) for late in ran[:, 1] - ran[:, 0]]

    return block


def _other(folder: Path) -> tuple[str, Callable[[], Block]]:
    if (program := shutil.which("cyclictest")) is not None:
        return "cyclictest", lambda: _cyclictest(program, folder)
    source, bare = folder / "bare.cpp", folder / "bare"
    source.write_text(BARE)
    subprocess.run(["g++", "-O2", "-o", str(bare), str(source)], check=True)
    command = [str(bare), str(PERIOD_NS), str(RELEASES)]

    def block() -> Block:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return [int(word) for word in done.stdout.split()]

    return "a bare loop of clock_nanosleep, for cyclictest is not installed", block


def _cyclictest(program: str, folder: Path) -> Block:
    """Run it once; its wake-ups' delays in nanoseconds, to a microsecond."""
    result = folder / "cyclictest.json"
    options = ["--default-system", "--quiet", "--threads=1", f"--interval={PERIOD_NS // 1000}", f"--loops={RELEASES}"]
    subprocess.run(
        [program, *options, f"--histogram={LONGEST_US}", f"--json={result}"], capture_output=True, check=True
    )
    histogram = json.loads(result.read_text())["thread"]["0"]["histogram"]
    return [1000 * int(delay) for delay, times in histogram.items() for _ in range(times)]


def _row(what: str, against: str, side: Callable[[], Block], other: Callable[[], Block], aim: Aim | None = AIM) -> Row:
    mine, others = ([np.array(block) for block in blocks] for blocks in interleave(ROUNDS, side, other))
    p99 = [float(np.quantile(np.concatenate(blocks), 0.99)) for blocks in (mine, others)]
    each = [[float(np.quantile(block, 0.99)) / 1000 for block in blocks] for blocks in (mine, others)]
    p50 = [float(np.median(np.concatenate(blocks))) / 1000 for blocks in (mine, others)]
    details = {"p99_us": [value / 1000 for value in p99], "p50_us": p50, "p99_us_by_round": each}
    shown = f"{against}; p99 {p99[0] / 1000:.0f} and {p99[1] / 1000:.0f} µs, p50 {p50[0]:.0f} and {p50[1]:.0f} µs"
    return Row(f"{what}, p99", p99[0] / p99[1], RATIO, shown, aim, details)
