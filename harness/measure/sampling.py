"""Taking samples: several fresh processes one after the other, each loaded, warmed up and then timed in a closed loop.

All that needs a fresh process comes from the same ones: load time, memory, latency.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from ..checks.quantiles import samples_needed
from ..deploy import plausibility
from ..deploy.call import Call
from ..deploy.content import SAMPLES, UNIFORM, Content, Timed
from ..deploy.deployment import LoadReport
from ..errors import ImpossibleReport, LinkLost
from ..model.inputs import Arrays
from ..model.model import Array
from . import validity
from .closed_loop import ClosedLoop, Source

PROCESSES = 3
# Enough for a bound of p99 …
ENOUGH = samples_needed(0.99)
# … and, where it costs no more than ten seconds, for one that some slow samples may lie above …
GOOD, GOOD_S = 1000, 10.0
# … and of a fast model more, for three seconds: what disturbs it comes by time, not by count.
MANY, MANY_S = 20_000, 3.0
# … of the model file's samples for one second: each a few times, so that its own median passes over what disturbs one.
MANY_SAMPLES, MANY_SAMPLES_S = 5_000, 1.0
TIMES = 3
WARM_UP_SHARE = 0.1
# After the second or third nothing is allocated any more; an emulated one takes a hundred times as long as a real one.
EMULATED_INFERENCES = 8

# So many times a dropped connection costs a process more.
LOST_ALLOWED = 2

# What a device may report that cannot be true.
DURATIONS, LOAD, MEMORY = "durations", "load", "memory"

Report = Callable[[int, int, float], None]


@dataclass
class Measurement:
    """What the processes of one cell showed.

    Attributes:
        uniform: what was timed on inputs spread over the range.
        samples: what was timed on the model file's samples; empty where it has none.
        loads: each process's load report.
        memory_peak_kib: the peak at its end of each process that came to it.
        memory_steps_kib: of the same processes, their load reports' memory.
        warm_ups: how each warm-up went.
        states: the device's state before the first and after the last sample of each process.
        lost: why, each time that the connection dropped.
        written: inputs that the model wrote into.
        calls: those that timed, by both clocks.
        idle_s: of each process, what a call that does nothing took, by the host's clock.
        impossible: of DURATIONS, LOAD, MEMORY, why the device's report of it cannot be true: it was not measured then.
        began: when it was begun, by the monotonic clock.
    """

    uniform: Timed = field(default_factory=lambda: Timed(name=UNIFORM))
    samples: Timed = field(default_factory=lambda: Timed(name=SAMPLES))
    loads: list[LoadReport] = field(default_factory=list)
    memory_peak_kib: list[int] = field(default_factory=list)
    memory_steps_kib: list[Mapping[str, int]] = field(default_factory=list)
    warm_ups: list[Mapping[str, Any]] = field(default_factory=list)
    states: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    written: tuple[str, ...] = ()
    calls: list[Call] = field(default_factory=list)
    idle_s: list[float] = field(default_factory=list)
    impossible: dict[str, str] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def refuse(self, quantity: str, reason: str) -> None:
        """Keep the first reason, if it is one, for which a quantity was not measured."""
        if reason:
            self.impossible.setdefault(quantity, reason)

    @property
    def contents(self) -> list[Timed]:
        """What was to be timed: the spread inputs, and the samples where there are any."""
        return [self.uniform, self.samples] if self.samples.given else [self.uniform]

    @property
    def wanted(self) -> int:
        """How many inferences were aimed at; 0 where no process got so far."""
        return sum(timed.wanted for timed in self.contents)

    @property
    def count(self) -> int:
        """How many were timed."""
        return sum(timed.count for timed in self.contents)

    @property
    def blocks(self) -> list[Array]:
        """Durations in nanoseconds, int64[n] of each process, in the order in which they were taken."""
        return [np.concatenate(each) for each in zip(*(timed.blocks for timed in self.contents), strict=True)]

    @property
    def interruption(self) -> str:
        """That there is less than was wanted because the connection dropped, or the device's times were refused."""
        if DURATIONS in self.impossible:
            return self.impossible[DURATIONS]
        return f"the connection dropped {len(self.lost)} times: {self.lost[-1]}" if self.lost else ""

    @property
    def durations_ms(self) -> Array:
        """All samples, float64[n], in milliseconds."""
        return np.concatenate([*self.blocks, np.empty(0, np.int64)]) / 1e6

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

    def expected_s(self, samples: int) -> float:
        """How long so many samples of each content will take in all, once the first process is warm.

        Each process starts, loads and warms up as long as that one did.
        """
        start_s = time.monotonic() - self.began
        return PROCESSES * start_s + sum(samples * each.pace_s for each in self.contents)

    def seconds_for(self, samples: int) -> float:
        """How long so many samples of each content take, or what else was wanted of it, with the processes' start."""
        if not self.warm_ups:
            return 0.0
        start_s = self.loads[0].load_ns / 1e9 + sum(warm_up["elapsed_ns"] for warm_up in self.warm_ups_each) / 1e9
        return float(PROCESSES * start_s + sum(max(samples, each.wanted) * each.pace_s for each in self.contents))

    @property
    def warm_ups_each(self) -> Sequence[Mapping[str, Any]]:
        """The first process's."""
        return self.warm_ups[: len(self.contents)]

    @property
    def left_s(self) -> float:
        """How long the rest takes."""
        return sum(max(each.wanted - each.count, 0) * each.pace_s for each in self.contents)


def take_samples(
    source: Source,
    content: Content,
    time_limit_s: float,
    report: Report,
    *,
    at_least: int = ENOUGH,
    board_mib: float | None = None,
) -> Measurement:
    """Measure one cell.

    When the connection drops, what the agent kept is collected, and another process takes the place of the lost one,
    a few times. What was taken until then counts in any case. Times that cannot be true end it.

    Args:
        at_least: how many samples the limits need, however long they take.
        source: starts and loads fresh processes.
        content: the inputs.
        time_limit_s: for all of it, loading included; at least one sample is taken.
        report: is told (samples done, samples wanted, seconds that are left) as it goes on; beforehand twice, with no
            samples done: how long those that the limits need will take in all, by what the first inference took, and
            by what a warm one does.
        board_mib: the device's memory.

    Raises:
        LinkError: the device could not be reached, and there is no sample.
    """
    measured = Measurement(content.spread_timed(), content.samples_timed())
    end = time.monotonic() + time_limit_s
    while (to_come := PROCESSES - len(measured.memory_peak_kib)) and (not measured.loads or time.monotonic() < end):
        try:
            _use_process(measured, source, content, report, end=end, to_come=to_come, at_least=at_least)
        except ImpossibleReport as error:
            measured.refuse(DURATIONS, error.what)
            break
        except LinkLost as error:
            measured.lost.append(" ".join(filter(None, [error.what, error.found.partition("\n")[0]])))
            if len(measured.lost) > LOST_ALLOWED:
                if not measured.count:
                    raise
                break
    _look_back(measured, board_mib)
    return measured


def _look_back(measured: Measurement, board_mib: float | None) -> None:
    """Look at all processes together: what one call does not show."""
    for timed in measured.contents:
        for durations in timed.blocks:
            measured.refuse(DURATIONS, plausibility.of_clock(durations))
    # The middle one, as of the calls: a board that takes its time for one of them is not to be forgiven that in all.
    idle_s = statistics.median(measured.idle_s) if measured.idle_s else math.inf
    measured.refuse(DURATIONS, plausibility.of_rate(measured.calls, idle_s))
    for load in measured.loads:
        measured.refuse(LOAD, plausibility.of_load(load.load_ns, load.first_ns, load.call, load.host_s))
    if LOAD not in measured.impossible:
        loads = [load.call for load in measured.loads if load.call is not None]
        measured.refuse(LOAD, plausibility.of_rate(loads, idle_s))
    for steps, peak in zip(measured.memory_steps_kib, measured.memory_peak_kib, strict=True):
        measured.refuse(MEMORY, plausibility.of_memory(steps, peak, board_mib))


def take_memory(source: Source, sets: list[Arrays], board_mib: float | None = None) -> Measurement:
    """Measure what does not need a clock, on a board whose clock says nothing: one process, a few inferences.

    A connection that drops costs another process, once.

    Raises:
        LinkError: the device could not be reached.
    """
    try:
        measured = _memory(source, sets)
    except LinkLost as error:
        measured = _memory(source, sets)
        measured.lost.append(error.what)
    for steps, peak in zip(measured.memory_steps_kib, measured.memory_peak_kib, strict=True):
        measured.refuse(MEMORY, plausibility.of_memory(steps, peak, board_mib))  # its clock is not believed anyway
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
    content: Content,
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
        loop = ClosedLoop(deployment, source, content, lambda: report(measured.count, measured.wanted, measured.left_s))
        loop.begin(measured.contents)
        try:
            share = max(end - time.monotonic(), 0.1) / to_come
            for timed in measured.contents:
                warm_up = loop.warm_up(timed, share * WARM_UP_SHARE * PROCESSES)
                measured.warm_ups.append(warm_up)
                timed.wanted = timed.wanted or _wanted(timed, at_least)
            if len(measured.loads) == 1:
                report(0, at_least, measured.expected_s(at_least))
            quotas = [max(-(-(timed.wanted - timed.count) // to_come), 0) for timed in measured.contents]
            needed_s = [quota * timed.pace_s for quota, timed in zip(quotas, measured.contents, strict=True)]
            left_s = max((end - time.monotonic()) / to_come, 0.0)
            for index, timed in enumerate(measured.contents):
                # What is left goes to what is still to come, each by what it takes.
                share_s = needed_s[index] / max(sum(needed_s[index:]), 1e-9)
                began = time.monotonic()
                loop.take(timed, quotas[index], left_s * share_s)
                left_s = max(left_s - (time.monotonic() - began), 0.0)
        finally:
            if loop.states:
                measured.states.append((loop.states[0]["before"], loop.states[-1]["after"]))
            measured.written = tuple(dict.fromkeys([*measured.written, *deployment.written]))
            measured.calls += loop.calls
        measured.memory_peak_kib.append(deployment.memory_kib()["peak"])
        measured.idle_s.append(deployment.last_call.host_s)
        measured.memory_steps_kib.append(load.memory_kib)


def _wanted(timed: Timed, at_least: int) -> int:
    fast = max(timed.pace_s, 1e-9)
    if timed.given:  # all of the file's samples a few times, where that takes no longer than as many others may
        again = max(GOOD, TIMES * timed.given)
        return max(at_least, min(again, int(GOOD_S / fast)), min(MANY_SAMPLES, int(MANY_SAMPLES_S / fast)))
    return max(at_least, min(GOOD, int(GOOD_S / fast)), min(MANY, int(MANY_S / fast)))
