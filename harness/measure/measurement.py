"""What the processes of one cell showed: their loads, durations and memory, and why some of it may not be believed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from ..deploy.call import Call
from ..deploy.content import SAMPLES, UNIFORM, Timed
from ..deploy.deployment import LoadReport
from ..model.model import Array
from . import validity

PROCESSES = 3

# What a device may report that cannot be true.
DURATIONS, LOAD, MEMORY = "durations", "load", "memory"


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

    uniform: Timed = field(default_factory=lambda: Timed(UNIFORM))
    samples: Timed = field(default_factory=lambda: Timed(SAMPLES))
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
