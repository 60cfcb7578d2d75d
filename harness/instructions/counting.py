"""The counting guest: an emulated board beside the run's own, whose clock counts instructions.

The guest is the device's twin with one CPU, whose clock QEMU advances with each instruction that it executes
(``-icount``; see harness.emulator.machine and docs/decisions/0005-count-instructions.md). The agent's ordinary
durations there, in nanoseconds, are therefore instructions, whatever else the host is doing. A thread of its own boots
the guest and counts, while the run goes on with the other board.

Counted is all that the guest executes between two readings of the clock: the model, the runtime, Python's call of it,
and now and then the kernel's timer, which the median ignores. Caches and memory are not modelled: a count is to be
compared with other counts, and is never a board's time.

The procedure is fixed, because a count depends on what the process did before: a fresh process is loaded, runs
UNCOUNTED inferences, and then the counted ones in one call, each on another input, spread over the range. If the model
file has samples, as many inferences follow on these.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..board import Board, open_board
from ..board.store_check import describe
from ..bundle import Bundle
from ..cell import Cell
from ..deploy import plausibility
from ..deploy.content import BLOCK, Content, Timed, written_note
from ..deploy.deployer import Deployer
from ..deploy.deployment import Deployment, DeviceTime, LoadReport, Timeouts
from ..deploy.feed import Feed, fill_bytes, kept, spread
from ..device.device import Device
from ..emulator.machine import ICOUNT_SHIFT
from ..errors import DeploymentError, EmulatorError, ImpossibleReport
from ..host.progress_log import show_waiting
from ..model.inputs import Arrays
from ..model.model import Array
from ..model.prepare import prepared_measured_sets

# Inferences before the counted ones: lazy initialization is over by then.
UNCOUNTED = 8
# How many inferences are counted: the first of these numbers whose instructions stay below INSTRUCTION_BUDGET, else the
# last. The median of a small model varies by some 0.1 % over the first hundred inferences; a large one's hardly at all.
SAMPLES = (300, 100, 30, 9)
INSTRUCTION_BUDGET = 600_000_000
# Inferences under the runtime's profiler, for the shares of operators.
PROFILED = 10
# How often ``result`` shows what it waits for, and how long ``close`` waits for the thread.
POLL_S = 0.2
END_S = 15.0


def counting_twin(device: Device) -> Device:
    """Return the same device as a machine that counts: one CPU, hence one thread."""
    return replace(device, name=f"{device.name}-counting", counting=True, threads=1)


@dataclass(frozen=True, kw_only=True)
class Count:
    """What was counted of one cell.

    Attributes:
        contents: The instructions of each inference, on the spread inputs and, if there are any, on the samples.
        load: The agent's report of loading.
        described: The machine that counted, for the evidence.
        operators: The runtime's own profile, most costly operator first: {"operator", "name", "calls", "share"}; empty
            unless it was asked for.
        notes: What a reader should know of the count.
    """

    contents: Sequence[Timed]
    load: LoadReport
    described: Mapping[str, Any]
    operators: Sequence[Mapping[str, Any]] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class _Job:
    cell: Cell
    bundle: Bundle
    content: Content
    done: Future[Count]


class CountingGuest:
    """The counting guest of one device. It is booted for the first cell that it is given; ``close`` ends it."""

    def __init__(self, device: Device, *, profile: bool, time_limit_s: float) -> None:
        self.counts_for, self.device = device, counting_twin(device)
        self._profile, self._time_limit_s = profile, time_limit_s
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._counts: dict[str, Future[Count]] = {}
        self._board: Board | None = None
        self._closing, self._working = threading.Event(), False
        self._thread: threading.Thread | None = None

    def begin(self, cell: Cell, bundle: Bundle, content: Content) -> None:
        """Queue a cell for counting, and return at once; the first cell starts the guest."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self.device.name, daemon=True)
            self._thread.start()
        self._counts[cell.id] = Future()
        twin = replace(cell, device=self.device)
        self._jobs.put(_Job(twin, bundle, content, self._counts[cell.id]))

    def result(self, cell: Cell) -> Count:
        """Wait for a cell's count, showing what the guest does meanwhile; each of its steps has a time limit.

        Raises:
            KeyError: The cell was not begun.
            HilgateError: The guest could not be booted, or could not count.
        """
        count = self._counts[cell.id]
        while not count.done():
            wait([count], POLL_S)
            show_waiting()
        return count.result()

    def close(self) -> None:
        """End the guest, whatever it is doing. Never raises.

        A guest that is still booting cannot be stopped: its thread and QEMU then end with this process.
        """
        self._closing.set()
        self._jobs.put(None)
        if self._working and self._board is not None:
            self._board.link.cut_power()  # whatever the thread waits for then fails
        if self._thread is not None:
            self._thread.join(END_S)

    def _work(self) -> None:
        failed: BaseException | None = None
        while (job := self._jobs.get()) is not None and not self._closing.is_set():
            self._working = True
            try:
                if failed is not None:
                    raise failed
                if self._board is None:
                    self._board = open_board(self.device)
                job.done.set_result(self._count(self._board, job))
            except EmulatorError as error:  # the guest does not boot, nor will it for the next cell
                failed = error
                job.done.set_exception(error)
            except BaseException as error:  # noqa: BLE001  # raised again in result()
                job.done.set_exception(error)
            self._working = False
        if self._board is not None:
            with suppress(Exception):  # close() may have ended it meanwhile
                self._board.close()

    def _count(self, board: Board, job: _Job) -> Count:
        if self._closing.is_set():
            raise EmulatorError(f"{self.device.name} was ended before it had counted")
        board.put(job.bundle)
        deployer = Deployer(
            cell=job.cell,
            board=board,
            bundle=job.bundle,
            timeouts=Timeouts(call_s=self._time_limit_s),
            device_time=DeviceTime(),
        )
        try:
            live, load = deployer.fresh()
            counted = [self._count_spread(live, job)]
            if job.content.samples:
                counted.append(self._count_samples(live, job.content))
            sets = prepared_measured_sets(job.cell.file, UNCOUNTED)
            operators = self._profile_operators(live, sets, deployer.notes) if self._profile else []
            deployer.notes += [written_note(name) for name in live.written]
        finally:
            deployer.close()
        if damaged := board.snapshot.damage(again=False):  # found by the hashing that ran beside the count
            raise deployer.damaged(describe(board.device.name, damaged))
        described = {**board.link.described, "icount_shift": ICOUNT_SHIFT, "cpus": 1, "before": UNCOUNTED}
        return Count(
            contents=counted,
            load=load,
            described=described,
            operators=_shares(operators),
            notes=tuple(deployer.notes),
        )

    def _count_spread(self, live: Deployment, job: _Job) -> Timed:
        content = job.content
        count = self._run_uncounted(live, prepared_measured_sets(job.cell.file, UNCOUNTED))
        if content.prepare is None:
            durations = self._measure(live, spread(content.fills, 1), count)
        else:
            durations = self._count_made(live, content, count)
        return _as_timed(content.spread_timed(), durations, np.arange(len(durations)))

    def _count_made(self, live: Deployment, content: Content, count: int) -> Array:
        """Count inferences on inputs that the host makes, in portions for which the guest has memory."""
        durations: list[Array] = []
        for start in range(0, count, content.made_at_a_time):
            sets = content.made((1 + start) * BLOCK, min(content.made_at_a_time, count - start))
            live.keep(sets)
            feed = kept(range(len(sets)), fill_bytes(content.fills))
            durations.append(self._measure(live, feed, len(sets)))
        return np.concatenate(durations)

    def _count_samples(self, live: Deployment, content: Content) -> Timed:
        """Count inferences on the file's samples; if there are too many, on the first of their random order."""
        given = len(content.samples)
        first = [content.samples[number] for number in content.sequence(0, min(UNCOUNTED, given))]
        count = self._run_uncounted(live, first)
        durations, numbers = [], []
        for chosen, order in content.portions(content.sequence(0, count)):
            live.keep([content.samples[number] for number in chosen])
            taken = self._measure(live, kept(order, content.set_bytes), len(order))
            durations.append(taken)
            numbers.append(np.array(chosen)[order][: len(taken)])
        return _as_timed(content.samples_timed(), np.concatenate(durations), np.concatenate(numbers))

    def _measure(self, live: Deployment, feed: Feed, count: int) -> Array:
        durations, reply = live.measure(feed, count, self._time_limit_s)
        # The guest's clock runs by instructions, not by time, so it cannot be checked against the host's.
        call = replace(live.last_call, host_s=math.inf)
        budget_s = self._time_limit_s
        if reason := plausibility.why_durations_impossible(durations, reply, call, asked=count, budget_s=budget_s):
            raise ImpossibleReport(reason, where=live.where)
        return durations

    def _run_uncounted(self, live: Deployment, sets: Sequence[Arrays]) -> int:
        """Run the UNCOUNTED inferences, and return how many counted ones the budgets allow."""
        for index in range(UNCOUNTED):
            before, start = live.device_time.seconds, time.monotonic()
            live.infer([sets[index % len(sets)]])
            host_s = time.monotonic() - start
            instructions = (live.device_time.seconds - before) * 1e9 / 2**ICOUNT_SHIFT
        # A time budget given to the guest would run by its own slow clock: the number of inferences keeps the host's.
        fitting = (
            number
            for number in SAMPLES
            if number * instructions <= INSTRUCTION_BUDGET and number * host_s <= self._time_limit_s
        )
        return next(fitting, SAMPLES[-1])

    @staticmethod
    def _profile_operators(live: Deployment, sets: Sequence[Arrays], notes: list[str]) -> list[dict[str, Any]]:
        """Profile by operator; a profiler that fails adds a note, and the count stays."""
        try:
            return live.profile(sets, PROFILED)
        except DeploymentError as error:
            notes.append(f"instructions could not be counted by operator: {error.what}; {error.found}")
            return []


def _as_timed(empty: Timed, durations: Array, numbers: Array) -> Timed:
    processes, wanted = [durations // 2**ICOUNT_SHIFT], len(durations)
    return replace(empty, processes=processes, numbers=[numbers], wanted=wanted, unit=1)


def _shares(operators: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Give each operator its share of the time of all, 0 to 1, the largest first."""
    total = sum(operator["ns"] for operator in operators) or 1
    shares = [
        {**{key: operator[key] for key in ("operator", "name", "calls")}, "share": operator["ns"] / total}
        for operator in operators
    ]
    return sorted(shares, key=lambda operator: -operator["share"])
