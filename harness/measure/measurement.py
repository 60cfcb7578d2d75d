"""The measurement of one cell: its processes' loads, durations and memory, and why some may not be believed."""

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

# How many fresh processes a measurement takes: one may be lucky, for instance in where its memory lies.
PROCESSES = 3

# The quantities of a device's report that may be impossible; keys of Measurement.impossible.
DURATIONS, LOAD, MEMORY = "durations", "load", "memory"


@dataclass(kw_only=True)
class Measurement:
    """What was measured of one cell, over all its processes.

    Attributes:
        uniform: The durations on inputs spread over the declared range.
        samples: The durations on the model file's samples; empty if it has none.
        loads: Each process's load report.
        memory_peak_kib: The peak resident set of each process that came to its end, in KiB.
        memory_steps_kib: The resident set after each step of loading, of the same processes.
        warm_ups: The agent's report of each warm-up.
        states: The device's state before the first and after the last duration of each process.
        lost: The reason for each time that the connection dropped.
        written: The names of inputs that the model wrote into.
        calls: The calls that timed inferences, by both clocks.
        idle_s: How long a call that does nothing took, by the host's clock; one per process.
        impossible: Why the device's report of DURATIONS, LOAD or MEMORY cannot be true; it then counts as not measured.
        began: When the measurement began, by the monotonic clock.
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
        """Record why a quantity cannot be true, if there is a reason; the first reason stays."""
        if reason:
            self.impossible.setdefault(quantity, reason)

    @property
    def contents(self) -> list[Timed]:
        """The contents to be timed: the spread inputs, and the samples if there are any."""
        return [self.uniform, self.samples] if self.samples.given else [self.uniform]

    @property
    def wanted(self) -> int:
        """How many inferences are to be timed; 0 before the first warm-up."""
        return sum(timed.wanted for timed in self.contents)

    @property
    def count(self) -> int:
        """How many inferences were timed."""
        return sum(timed.count for timed in self.contents)

    @property
    def processes(self) -> list[Array]:
        """The durations of each process in nanoseconds, int64[n], in the order in which they were taken."""
        return [np.concatenate(each) for each in zip(*(timed.processes for timed in self.contents), strict=True)]

    @property
    def interruption(self) -> str:
        """Why the measurement ended early: the connection dropped, or durations were impossible; "" if it did not."""
        if DURATIONS in self.impossible:
            return self.impossible[DURATIONS]
        return f"the connection dropped {len(self.lost)} times: {self.lost[-1]}" if self.lost else ""

    @property
    def durations_ms(self) -> Array:
        """All durations in milliseconds, float64[n]."""
        return np.concatenate([*self.processes, np.empty(0, np.int64)]) / 1e6

    @property
    def state_doubt(self) -> str:
        """Why the device was in no state to be measured, such as throttled; "" if it was."""
        reasons = [validity.doubt(before, after) for before, after in self.states]
        starts = [before for before, _ in self.states]
        reasons += [validity.changed(first, second) for first, second in pairwise(starts)]
        return "; ".join(dict.fromkeys(filter(None, reasons)))

    @property
    def swap_doubt(self) -> str:
        """Why the memory may not be believed: what was swapped out is missing from the resident set; "" if it may."""
        reasons = (validity.swap_doubt(before, after) for before, after in self.states)
        return "; ".join(dict.fromkeys(filter(None, reasons)))

    @property
    def doubt(self) -> str:
        """Why the durations may not be believed; "" if they may."""
        is_warm = all(warm_up["settled"] for warm_up in self.warm_ups)
        not_warm = "inference was still getting faster after a tenth of the time: give it more with --time-limit"
        return "; ".join(filter(None, [self.state_doubt, "" if is_warm else not_warm]))

    def expected_s(self, samples: int) -> float:
        """Estimate how long ``samples`` inferences on each content take in all, in seconds, after the first warm-up.

        Assumes that each process starts, loads and warms up as long as the first one did.
        """
        start_s = time.monotonic() - self.began
        return PROCESSES * start_s + sum(samples * each.pace_s for each in self.contents)

    def seconds_for(self, samples: int) -> float:
        """Estimate how long ``samples`` inferences or more on each content take, with all processes' start, in s."""
        if not self.warm_ups:
            return 0.0
        start_s = self.loads[0].load_ns / 1e9 + sum(warm_up["elapsed_ns"] for warm_up in self.warm_ups_each) / 1e9
        return float(PROCESSES * start_s + sum(max(samples, each.wanted) * each.pace_s for each in self.contents))

    @property
    def warm_ups_each(self) -> Sequence[Mapping[str, Any]]:
        """The warm-ups of the first process."""
        return self.warm_ups[: len(self.contents)]

    @property
    def left_s(self) -> float:
        """How long the inferences that are still to be timed take, in seconds."""
        return sum(max(each.wanted - each.count, 0) * each.pace_s for each in self.contents)
