"""Taking samples: several fresh processes one after the other, each loaded, warmed up and then timed in a closed loop.

All that needs a fresh process comes from the same ones: load time, memory, latency.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from ..agent.frames import Frame
from ..deployment import Deployment, LoadReport
from ..errors import LinkLost
from ..inputs import Arrays
from ..model import Array
from . import validity
from .quantiles import samples_needed

PROCESSES = 3
# Enough for a bound of p99 …
ENOUGH = samples_needed(0.99)
# … and, where it costs no more than ten seconds, for one that some slow samples may lie above …
GOOD, GOOD_S = 1000, 10.0
# … and of a fast model more, for three seconds: what disturbs it comes by time, not by count.
MANY, MANY_S = 20_000, 3.0
# A call to the agent lasts about so long: progress is seen, and a link that drops loses little.
BLOCK_S = 2.0
WARM_UP_SHARE = 0.1
# After the second or third nothing is allocated any more; an emulated one takes a hundred times as long as a real one.
EMULATED_INFERENCES = 8

# So many times a dropped connection costs a process more.
LOST_ALLOWED = 2

Report = Callable[[int, int, float], None]


class Source(Protocol):
    """Where processes come from: a Deployer."""

    def fresh(self) -> tuple[Deployment, LoadReport]:
        """A new process, loaded."""

    def result_name(self) -> str:
        """A name under which an agent keeps a reply that may be lost."""

    def collect(self, name: str) -> Frame | None:
        """What was kept under it, once the connection has dropped."""


@dataclass
class Measurement:
    """What the processes of one cell showed.

    Attributes:
        blocks: durations in nanoseconds, int64[n] for each process.
        loads: each process's load report.
        memory_peak_kib: the peak at its end of each process that came to it.
        memory_steps_kib: of the same processes, their load reports' memory.
        warm_ups: how each warm-up went.
        states: the device's state before the first and after the last sample of each process.
        wanted: how many samples were aimed at; 0 where no process got so far.
        lost: why, each time that the connection dropped.
    """

    blocks: list[Array] = field(default_factory=list)
    loads: list[LoadReport] = field(default_factory=list)
    memory_peak_kib: list[int] = field(default_factory=list)
    memory_steps_kib: list[Mapping[str, int]] = field(default_factory=list)
    warm_ups: list[Mapping[str, Any]] = field(default_factory=list)
    states: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = field(default_factory=list)
    wanted: int = 0
    lost: list[str] = field(default_factory=list)

    @property
    def interruption(self) -> str:
        """That there is less than was wanted because the connection dropped."""
        return f"the connection dropped {len(self.lost)} times: {self.lost[-1]}" if self.lost else ""

    @property
    def durations_ms(self) -> Array:
        """All samples, float64[n], in milliseconds."""
        return np.concatenate(self.blocks or [np.empty(0, np.int64)]) / 1e6

    @property
    def state_doubt(self) -> str:
        """Why the device was in no state to be measured."""
        reasons = [validity.doubt(before, after) for before, after in self.states]
        starts = [before for before, _ in self.states]
        reasons += [validity.changed(first, second) for first, second in pairwise(starts)]
        return "; ".join(dict.fromkeys(filter(None, reasons)))

    @property
    def swap_doubt(self) -> str:
        """Why the memory may not be believed: what was swapped out is not in the resident set."""
        reasons = (validity.swap_doubt(before, after) for before, after in self.states)
        return "; ".join(dict.fromkeys(filter(None, reasons)))

    @property
    def doubt(self) -> str:
        """Why the times may not be believed."""
        warm = all(warm_up["settled"] for warm_up in self.warm_ups)
        cold = (
            ""
            if warm
            else "inference was still getting faster after a tenth of the time: give it more with --time-limit"
        )
        return "; ".join(filter(None, [self.state_doubt, cold]))

    def seconds_for(self, samples: int) -> float:
        """How long so many samples take, with the processes' start."""
        if not self.warm_ups:
            return 0.0
        start_s = self.loads[0].load_ns / 1e9 + self.warm_ups[0]["elapsed_ns"] / 1e9
        return float(PROCESSES * start_s + samples * self.warm_ups[0]["median_ns"] / 1e9)


def take_samples(
    source: Source, sets: list[Arrays], time_limit_s: float, report: Report, *, at_least: int = ENOUGH
) -> Measurement:
    """Measure one cell.

    When the connection drops, what the agent kept is collected, and another process takes the place of the lost one,
    a few times. What was taken until then counts in any case.

    Args:
        at_least: how many samples the limits need, however long they take.
        source: starts and loads fresh processes.
        sets: inputs at the measured sizes, taken in turn.
        time_limit_s: for all of it, loading included; at least one sample is taken.
        report: is told (samples done, samples wanted, seconds that are left) as it goes on; beforehand by what the
            first inference took.

    Raises:
        LinkError: the device could not be reached, and there is no sample.
    """
    measured = Measurement()
    end = time.monotonic() + time_limit_s
    while (to_come := PROCESSES - len(measured.memory_peak_kib)) and (not measured.loads or time.monotonic() < end):
        try:
            _use_process(measured, source, sets, report, end=end, to_come=to_come, at_least=at_least)
        except LinkLost as error:
            measured.lost.append(" ".join(filter(None, [error.what, error.found.partition("\n")[0]])))
            if len(measured.lost) > LOST_ALLOWED:
                if not _count(measured):
                    raise
                break
    return measured


def take_memory(source: Source, sets: list[Arrays]) -> Measurement:
    """Measure what does not need a clock, on a board whose clock says nothing: one process, a few inferences.

    A connection that drops costs another process, once.

    Raises:
        LinkError: the device could not be reached.
    """
    try:
        return _memory(source, sets)
    except LinkLost as error:
        measured = _memory(source, sets)
        measured.lost.append(error.what)
        return measured


def _memory(source: Source, sets: list[Arrays]) -> Measurement:
    deployment, load = source.fresh()
    with deployment:
        inferred = -(-EMULATED_INFERENCES // len(sets))
        for _ in range(inferred):
            deployment.infer(sets)
        return Measurement(
            memory_peak_kib=[deployment.memory_kib()["peak"]], memory_steps_kib=[load.memory_kib], loads=[load]
        )


def _use_process(
    measured: Measurement,
    source: Source,
    sets: list[Arrays],
    report: Report,
    *,
    end: float,
    to_come: int,
    at_least: int,
) -> None:
    deployment, load = source.fresh()
    with deployment:
        measured.loads.append(load)
        if len(measured.loads) == 1:  # what it will take is said beforehand
            report(0, at_least, at_least * load.first_ns / 1e9)
        share = max(end - time.monotonic(), 0.1) / to_come
        measured.warm_ups.append(deployment.warm_up(sets, share * WARM_UP_SHARE * PROCESSES))
        if not measured.wanted:
            measured.wanted = _wanted(measured.warm_ups[0]["median_ns"] / 1e9, at_least)
        quota = -(-(measured.wanted - _count(measured)) // to_come)
        _measure_process(measured, source, deployment, sets, quota, (end - time.monotonic()) / to_come, report)
        measured.memory_peak_kib.append(deployment.memory_kib()["peak"])
        measured.memory_steps_kib.append(load.memory_kib)


def _wanted(median_s: float, at_least: int) -> int:
    fast = max(median_s, 1e-9)
    return max(at_least, min(GOOD, int(GOOD_S / fast)), min(MANY, int(MANY_S / fast)))


def _count(measured: Measurement) -> int:
    return sum(len(block) for block in measured.blocks)


def _measure_process(
    measured: Measurement,
    source: Source,
    deployment: Deployment,
    sets: list[Arrays],
    quota: int,
    budget_s: float,
    report: Report,
) -> None:
    end = time.monotonic() + budget_s
    median_s = max(measured.warm_ups[-1]["median_ns"] / 1e9, 1e-9)
    step = max(int(BLOCK_S / median_s), 1)
    blocks: list[tuple[Array, Mapping[str, Any]]] = []
    taken = 0
    try:
        while taken < quota and (not taken or time.monotonic() < end):
            left = max(end - time.monotonic(), 0.0)
            name = source.result_name()
            try:
                blocks.append(deployment.measure(sets, min(step, quota - taken), left, name))
            except LinkLost:
                if (kept := source.collect(name)) is not None:
                    blocks.append(deployment.measured(kept))
                raise
            taken += len(blocks[-1][0])
            done = _count(measured) + taken
            report(done, measured.wanted, (measured.wanted - done) * median_s)
    finally:
        if blocks:
            measured.blocks.append(np.concatenate([durations for durations, _ in blocks]))
            measured.states.append((blocks[0][1]["before"], blocks[-1][1]["after"]))
