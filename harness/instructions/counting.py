"""The counting guest: an emulated board beside the run's own, whose clock counts instructions.

It is the device's twin with one CPU, whose clock QEMU moves by each instruction that it executes (``-icount``; see
harness.emulator.machine). So the agent's ordinary durations there, in nanoseconds, are instructions, whatever else the
host is doing. It is switched on and asked by a thread of its own, while the run goes on with the other board.

What is counted is everything that the guest executes between the two readings of the clock: the model, the runtime,
Python's call of it, and now and then the kernel's timer, which the median passes over. No cache and no memory is
modelled: it is a number to compare with itself, never a board's time.

The protocol is fixed, for a count depends on what the process did before: a fresh process, loaded; UNCOUNTED
inferences; then so many counted ones, each of another input, spread over the range, all in one call. Where the model
file has samples, as many follow on these.
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
from ..board.stored import describe
from ..bundle import Bundle
from ..cell import Cell
from ..deploy import plausibility
from ..deploy.content import Content, Timed, written_note
from ..deploy.deployer import Deployer
from ..deploy.deployment import Deployment, DeviceTime, LoadReport, Timeouts
from ..deploy.feed import Feed, fill_bytes, kept, spread
from ..device.device import Device
from ..emulator.machine import ICOUNT_SHIFT
from ..errors import DeploymentError, EmulatorError, ImpossibleReport
from ..host.progress_log import show_waiting
from ..links import qemu
from ..model.inputs import Arrays
from ..model.model import Array
from ..model.prepare import prepared_measured_sets

UNCOUNTED = 8
# How many inferences are counted: the first number whose instructions stay below this, or the last number. The median
# of a small model wanders by some 0.1 % over the first hundred; a large one's hardly at all.
SAMPLES = (300, 100, 30, 9)
WORTH = 600_000_000
# For each operator, under the runtime's profiler.
PROFILED = 10
POLL_S = 0.2
END_S = 15.0


def counting_twin(device: Device) -> Device:
    """The same device as a machine that counts; one thread, for it has one CPU."""
    return replace(device, name=f"{device.name}-counting", counting=True, threads=1)


@dataclass(frozen=True)
class Count:
    """What was counted of one cell.

    Attributes:
        contents: of the spread inputs, and of the samples where there are any: instructions of each inference.
        load: as the agent reported it.
        described: what counted.
        operators: the runtime's own account, most costly first: {"operator", "name", "calls", "share"}; empty unless
            asked for.
        notes: what was out of the ordinary.
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
    """The counting guest of one device. It comes up with the first cell that it is given; ``close`` ends it."""

    def __init__(self, device: Device, *, profile: bool, time_limit_s: float) -> None:
        self.counts_for, self.device = device, counting_twin(device)
        self._profile, self._time_limit_s = profile, time_limit_s
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._counts: dict[str, Future[Count]] = {}
        self._board: Board | None = None
        self._closing, self._working = threading.Event(), False
        self._thread = threading.Thread(target=self._work, name=self.device.name, daemon=True)
        self._thread.start()

    def begin(self, cell: Cell, bundle: Bundle, content: Content) -> None:
        """Count a cell's instructions, by and by."""
        self._counts[cell.id] = Future()
        twin = replace(cell, device=self.device)
        self._jobs.put(_Job(twin, bundle, content, self._counts[cell.id]))

    def result(self, cell: Cell) -> Count:
        """Wait for a cell's count, and show what the guest is doing; each step of it has its own limit.

        Raises:
            KeyError: it was not begun.
            HilgateError: as the guest's board and its deployment do.
        """
        count = self._counts[cell.id]
        while not count.done():
            wait([count], POLL_S)
            show_waiting()
        return count.result()

    def close(self) -> None:
        """End the guest, whatever it is doing. Never raises.

        One that is still being prepared cannot be told to stop: its thread, and QEMU, end with this process.
        """
        self._closing.set()
        self._jobs.put(None)
        board = self._board
        emulator = board.link.emulator if board is not None and isinstance(board.link, qemu.Link) else None
        if self._working and emulator is not None:
            emulator.close()  # whatever the thread waits for is gone, and it says so
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
            except EmulatorError as error:  # it does not come up: nor will it for the next cell
                failed = error
                job.done.set_exception(error)
            except BaseException as error:  # noqa: BLE001  # raised again where it is waited for
                job.done.set_exception(error)
            self._working = False
        if self._board is not None:
            with suppress(Exception):  # it was ended under its feet
                self._board.close()

    def _count(self, board: Board, job: _Job) -> Count:
        if self._closing.is_set():
            raise EmulatorError(f"{self.device.name} was ended before it had counted")
        board.put(job.bundle)
        deployer = Deployer(job.cell, board, job.bundle, Timeouts(call_s=self._time_limit_s), DeviceTime())
        try:
            live, load = deployer.fresh()
            counted = [self._spread(live, job)]
            if job.content.samples:
                counted.append(self._samples(live, job.content))
            sets = prepared_measured_sets(job.cell.file, UNCOUNTED)
            operators = self._operators(live, sets, deployer.notes) if self._profile else []
            deployer.notes += [written_note(name) for name in live.written]
        finally:
            deployer.close()
        if damaged := board.snapshot.damage(again=False):  # what was hashed while it counted
            raise deployer.damaged(describe(board.device.name, damaged))
        described = {**board.link.described, "icount_shift": ICOUNT_SHIFT, "cpus": 1, "before": UNCOUNTED}
        return Count(counted, load, described, _shares(operators), tuple(deployer.notes))

    def _spread(self, live: Deployment, job: _Job) -> Timed:
        content = job.content
        count = self._fitting(live, prepared_measured_sets(job.cell.file, UNCOUNTED))
        if content.prepare is None:
            durations = self._taken(live, spread(content.fills, 1), count)
        else:
            durations = self._made(live, content, count)
        return _counted(content.spread_timed(), durations, np.arange(len(durations)))

    def _made(self, live: Deployment, content: Content, count: int) -> Array:
        """Count inferences of inputs that the host makes, in portions that the guest has room for."""
        found: list[Array] = []
        for start in range(0, count, content.made_at_a_time):
            sets = content.made(1 + start, min(content.made_at_a_time, count - start))
            live.keep(sets)
            feed = kept(range(len(sets)), fill_bytes(content.fills))
            found.append(self._taken(live, feed, len(sets)))
        return np.concatenate(found)

    def _samples(self, live: Deployment, content: Content) -> Timed:
        """Of a file with more samples than are counted, those that come first in their random order."""
        given = len(content.samples)
        first = [content.samples[number] for number in content.sequence(0, min(UNCOUNTED, given))]
        count = self._fitting(live, first)
        durations, numbers = [], []
        for chosen, order in content.portions(content.sequence(0, count)):
            live.keep([content.samples[number] for number in chosen])
            taken = self._taken(live, kept(order, content.set_bytes), len(order))
            durations.append(taken)
            numbers.append(np.array(chosen)[order][: len(taken)])
        return _counted(content.samples_timed(), np.concatenate(durations), np.concatenate(numbers))

    def _taken(self, live: Deployment, feed: Feed, count: int) -> Array:
        durations, said = live.measure(feed, count, self._time_limit_s)
        # The guest's clock goes by its instructions, not by time: the host's says nothing of it.
        call = replace(live.last_call, host_s=math.inf)
        budget_s = self._time_limit_s
        if reason := plausibility.of_durations(durations, said, call, asked=count, budget_s=budget_s):
            raise ImpossibleReport(reason, where=live.where)
        return durations

    def _fitting(self, live: Deployment, sets: Sequence[Arrays]) -> int:
        """How many are counted, after so many that are not."""
        for index in range(UNCOUNTED):
            before, start = live.device_time.seconds, time.monotonic()
            live.infer([sets[index % len(sets)]])
            host_s = time.monotonic() - start
            instructions = (live.device_time.seconds - before) * 1e9 / 2**ICOUNT_SHIFT
        # The budget that the guest is given goes by its own clock, which is slow: ours is kept by the number.
        fitting = (one for one in SAMPLES if one * instructions <= WORTH and one * host_s <= self._time_limit_s)
        return next(fitting, SAMPLES[-1])

    @staticmethod
    def _operators(live: Deployment, sets: Sequence[Arrays], notes: list[str]) -> list[dict[str, Any]]:
        """A profiler that fails costs its own answer, and not the count."""
        try:
            return live.profile(sets, PROFILED)
        except DeploymentError as error:
            notes.append(f"instructions could not be counted by operator: {error.what}; {error.found}")
            return []


def _counted(empty: Timed, durations: Array, numbers: Array) -> Timed:
    blocks, wanted = [durations // 2**ICOUNT_SHIFT], len(durations)
    return replace(empty, blocks=blocks, numbers=[numbers], wanted=wanted, unit=1)


def _shares(operators: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Each with its share of all of them, the largest first."""
    total = sum(one["ns"] for one in operators) or 1
    shared = [
        {**{key: one[key] for key in ("operator", "name", "calls")}, "share": one["ns"] / total} for one in operators
    ]
    return sorted(shared, key=lambda one: -one["share"])
