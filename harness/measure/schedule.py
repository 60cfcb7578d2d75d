"""The schedule of a measurement: which process is next, how much it takes of each content, and when to stop.

There are three processes, and more where a limit is not decided by then: until every limit is, or the time is up.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ..checks.quantiles import samples_for_proportion, samples_needed
from ..deploy.content import Content, Timed
from ..deploy.deployment import Deployment
from ..errors import ImpossibleReport, LinkLost, RemoteError
from .account import size_after, size_of_block
from .closed_loop import ClosedLoop, Source
from .measurement import DURATIONS, PROCESSES, Measurement
from .paced_loop import PacedLoop
from .tails import Standing

# How many inferences are timed where no limit asks for more (docs/measuring.md, "How many samples"): …
ENOUGH = samples_needed(0.99)
# … within ten seconds, …
GOOD, GOOD_S = 1000, 10.0
# … of a fast model as many as three seconds allow: disturbances come by time, not by count; …
MANY, MANY_S = 20_000, 3.0
# … on the model file's samples as many as one second allows: each a few times, so that the median of a sample's
# durations ignores single disturbances.
MANY_SAMPLES, MANY_SAMPLES_S = 5_000, 1.0
TIMES = 3
# Calls to another computer are made for so many seconds at least, over all processes: a link's bad moments come in
# bursts, and a second of calls sees none of them. Where a limit on availability takes more calls, it is as long as
# these take, and some of them may fail: this many times as many as it takes where none does.
REMOTE_S, SOME_FAIL = 60.0, 2.0
# The share of the time that warm-ups may take.
WARM_UP_SHARE = 0.1
# Each of the first processes takes at least this share of what those before it took: a limit is kept by three
# processes, each with a quarter of the blocks (harness.checks.blocks) …
ALIKE = 0.7
# … and each later one at most so many times the mean of those before it, for the same reason.
GROWS = 2.0
# A process that is begun late may take so much longer to start than the others on average.
START_SPARE = 1.25
# How many dropped connections are made up for by another process.
LOST_ALLOWED = 2


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far sampling has come.

    Attributes:
        done: Inferences timed.
        wanted: Inferences that will be timed, at the share of slow ones seen so far.
        left_s: How long those that are left take, in seconds; infinite if they would decide nothing.
        still_open: What is not decided yet: "p99: 212 of about 515 blocks"; "" if everything is, or nothing is asked.
    """

    done: int
    wanted: int
    left_s: float
    still_open: str = ""


Report = Callable[[Progress], None]


@dataclass(kw_only=True)
class Schedule:
    """The sampling of one cell: which process is next, and how much it takes.

    Attributes:
        measured: Gains what the processes show.
        source: Starts and loads them.
        content: The inputs.
        report: See take_samples.
        end: When to stop, by the monotonic clock.
        at_least: How many inferences are timed on each content whatever the limits take.
        board_mib: The device's memory in MiB, if it is known.
        availability_min: The limit on the share of calls that are answered; None without one.
        remote_s: For so long at least calls to another computer are made.
        starts_s: How long each process took to start, load and warm up.
    """

    measured: Measurement
    source: Source
    content: Content
    report: Report
    end: float
    at_least: int
    board_mib: float | None = None
    availability_min: float | None = None
    remote_s: float = REMOTE_S
    starts_s: list[float] = field(default_factory=list)

    def run(self) -> None:
        """Use one process after the other, until nothing is open or the time is up."""
        measured = self.measured
        while self._takes_another():
            try:
                self._use_process()
            except ImpossibleReport as error:
                measured.refuse(DURATIONS, error.what)
                return
            except (LinkLost, RemoteError) as error:
                reasons = measured.lost if isinstance(error, LinkLost) else measured.unreached
                reasons.append(" ".join(filter(None, [error.what, error.found.partition("\n")[0]])))
                if len(reasons) > LOST_ALLOWED:
                    if not measured.count:
                        raise
                    return

    def _takes_another(self) -> bool:
        measured, left_s = self.measured, self.end - time.monotonic()
        if not measured.loads:
            return True
        if len(measured.memory_peak_kib) < PROCESSES:
            return left_s > 0
        start_s = START_SPARE * statistics.mean(self.starts_s) if self.starts_s else 0.0
        return left_s > start_s and any(map(self._is_open, measured.contents))

    @property
    def _to_come(self) -> int:
        """How many processes share the time that is left, this one included."""
        return max(PROCESSES - len(self.measured.memory_peak_kib), 1)

    def _use_process(self) -> None:
        """Start one process, and measure with it."""
        measured, began = self.measured, time.monotonic()
        deployment, load = self.source.fresh()
        with deployment:
            measured.loads.append(load)
            is_first = len(measured.loads) == 1
            if is_first:  # announce beforehand how long it will take
                first_s = self._release_s(load.first_ns / 1e9)
                needed = self._least_inferences({timed.name: first_s for timed in measured.contents})
                self._announce(needed, needed[measured.uniform.name] * first_s)
            loop = self._loop(deployment)
            loop.begin(measured.contents)
            try:
                self._warm_up(loop, is_first=is_first)
                if isinstance(loop, PacedLoop) and measured.closed_p50_ms is None:
                    measured.closed_p50_ms = loop.closed_p50_ms(measured.uniform)
                self.starts_s.append(time.monotonic() - began)
                self._time_contents(loop)
            finally:
                self._keep_account(loop, deployment)
            measured.memory_peak_kib.append(deployment.memory_kib()["peak"])
            measured.idle_s.append(deployment.last_call.host_s)
            measured.memory_steps_kib.append(load.memory_kib)

    def _loop(self, deployment: Deployment) -> ClosedLoop:
        each: dict[str, Any] = {"deployment": deployment, "source": self.source, "content": self.content}
        each |= {"report": self._report_progress, "board_mib": self.board_mib}
        clock = self.measured.clock
        each["timeout_ms"] = self.measured.timeout_ms
        return ClosedLoop(**each) if clock is None else PacedLoop(**each, clock=clock)

    def _release_s(self, inference_s: float) -> float:
        """Return the time from one inference to the next, where one takes so many seconds."""
        clock = self.measured.clock
        return inference_s if clock is None else clock.paced_s(inference_s)

    def _keep_account(self, loop: ClosedLoop, deployment: Deployment) -> None:
        measured = self.measured
        if loop.states:
            measured.states.append((loop.states[0]["before"], loop.states[-1]["after"]))
        measured.written = tuple(dict.fromkeys([*measured.written, *deployment.written]))
        measured.calls += loop.calls
        measured.add_series(loop.series)

    def _warm_up(self, loop: ClosedLoop, *, is_first: bool) -> None:
        measured = self.measured
        share_s = max(self.end - time.monotonic(), 0.1) / self._to_come
        for timed in measured.contents:
            warm_up = loop.warm_up(timed, share_s * PROCESSES * WARM_UP_SHARE)
            measured.warm_ups.append(warm_up)
            timed.block_sizes[-1] = size_after(warm_up, measured.block_ms, measured.clock) or 1
            timed.wanted = timed.wanted or _wanted(timed, self.at_least)
        if measured.is_remote and not measured.planned_s:
            measured.planned_s = self._planned_s()
        if is_first:
            needed = self._least_inferences({timed.name: timed.pace_s for timed in measured.contents})
            self._announce(needed, measured.expected_s(needed))

    def _planned_s(self) -> float:
        """Fix for how long calls are made in all, before the first that counts: no failed call may decide of that.

        What does not fit into the time that is left is not planned.
        """
        pace_s = statistics.mean(timed.pace_s for timed in self.measured.contents)
        least = self.availability_min
        calls = SOME_FAIL * samples_for_proportion(1 - least) if least is not None and 0 < least < 1 else 0.0
        return min(max(self.remote_s, calls * pace_s), max(self.end - time.monotonic(), 0.0))

    def _least_inferences(self, inference_s: dict[str, float]) -> dict[str, float]:
        """Count the inferences on each content that decide every limit if none is slow, by what one takes."""
        tails = self.measured.tails

        def needed(seconds: float) -> float:
            size = self._block_size(seconds)
            blocks = [Standing(timed=Timed(name=""), tail=tail).blocks_to_come() for tail in tails]
            decide = max([each * size for each in blocks if math.isfinite(each)], default=self.at_least)
            return max(decide, self._span_s * PROCESSES / seconds)

        return {name: needed(seconds) for name, seconds in inference_s.items()}

    def _block_size(self, inference_s: float) -> int:
        return size_of_block(inference_s, self.measured.block_ms, self.measured.clock)

    def _announce(self, needed: dict[str, float], seconds: float) -> None:
        names = ", ".join(tail.name for tail in self.measured.tails)
        self.report(Progress(done=0, wanted=int(sum(needed.values())), left_s=seconds, still_open=names))

    def _time_contents(self, loop: ClosedLoop) -> None:
        """Time this process's part of each content; the contents share its time in proportion to what each needs."""
        contents = self.measured.contents
        started = {timed.name: timed.count for timed in contents}
        end = time.monotonic() + max((self.end - time.monotonic()) / self._to_come, 0.0)
        for index, timed in enumerate(contents):
            parts = [self._part(each, started[each.name]) for each in contents[index:]]
            left_s = max(end - time.monotonic(), 0.0)
            needed_s = [min(part * each.pace_s, left_s) for part, each in zip(parts, contents[index:], strict=True)]
            stop = time.monotonic() + left_s * needed_s[0] / max(sum(needed_s), 1e-9)
            while (quota := self._missing(timed, started[timed.name])) and (
                timed.count == started[timed.name] or time.monotonic() < stop
            ):
                loop.take(
                    timed,
                    quota,
                    max(stop - time.monotonic(), 0.0),
                    is_enough=partial(self._has_part, timed, started[timed.name]),
                )

    def _missing(self, timed: Timed, started: int) -> int:
        """Return how many more inferences this process takes on a content; as many as fit, where no number decides."""
        part = self._part(timed, started) - (timed.count - started)
        fitting = max(self.end - time.monotonic(), 0.0) / timed.pace_s + 1
        return max(math.ceil(min(part, fitting)), 0)

    def _has_part(self, timed: Timed, started: int) -> bool:
        return not self._missing(timed, started)

    @property
    def _span_s(self) -> float:
        """For how long each of the first processes makes calls on each content; 0 where inferences are no calls."""
        return self.measured.planned_s / PROCESSES / len(self.measured.contents)

    def _part(self, timed: Timed, started: int) -> float:
        """Return how many inferences this process takes of a content: what limits take of it, and what time does."""
        part = self._part_by_count(timed, started)
        if not self._span_s or len(self.measured.memory_peak_kib) >= PROCESSES:
            return part
        spent_s = sum(request.elapsed_ns for request in timed.requests[-1]) / 1e9
        return max(part, timed.count - started + max(self._span_s - spent_s, 0.0) / timed.pace_s)

    def _part_by_count(self, timed: Timed, started: int) -> float:
        """Return how many inferences this process takes of a content: its part of what would decide every limit.

        Args:
            timed: The content.
            started: How many were timed before this process.
        """
        earlier = [len(durations) for durations in timed.processes[:-1] if len(durations)]
        mean = statistics.mean(earlier) if earlier else 0.0
        to_come = (
            max(standing.inferences_to_come() for standing in self._standings(timed)) if self.measured.tails else 0
        )
        target = max(timed.wanted, timed.count + to_come) - started
        if len(self.measured.memory_peak_kib) < PROCESSES:
            least = ALIKE * mean if self._may_be_kept(timed) else 0.0
            part = max(target / self._to_come, least, 1.0)
            return min(part, GROWS * mean) if mean and self._is_open(timed) else part
        if not self._is_open(timed):
            return 0.0
        return min(target if to_come else mean, GROWS * mean)

    def _standings(self, timed: Timed) -> list[Standing]:
        contents = len(self.measured.contents)
        return [Standing(timed=timed, tail=tail, contents=contents) for tail in self.measured.tails]

    def _is_open(self, timed: Timed) -> bool:
        return any(not standing.is_settled for standing in self._standings(timed))

    def _may_be_kept(self, timed: Timed) -> bool:
        return any(not standing.is_broken for standing in self._standings(timed))

    def _report_progress(self) -> None:
        measured = self.measured
        to_come, still_open = {timed.name: 0.0 for timed in measured.contents}, list[str]()
        for timed in measured.contents:
            spent_s = sum(request.elapsed_ns for process in timed.requests for request in process) / 1e9
            by_time = max(self._span_s * PROCESSES - spent_s, 0.0) / timed.pace_s
            to_come[timed.name] = max(timed.wanted - timed.count, by_time, 0)
            for standing in self._standings(timed):
                more = standing.inferences_to_come()
                to_come[timed.name] = max(to_come[timed.name], more)
                if not standing.is_settled:
                    still_open.append(_describe_open(standing))
        left_s = sum(to_come[timed.name] * timed.pace_s for timed in measured.contents)
        wanted = measured.count + sum(int(more) for more in to_come.values() if math.isfinite(more))
        self.report(
            Progress(done=measured.count, wanted=wanted, left_s=left_s, still_open=", ".join(dict.fromkeys(still_open)))
        )


def _describe_open(standing: Standing) -> str:
    """Describe what is not decided yet: "p99: 212 of about 515 blocks"."""
    more = standing.blocks_to_come()
    if math.isinf(more):
        return f"{standing.tail.name}: {standing.blocks.count} blocks, too near to the limit to say how many it takes"
    return f"{standing.tail.name}: {standing.blocks.count} of about {standing.blocks.count + more:.0f} blocks"


def _wanted(timed: Timed, at_least: int) -> int:
    """Decide how many inferences to time on a content whatever the limits take, from what one takes."""
    pace_s = max(timed.pace_s, 1e-9)
    if timed.given:  # each of the file's samples TIMES times, if GOOD_S allows it
        repeated = max(GOOD, TIMES * timed.given)
        return max(at_least, min(repeated, int(GOOD_S / pace_s)), min(MANY_SAMPLES, int(MANY_SAMPLES_S / pace_s)))
    return max(at_least, min(GOOD, int(GOOD_S / pace_s)), min(MANY, int(MANY_S / pace_s)))
