"""Taking samples: several fresh processes one after the other, each loaded, warmed up and then timed in a closed loop.

All that needs a fresh process comes from the same ones: load time, memory, latency.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..deployment import Deployment, LoadReport
from ..inputs import Arrays
from ..model import Array
from . import validity
from .quantiles import samples_needed

PROCESSES = 3
# Enough for a bound of p99 …
ENOUGH = samples_needed(0.99)
# … and, where it costs no more than ten seconds, for one that some slow samples may lie above.
GOOD, GOOD_S = 1000, 10.0
# A call to the agent lasts about so long: progress is seen, and a link that drops loses little.
BLOCK_S = 2.0
WARM_UP_SHARE = 0.1

Start = Callable[[], tuple[Deployment, LoadReport]]
Report = Callable[[int, int, float], None]


@dataclass
class Measurement:
    """What the processes of one cell showed.

    Attributes:
        blocks: durations in nanoseconds, int64[n] for each process.
        loads: each process's load report.
        memory_peak_kib: each process's peak at its end.
        warm_ups: how each warm-up went.
        states: the device's state before the first and after the last sample of each process.
        wanted: how many samples were aimed at; 0 where no process got so far.
        seconds_needed: how long all of them would take.
    """

    blocks: list[Array] = field(default_factory=list)
    loads: list[LoadReport] = field(default_factory=list)
    memory_peak_kib: list[int] = field(default_factory=list)
    warm_ups: list[Mapping[str, Any]] = field(default_factory=list)
    states: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = field(default_factory=list)
    wanted: int = 0
    seconds_needed: float = 0.0

    @property
    def durations_ms(self) -> Array:
        """All samples, float64[n], in milliseconds."""
        return np.concatenate(self.blocks or [np.empty(0, np.int64)]) / 1e6

    @property
    def doubt(self) -> str:
        """Why the times may not be believed."""
        reasons = [validity.doubt(before, after) for before, after in self.states]
        if not all(warm_up["settled"] for warm_up in self.warm_ups):
            reasons.append("inference was still getting faster when the time for its warm-up was over: --time-limit")
        return "; ".join(dict.fromkeys(reason for reason in reasons if reason))


def take_samples(start: Start, sets: list[Arrays], time_limit_s: float, report: Report) -> Measurement:
    """Measure one cell.

    Args:
        start: starts and loads a fresh process.
        sets: inputs at the measured sizes, taken in turn.
        time_limit_s: for all of it, loading included; at least one sample is taken.
        report: is told (samples done, samples wanted, seconds that are left) as it goes on.
    """
    measured = Measurement()
    end = time.monotonic() + time_limit_s
    for index in range(PROCESSES):
        left = end - time.monotonic()
        if index and left <= 0:
            break
        deployment, load = start()
        with deployment:
            measured.loads.append(load)
            share = max(end - time.monotonic(), 0.1) / (PROCESSES - index)
            measured.warm_ups.append(deployment.warm_up(sets, share * WARM_UP_SHARE * PROCESSES))
            if not index:
                _aim(measured)
            quota = -(-(measured.wanted - _count(measured)) // (PROCESSES - index))
            _measure_process(measured, deployment, sets, quota, (end - time.monotonic()) / (PROCESSES - index), report)
            measured.memory_peak_kib.append(deployment.memory_kib()["peak"])
    return measured


def _aim(measured: Measurement) -> None:
    """How many samples to take: known once the first process is warm."""
    median_s = measured.warm_ups[0]["median_ns"] / 1e9
    measured.wanted = max(ENOUGH, min(GOOD, int(GOOD_S / max(median_s, 1e-9))))
    load_s = measured.loads[0].load_ns / 1e9 + measured.warm_ups[0]["elapsed_ns"] / 1e9
    measured.seconds_needed = PROCESSES * load_s + measured.wanted * median_s


def _count(measured: Measurement) -> int:
    return sum(len(block) for block in measured.blocks)


def _measure_process(
    measured: Measurement, deployment: Deployment, sets: list[Arrays], quota: int, budget_s: float, report: Report
) -> None:
    end = time.monotonic() + budget_s
    median_s = max(measured.warm_ups[-1]["median_ns"] / 1e9, 1e-9)
    step = max(int(BLOCK_S / median_s), 1)
    blocks: list[Array] = []
    states: list[Mapping[str, Any]] = []
    taken = 0
    while taken < quota and (not taken or time.monotonic() < end):
        left = max(end - time.monotonic(), 0.0)
        durations, said = deployment.measure(sets, min(step, quota - taken), left)
        blocks.append(durations)
        states += [said["before"], said["after"]]
        taken += len(durations)
        done = _count(measured) + taken
        report(done, measured.wanted, (measured.wanted - done) * median_s)
    measured.blocks.append(np.concatenate(blocks))
    measured.states.append((states[0], states[-1]))
