"""The closed loop of one process: warmed up, then timed on one content after the other, in calls of a few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ..agent.frames import Frame
from ..deploy import plausibility
from ..deploy.call import Call, host_clock
from ..deploy.content import BLOCK, Content, Request, Timed
from ..deploy.deployment import Deployment, LoadReport
from ..deploy.failed_calls import codes_of
from ..deploy.feed import Feed, fill_bytes, kept, kept_with_spare, spread
from ..errors import ImpossibleReport, LinkLost
from ..model.model import Array
from .memory_series import MemorySeries

# How long a call to the agent lasts: short enough to show progress, and to lose little when the link drops.
BLOCK_S = 2.0
# An inference that takes longer has no untimed one before it: SHORT_NS in harness.agent.ring, short_ns in ring.cpp.
SHORT_S = 0.25
# How many inputs the host makes for the warm-up, at most; they are taken in turn.
WARM_UP_SETS = 64
# In place of the number of an input whose duration does not count (see kept_with_spare).
SPARE = -1


class Source(Protocol):
    """Where loaded processes come from: a Deployer."""

    def fresh(self) -> tuple[Deployment, LoadReport]:
        """Start a new process and load the artifact in it."""

    def result_name(self) -> str:
        """Return a new name under which the agent keeps its reply, in case the connection drops."""

    def collect(self, name: str) -> Frame | None:
        """Fetch the reply that was kept under a name, after the connection dropped; None if there is none."""


@dataclass(kw_only=True)
class ClosedLoop:
    """The closed loop of one process. Durations are appended to the last block of each Timed.

    Attributes:
        deployment: The process.
        source: Where it came from, and where replies are collected if the connection drops.
        content: The inputs.
        report: Called after each call to the device.
        states: The device's state "before" and "after" each call.
        calls: The calls that timed inferences, by both clocks; without those whose link was lost.
        series: The process's anonymous memory between inferences.
        board_mib: The device's memory in MiB, if it is known.
        is_timed: Whether durations are to be believed, and so must be possible; else the device infers for its memory,
            and its clock may be an emulated one.
        timeout_ms: After how long a call to another computer fails, in milliseconds; None of a backend that makes none.
            A request to the device then ends after BLOCK_S, whatever its calls take: where they fail, that is longer.
    """

    deployment: Deployment
    source: Source
    content: Content
    report: Callable[[], None]
    states: list[Mapping[str, Any]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    series: MemorySeries = field(default_factory=MemorySeries)
    board_mib: float | None = None
    is_timed: bool = True
    timeout_ms: float | None = None
    _sent: int = 0  # how many inputs the host made and sent
    _sent_s: float = 0.0  # how long that took
    _median_s: float = 0.0  # of a warm inference on the spread inputs

    def begin(self, contents: Sequence[Timed]) -> None:
        """Start a new, empty block of durations in each content."""
        for timed in contents:
            timed.processes.append(np.empty(0, np.int64))
            timed.block_sizes.append(1)
            timed.numbers.append(np.empty(0, np.int64))
            timed.codes.append(np.empty(0, np.uint8))
            timed.first_parts.append(np.empty(0, np.int64))
            timed.sides.append(np.empty(0, np.int64))
            if self.timeout_ms is not None:
                timed.requests.append([])

    def warm_up(self, timed: Timed, budget_s: float) -> Mapping[str, Any]:
        """Infer until inference no longer gets faster, and set the content's pace if it has none yet.

        Args:
            timed: The content on whose inputs to infer.
            budget_s: How long the warm-up may take, in seconds.

        Returns:
            The agent's report of the warm-up.

        Raises:
            ImpossibleReport: What the device reports cannot be true.
        """
        if timed.given:
            chosen, order = next(self.content.portions(self.content.sequence(0, timed.given)))
            self._keep(chosen)
            feed, share = kept(order, self.content.set_bytes), self.content.sample_ring_share()
        else:
            feed, share = self._spread_warm_up(), self.content.ring_share()
        sending_s = self._sent_s / max(self._sent, 1) if not timed.given else 0.0
        warm_up = self.deployment.warm_up(feed, budget_s)
        self._refuse(plausibility.why_warm_up_impossible(warm_up, self.deployment.last_call, budget_s, self.timeout_ms))
        median_s = warm_up["median_ns"] / 1e9
        untimed_s = median_s * share if median_s < SHORT_S else 0.0
        self._median_s = self._median_s if timed.given else median_s
        timed.pace_s = timed.pace_s or max(median_s + untimed_s + warm_up["making_ns"] / 1e9 + sending_s, 1e-9)
        return warm_up

    def _spread_warm_up(self) -> Feed:
        if not self.content.is_made:
            return spread(self.content.fills, 0)
        count = min(self.content.made_at_a_time, WARM_UP_SETS)
        self._send_made(0, count)
        return kept(range(count), fill_bytes(self.content.fills))

    def _send_made(self, first: int, count: int) -> float:
        """Make inputs on the host and have the device keep them; return how long that took, in seconds."""
        start = time.monotonic()
        spare = self.content.made(self._sent % BLOCK, 1) if self.content.drawn is not None else []
        self.deployment.keep([*self.content.made(first, count), *spare])
        elapsed_s = time.monotonic() - start
        self._sent, self._sent_s = self._sent + count, self._sent_s + elapsed_s
        return elapsed_s

    def take(self, timed: Timed, quota: int, budget_s: float, is_enough: Callable[[], bool] = lambda: False) -> None:
        """Time ``quota`` inferences, or as many as the budget allows, and at least one.

        Args:
            timed: The content on whose inputs to infer; its last block gains the durations.
            quota: How many inferences to time.
            budget_s: How long they may take, in seconds.
            is_enough: Asked between two calls to the device: whether what was timed will do, before the quota is full.

        Raises:
            LinkLost: The connection dropped; what the device had timed until then has been collected.
            ImpossibleReport: What the device reports cannot be true.
        """
        end = time.monotonic() + budget_s

        def goes_on() -> bool:
            return time.monotonic() < end and not is_enough()

        if quota and timed.given:
            self._take_samples(timed, quota, end, goes_on)
        elif quota and self.content.is_made:
            self._take_made(timed, quota, end, goes_on)
        elif quota:
            self._take_spread(timed, quota, end, goes_on)

    def _take_spread(self, timed: Timed, quota: int, end: float, goes_on: Callable[[], bool]) -> None:
        taken = 0
        while taken < quota and (not taken or goes_on()):
            done = timed.count
            count = min(self._step(timed), quota - taken)
            feed = spread(self.content.fills, timed.next_block)
            timed.next_block += self.content.blocks_of(count)  # where the call ends early, some are never used
            taken += self._call(timed, feed, np.arange(done, done + count), end)

    def _take_made(self, timed: Timed, quota: int, end: float, goes_on: Callable[[], bool]) -> None:
        """Time inferences on inputs that the host makes; making and sending them counts in the pace."""
        taken = 0
        while taken < quota and (not taken or goes_on()):
            # As many as the device infers in BLOCK_S: they share a call's cost, to the model's process and back.
            step = max(int(BLOCK_S / max(self._median_s, 1e-9)), 1)
            count = min(step, quota - taken, self.content.made_at_a_time)
            # The same inputs for all backends, however many go into a call.
            first = timed.next_block * BLOCK + timed.count
            timed.spent_s += self._send_made(first, count)
            feed = self._made_feed(count)
            order = np.array(feed.header["kept"], np.int64)
            taken += self._call(timed, feed, np.where(order < count, first + order, SPARE), end)

    def _made_feed(self, count: int) -> Feed:
        """Make the feed of ``count`` inputs that were made and sent; of drawn sizes there is one more."""
        size = fill_bytes(self.content.fills)
        if self.content.drawn is None:
            return kept(range(count), size)
        return kept_with_spare(count, size, each=self._median_s < SHORT_S)

    def _take_samples(self, timed: Timed, quota: int, end: float, goes_on: Callable[[], bool]) -> None:
        first, ran = timed.count, sum(map(len, timed.ran))
        for chosen, order in self.content.portions(self.content.sequence(ran, quota)):
            if timed.count > first and not goes_on():
                return
            self._keep(chosen)
            numbers = np.array(chosen, np.int64)[order]
            taken = 0
            while taken < len(order) and (timed.count == first or goes_on()):
                part, before = order[taken : taken + self._step(timed)], len(timed.ran[-1])
                feed = kept(part, self.content.set_bytes)
                self._call(timed, feed, numbers[taken : taken + len(part)], end)
                taken += len(timed.ran[-1]) - before  # a release that was dropped has taken no sample

    def _keep(self, chosen: Sequence[int]) -> None:
        self.deployment.keep([self.content.samples[number] for number in chosen])

    @staticmethod
    def _step(timed: Timed) -> int:
        return max(int(BLOCK_S / timed.pace_s), 1)

    def _call(self, timed: Timed, feed: Feed, numbers: Array, end: float) -> int:
        """Make one call to the device; return how many inferences it timed that count.

        Args:
            timed: The content that gains the durations.
            feed: The inputs.
            numbers: The inputs' numbers in the content, int64[n]; SPARE of those that do not count.
            end: When to stop, by the monotonic clock.
        """
        name = self.source.result_name()
        budget_s, start = max(end - time.monotonic(), 0.0), host_clock()
        if self.timeout_ms is not None:
            budget_s = min(budget_s, BLOCK_S)
        try:
            durations, reply = self._ask(timed, feed, len(numbers), budget_s, name)
        except LinkLost:
            if (frame := self.source.collect(name)) is not None:
                durations, reply = self.deployment.measured(frame)
                with_outage = Call(host_clock() - start, reply.get("elapsed_ns"))
                self._record(timed, durations, reply, numbers, call=with_outage, budget_s=budget_s)
            raise
        self._record(timed, durations, reply, numbers, call=self.deployment.last_call, budget_s=budget_s)
        self.calls.append(self.deployment.last_call)
        return int(np.count_nonzero(numbers[: len(durations)] != SPARE))

    def _ask(self, timed: Timed, feed: Feed, count: int, budget_s: float, name: str) -> tuple[Array, dict[str, Any]]:
        return self.deployment.measure(feed, count, budget_s, name)

    def _refuse(self, reason: str) -> None:
        if reason and self.is_timed:
            raise ImpossibleReport(reason, where=self.deployment.where)

    def _record(
        self, timed: Timed, durations: Array, reply: Mapping[str, Any], numbers: Array, *, call: Call, budget_s: float
    ) -> None:
        """Check the durations of one call, and add them to the content."""
        limits: dict[str, Any] = {"asked": len(numbers), "budget_s": budget_s, "timeout_ms": self.timeout_ms}
        self._refuse(plausibility.why_durations_impossible(durations, reply, call, **limits))
        numbers, codes = numbers[: len(durations)], codes_of(reply, len(durations))
        values = np.where(codes > 0, np.inf, durations) if codes.any() else durations
        is_timed = numbers != SPARE
        parts = values[is_timed], numbers[is_timed], codes[is_timed]
        timed.add_noted(reply, is_timed)
        self._add(timed, *parts, reply, inferences=len(durations))

    def _add(
        self, timed: Timed, values: Array, numbers: Array, codes: Array, reply: Mapping[str, Any], *, inferences: int
    ) -> None:
        timed.processes[-1] = np.concatenate([timed.processes[-1], values])
        timed.numbers[-1] = np.concatenate([timed.numbers[-1], numbers])
        timed.codes[-1] = np.concatenate([timed.codes[-1], codes])
        if self.timeout_ms is not None:
            failed, spent_ns = int(np.count_nonzero(codes)), int(reply.get("failed_ns") or 0)
            timed.requests[-1].append(Request(len(values), failed, int(reply["elapsed_ns"]), spent_ns))
        timed.spent_s += reply["elapsed_ns"] / 1e9
        timed.pace_s = max(timed.spent_s / timed.count, 1e-9)
        self.states.append(reply)
        # The model file's samples come again and again; their inferences count, but show nothing of new inputs.
        self.series.add(reply, inferences, are_new=not timed.given, board_mib=self.board_mib)
        self.report()
