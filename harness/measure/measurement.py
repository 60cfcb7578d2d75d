"""The measurement of one cell: its processes' loads, durations and memory, and why some may not be believed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from ..agent.failure import NEVER
from ..agent.sides import FAR
from ..checks import sequential
from ..deploy.call import Call
from ..deploy.content import SAMPLES, UNIFORM, Timed
from ..deploy.deployment import LoadReport
from ..deploy.failed_calls import describe_failed
from ..model.model import Array
from ..model.sensor_clock import SensorClock
from . import validity
from .memory_series import MemorySeries
from .tails import Standing, Tail

# How many fresh processes a measurement takes: one may be lucky, for instance in where its memory lies.
PROCESSES = 3

# The quantities of a device's report that may be impossible; keys of Measurement.impossible.
DURATIONS, LOAD, MEMORY, GROWTH = "durations", "load", "memory", "growth"


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
        unreached: The reason for each time that a process could not be loaded, for the computer that serves the model
            did not answer.
        written: The names of inputs that the model wrote into.
        calls: The calls that timed inferences, by both clocks.
        idle_s: How long a call that does nothing took, by the host's clock; one per process.
        memory_series: The anonymous memory of each process while it inferred; growth's own processes among them.
        growth_pace_s: What an inference took in growth's own processes, in seconds; 0 where there were none.
        impossible: Why the device's report of DURATIONS, LOAD, MEMORY or GROWTH cannot be true; it then counts as not
            measured.
        began: When the measurement began, by the monotonic clock.
        took_s: How long it took; 0 while it goes on.
        block_ms: How long a block of time lasts, in milliseconds; see harness.checks.blocks.
        tails: The limits on durations, which are to be decided.
        is_over: Whether no more is to come.
        clock: The sensor's clock on which inferences were released; None in a closed loop.
        closed_p50_ms: The median of a short closed loop beside the sensor's clock; None where there was none.
        timeout_ms: After how long a call to the computer that serves the model fails, in milliseconds; None where the
            model runs on the device.
        planned_s: For how long such calls were to be made, in all processes, in seconds; fixed before the first one
            that counts.
    """

    uniform: Timed = field(default_factory=lambda: Timed(name=UNIFORM))
    samples: Timed = field(default_factory=lambda: Timed(name=SAMPLES))
    loads: list[LoadReport] = field(default_factory=list)
    memory_peak_kib: list[int] = field(default_factory=list)
    memory_steps_kib: list[Mapping[str, int]] = field(default_factory=list)
    warm_ups: list[Mapping[str, Any]] = field(default_factory=list)
    states: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    unreached: list[str] = field(default_factory=list)
    written: tuple[str, ...] = ()
    calls: list[Call] = field(default_factory=list)
    idle_s: list[float] = field(default_factory=list)
    memory_series: list[MemorySeries] = field(default_factory=list)
    growth_pace_s: float = 0.0
    impossible: dict[str, str] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    took_s: float = 0.0
    block_ms: float = 100.0
    tails: tuple[Tail, ...] = ()
    is_over: bool = True
    clock: SensorClock | None = None
    closed_p50_ms: float | None = None
    timeout_ms: float | None = None
    planned_s: float = 0.0

    @property
    def is_remote(self) -> bool:
        """Whether each inference was a call to another computer."""
        return self.timeout_ms is not None

    def refuse(self, quantity: str, reason: str) -> None:
        """Record why a quantity cannot be true, if there is a reason; the first reason stays."""
        if reason:
            self.impossible.setdefault(quantity, reason)

    def add_series(self, series: MemorySeries) -> None:
        """Add what a process's memory showed, and what of it cannot be true."""
        self.memory_series.append(series)
        self.refuse(GROWTH, series.impossible)

    @property
    def contents(self) -> list[Timed]:
        """The contents to be timed: the spread inputs, and the samples if there are any."""
        return [self.uniform, self.samples] if self.samples.given else [self.uniform]

    def standings(self, tail: Tail) -> list[Standing]:
        """Say of each content where a question about its tail stands."""
        contents = self.contents
        return [Standing(timed=each, tail=tail, contents=len(contents), is_over=self.is_over) for each in contents]

    @property
    def count(self) -> int:
        """How many inferences were timed."""
        return sum(timed.count for timed in self.contents)

    @property
    def processes(self) -> list[Array]:
        """The durations of each process in nanoseconds, int64[n], in the order in which they were taken.

        On a sensor's clock they are response times, float64[n], infinite where a release was dropped; float64[n] and
        infinite, too, where a call to another computer failed.
        """
        return [np.concatenate(each) for each in zip(*(timed.processes for timed in self.contents), strict=True)]

    @property
    def raw(self) -> Array:
        """What was timed, in nanoseconds, as it came: int64[n]; on a sensor's clock int64[n, 3], see Timed.releases.

        In a closed loop a call that failed has NEVER.
        """
        if self.clock is None:
            durations = np.concatenate([*self.processes, np.empty(0, np.int64)])
            return np.where(np.isinf(durations), NEVER, durations).astype(np.int64)
        parts = [part for each in zip(*(timed.releases for timed in self.contents), strict=True) for part in each]
        return np.concatenate([*parts, np.empty((0, 3), np.int64)])

    @property
    def raw_inputs(self) -> Array:
        """Which input each of the raw samples had, by its number in its content: int64[n]."""
        parts = [part for each in zip(*(timed.numbers for timed in self.contents), strict=True) for part in each]
        return np.concatenate([*parts, np.empty(0, np.int64)]).astype(np.int64)

    @property
    def raw_failures(self) -> Array | None:
        """How the call of each raw sample failed, int64[n], 0 if it did not; None where none failed."""
        parts = [part for each in zip(*(timed.codes for timed in self.contents), strict=True) for part in each]
        codes = np.concatenate([*parts, np.empty(0, np.uint8)]).astype(np.int64)
        return codes if codes.any() else None

    @property
    def raw_first_parts(self) -> Array | None:
        """When the first part of each raw sample's answer came, int64[n], NEVER without one; None where none did."""
        return self._noted(lambda timed: timed.first_parts)

    @property
    def raw_sides(self) -> Array | None:
        """Which side answered each raw sample, int64[n], NEVER where one was dropped; None without a fallback."""
        return self._noted(lambda timed: timed.sides)

    def _noted(self, parts_of: Callable[[Timed], list[Array]]) -> Array | None:
        """Join what was noted of each raw sample, in their order; None where nothing was."""
        parts = [part for each in zip(*map(parts_of, self.contents), strict=True) for part in each]
        return np.concatenate(parts) if any(map(len, parts)) else None

    @property
    def sides(self) -> Array:
        """Which side answered each inference that was made, int64[n], of all processes; empty without a fallback."""
        parts = [part[part >= FAR] for timed in self.contents for part in timed.sides]
        return np.concatenate([*parts, np.empty(0, np.int64)])

    @property
    def interruption(self) -> str:
        """Why the measurement ended early: the connection dropped, or durations were impossible; "" if it did not."""
        if DURATIONS in self.impossible:
            return self.impossible[DURATIONS]
        if self.unreached:
            return f"{len(self.unreached)} processes could not be loaded: {self.unreached[-1]}"
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
        is_answered = all(validity.is_answered(warm_up) for warm_up in self.warm_ups)
        not_answered = "" if is_answered else "while it was warmed up, most calls failed: it did not settle"
        return "; ".join(filter(None, [self.state_doubt, "" if is_warm else not_warm, not_answered, self.far_doubt]))

    @property
    def far_doubt(self) -> str:
        """Why nothing of this is of the computer elsewhere: its fallback has answered everything; "" if it is."""
        sides = self.sides
        if not len(sides) or (sides == FAR).any():
            return ""
        return f"the far end answered none of {len(sides)} inferences: this is its fallback alone"

    def expected_s(self, inferences: Mapping[str, float]) -> float:
        """Estimate how long so many inferences on each content take in all, in seconds, after the first warm-up.

        Assumes that each process starts, loads and warms up as long as the first one did.

        Args:
            inferences: How many, by the content's name.
        """
        start_s = time.monotonic() - self.began
        return PROCESSES * start_s + sum(inferences[each.name] * each.pace_s for each in self.contents)

    def explain_open(self, standing: Standing) -> str:
        """Explain why a question about a content's tail is open, and what would answer it."""
        timed, tail, blocks = standing.timed, standing.tail, standing.blocks
        length = f"{blocks.count} blocks of {self._lasting(standing)}"
        if self.interruption:
            return f"{self.interruption}; {length} were timed until then, {tail.name} takes more"
        if missing := standing.inputs_missing:
            found = f"{timed.inputs} of {timed.given_words}"
            takes = f"{found} in the time; {tail.name} takes {timed.inputs + missing}, each of another input"
            return f"{takes}. {self._suggest(missing * timed.pace_s)}"
        seen = self._seen(standing)
        more = standing.blocks_to_come()
        if math.isinf(more):
            return f"{length} in the time{seen}: no number of blocks like these shows {tail.name}"
        if not more and not blocks.has_processes:
            takes = f"{tail.name} takes {PROCESSES}, each with a quarter of the blocks"
            return f"{length} in {len(blocks.counts)} processes in the time; {takes}"
        if tail.limit is None:
            more = self._blocks_for_bound(tail) - blocks.count
        takes = f"{length} in the time{seen}; {tail.name} takes about {blocks.count + more:.0f} like these"
        return f"{takes}. {self._suggest(more * blocks.sizes[-1] * timed.pace_s)}"

    def _blocks_for_bound(self, tail: Tail) -> float:
        return sequential.blocks_to_keep(np.empty(0), tail.allowed) if tail.allowed else 1.0

    def _lasting(self, standing: Standing) -> str:
        """Say how long a block lasts: longer, where slow inferences come in bursts."""
        times = max(
            (judged / size for judged, size in zip(standing.blocks.sizes, standing.timed.blocks.sizes, strict=True)),
            default=1.0,
        )
        lasting = f"{self.block_ms * times:.3g} ms"
        return f"{lasting} (slow ones come in bursts)" if times > 1 else lasting

    def _seen(self, standing: Standing) -> str:
        """Say how many inferences exceed the threshold, where there is one."""
        tail, values = standing.tail, standing.timed.values
        if tail.threshold_ms is None or tail.allowed is None or not len(values):
            return ""
        share = float(np.mean(values > tail.threshold_ms))
        failed = describe_failed(standing.timed.failed, standing.timed.calls)
        over = f"{share:.3%} of the inferences over {tail.threshold_ms:g} ms, where {tail.allowed:.3g} may be"
        return "".join(f", {part}" for part in (failed, over) if part)

    def _suggest(self, more_s: float) -> str:
        """Suggest the time limit for so many seconds more."""
        seconds = max(self.took_s, time.monotonic() - self.began if not self.is_over else 0.0) + more_s
        return f"That would take about {seconds:.0f} s: --time-limit {int(seconds * 1.25) + 10}"
