"""One process's closed loop: warmed up, then timed, in calls that each last a while, on one content after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ..agent.frames import Frame
from ..deploy import plausibility
from ..deploy.call import Call, host_clock
from ..deploy.content import Content, Timed
from ..deploy.deployment import Deployment, LoadReport
from ..deploy.feed import Feed, fill_bytes, kept, spread
from ..errors import ImpossibleReport, LinkLost
from ..model.model import Array

# A call to the agent lasts about so long: progress is seen, and a link that drops loses little.
BLOCK_S = 2.0
# An inference that takes longer has no untimed one before it: SHORT_NS of harness.agent.ring, and short_ns in ring.cpp.
SHORT_S = 0.25
# Of inputs that the host makes so many are taken in turn to warm up, at most.
WARM_UP_SETS = 64


class Source(Protocol):
    """Where processes come from: a Deployer."""

    def fresh(self) -> tuple[Deployment, LoadReport]:
        """A new process, loaded."""

    def result_name(self) -> str:
        """A name under which an agent keeps a reply that may be lost."""

    def collect(self, name: str) -> Frame | None:
        """What was kept under it, once the connection has dropped."""


@dataclass
class ClosedLoop:
    """The closed loop of one process. What it takes goes to the last block of each Timed.

    Attributes:
        report: called after each call to the device.
        states: of each call, the device's state "before" and "after" it.
        calls: those that timed, by both clocks; none that went over a link that was lost meanwhile.
    """

    deployment: Deployment
    source: Source
    content: Content
    report: Callable[[], None]
    states: list[Mapping[str, Any]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    _sent: int = 0  # inputs that the host made, and what it took
    _sent_s: float = 0.0
    _median_s: float = 0.0  # of an inference on the spread ones, when it was warm

    def begin(self, contents: Sequence[Timed]) -> None:
        """A new block of each, empty yet."""
        for timed in contents:
            timed.blocks.append(np.empty(0, np.int64))
            timed.numbers.append(np.empty(0, np.int64))

    def warm_up(self, timed: Timed, budget_s: float) -> Mapping[str, Any]:
        """Infer until it no longer gets faster; sets the pace where there is none yet.

        Raises:
            ImpossibleReport: what the device says of it cannot be true.
        """
        if timed.given:
            chosen, order = next(self.content.portions(self.content.sequence(0, timed.given)))
            self._keep(chosen)
            feed, share = kept(order, self.content.set_bytes), self.content.sample_ring_share()
        else:
            feed, share = self._spread_warm_up(), self.content.ring_share()
        sending_s = self._sent_s / max(self._sent, 1) if not timed.given else 0.0
        warm_up = self.deployment.warm_up(feed, budget_s)
        self._refuse(plausibility.of_warm_up(warm_up, self.deployment.last_call, budget_s))
        median_s = warm_up["median_ns"] / 1e9
        untimed_s = median_s * share if median_s < SHORT_S else 0.0
        self._median_s = self._median_s if timed.given else median_s
        timed.pace_s = timed.pace_s or max(median_s + untimed_s + warm_up["making_ns"] / 1e9 + sending_s, 1e-9)
        return warm_up

    def _spread_warm_up(self) -> Feed:
        if self.content.prepare is None:
            return spread(self.content.fills, 0)
        count = min(self.content.made_at_a_time, WARM_UP_SETS)
        self._send_made(0, count)
        return kept(range(count), fill_bytes(self.content.fills))

    def _send_made(self, block: int, count: int) -> float:
        """Have the device keep inputs that the host has made; returns what that took, in seconds."""
        began = time.monotonic()
        self.deployment.keep(self.content.made(block, count))
        took = time.monotonic() - began
        self._sent, self._sent_s = self._sent + count, self._sent_s + took
        return took

    def take(self, timed: Timed, quota: int, budget_s: float) -> None:
        """Time so many inferences, or as many as the budget allows, but never none.

        Raises:
            LinkLost: what the device kept is there all the same.
            ImpossibleReport: what the device says of them cannot be true.
        """
        end = time.monotonic() + budget_s
        if quota and timed.given:
            self._take_samples(timed, quota, end)
        elif quota and self.content.prepare is not None:
            self._take_made(timed, quota, end)
        elif quota:
            self._take_spread(timed, quota, end)

    def _take_spread(self, timed: Timed, quota: int, end: float) -> None:
        taken = 0
        while taken < quota and (not taken or time.monotonic() < end):
            done = timed.count
            count = min(self._step(timed), quota - taken)
            feed = spread(self.content.fills, timed.next_block)
            timed.next_block += self.content.blocks_of(count)  # where the call ends early, some are never used
            taken += self._call(timed, feed, np.arange(done, done + count), end)

    def _take_made(self, timed: Timed, quota: int, end: float) -> None:
        """As _take_spread, of inputs that the host makes; what making and sending them takes counts in the pace."""
        taken = 0
        while taken < quota and (not taken or time.monotonic() < end):
            done = timed.count
            # By what the device takes: a call's own cost, to the model's process and back, is shared by many.
            step = max(int(BLOCK_S / max(self._median_s, 1e-9)), 1)
            count = min(step, quota - taken, self.content.made_at_a_time)
            timed.spent_s += self._send_made(timed.next_block, count)
            timed.next_block += 1
            feed = kept(range(count), fill_bytes(self.content.fills))
            taken += self._call(timed, feed, np.arange(done, done + count), end)

    def _take_samples(self, timed: Timed, quota: int, end: float) -> None:
        began = timed.count
        for chosen, order in self.content.portions(self.content.sequence(began, quota)):
            if timed.count > began and time.monotonic() >= end:
                return
            self._keep(chosen)
            numbers = np.array(chosen, np.int64)[order]
            taken = 0
            while taken < len(order) and (timed.count == began or time.monotonic() < end):
                part = order[taken : taken + self._step(timed)]
                feed = kept(part, self.content.set_bytes)
                taken += self._call(timed, feed, numbers[taken : taken + len(part)], end)

    def _keep(self, chosen: Sequence[int]) -> None:
        self.deployment.keep([self.content.samples[number] for number in chosen])

    @staticmethod
    def _step(timed: Timed) -> int:
        return max(int(BLOCK_S / timed.pace_s), 1)

    def _call(self, timed: Timed, feed: Feed, numbers: Array, end: float) -> int:
        """Returns how many were timed."""
        name = self.source.result_name()
        budget_s, began = max(end - time.monotonic(), 0.0), host_clock()
        try:
            durations, said = self.deployment.measure(feed, len(numbers), budget_s, name)
        except LinkLost:
            if (frame := self.source.collect(name)) is not None:
                durations, said = self.deployment.measured(frame)
                with_outage = Call(host_clock() - began, said.get("elapsed_ns"))
                self._note(timed, durations, said, numbers, call=with_outage, budget_s=budget_s)
            raise
        self._note(timed, durations, said, numbers, call=self.deployment.last_call, budget_s=budget_s)
        self.calls.append(self.deployment.last_call)
        return len(durations)

    def _refuse(self, reason: str) -> None:
        if reason:
            raise ImpossibleReport(reason, where=self.deployment.where)

    def _note(
        self, timed: Timed, durations: Array, said: Mapping[str, Any], numbers: Array, *, call: Call, budget_s: float
    ) -> None:
        asked = len(numbers)
        self._refuse(plausibility.of_durations(durations, said, call, asked=asked, budget_s=budget_s))
        timed.blocks[-1] = np.concatenate([timed.blocks[-1], durations])
        timed.numbers[-1] = np.concatenate([timed.numbers[-1], numbers[: len(durations)]])
        timed.spent_s += said["elapsed_ns"] / 1e9
        timed.pace_s = max(timed.spent_s / timed.count, 1e-9)
        self.states.append(said)
        self.report()
