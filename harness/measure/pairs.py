"""Pairs of fresh processes of two builds on one device, in the order ABBA, both timed on the same inputs.

How many pairs there are, and how many inferences each process times, is fixed before the first pair that counts, from
two processes that are thrown away. So no ratio decides how many ratios there are (checks.paired).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from ..deploy.content import Content, Timed
from ..errors import DeploymentError, ImpossibleReport, LinkLost
from .closed_loop import BLOCK_S, ClosedLoop, Source
from .measurement import DURATIONS, Measurement

# Fewer pairs are no interval to speak of, more narrow it hardly: 20 find 6 % where 3 are allowed in 99 of 100 runs.
FEWEST, MOST = 5, 20
# For so long each content is timed in a process, by the pace of the slower build, and at least and at most so often:
# two processes of one program differ by more than a longer look at each would tell. The interval holds for any number.
TIMED_S, TIMED_LEAST, TIMED_MOST = 0.5, 5, 5000
# The share of the time that is planned for: processes start slower at times, and pairs are repeated. A run of too few
# pairs is thrown away, for the clock may not decide how many count.
PLANNED_SHARE = 0.6
# The share of the time that the warm-up of one process may take at most: there are ten of them or more.
WARM_UP_SHARE = 0.05
# How many pairs are repeated because the connection dropped.
LOST_ALLOWED = 2


class Build(Source, Protocol):
    """One of the two builds: a Deployer."""

    def close(self) -> None:
        """End the live process, if there is one."""

    def failures_kept(self, *, at_measured_sizes: bool = False) -> AbstractContextManager[None]:
        """Let a DeploymentError of a block end the build."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is done, fixed beforehand.

    Attributes:
        pairs: How many pairs; 0 where the time does not do for FEWEST.
        inferences: How many inferences each process times on each content.
        step: How many of them are one call to the device; alike for both builds, so that their inputs are.
        expected_s: How long all of it takes, in seconds; where ``pairs`` is 0, the time limit that would do.
    """

    pairs: int
    inferences: int
    step: int
    expected_s: float


@dataclass(kw_only=True)
class Pairs:
    """What the pairs showed.

    Attributes:
        plan: What was fixed beforehand; None where it did not come to that.
        done: The pairs that count, each (other build, this build): one process each.
        lost: Why pairs were dropped and repeated.
        open: Why there are not as many pairs as were fixed; "" where there are.
        impossible: Why a report of the device cannot be true; "" where none is known to be.
    """

    plan: Plan | None = None
    done: list[tuple[Measurement, Measurement]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    open: str = ""
    impossible: str = ""


Report = Callable[[int, Plan], None]


class _OtherFailed(Exception):
    """The other build cannot be run, which says nothing of this one."""


class _Dropped(Exception):
    """A pair does not count, and is taken again."""


def take_pairs(other: Build, build: Build, content: Content, time_limit_s: float, report: Report) -> Pairs:
    """Time two builds in pairs of fresh processes: other, this; this, other; and so on.

    Args:
        other: The build to compare with.
        build: The build that is judged.
        content: The inputs of both.
        time_limit_s: The time for all of it, in seconds.
        report: Called with (pairs done, the plan) before the first pair and after each.

    Raises:
        DeploymentError: The build that is judged cannot be run.
        LinkError: The device cannot be reached any more.
    """
    taking = _Taking(
        other=other, build=build, content=content, end=time.monotonic() + time_limit_s, limit_s=time_limit_s
    )
    pairs = Pairs()
    try:
        taking.take(pairs, report)
    except _OtherFailed as error:
        pairs.open = str(error)
    except _Dropped:
        pairs.open = f"{len(pairs.lost)} pairs were dropped, the last because {pairs.lost[-1]}"
    except ImpossibleReport as error:
        pairs.impossible = error.what
    finally:
        other.close()
        build.close()
    return pairs


@dataclass(kw_only=True)
class _Taking:
    """The taking of pairs.

    Attributes:
        end: When the time is up, by the monotonic clock.
    """

    other: Build
    build: Build
    content: Content
    end: float
    limit_s: float

    def take(self, pairs: Pairs, report: Report) -> None:
        """Take two processes that do not count, fix the plan, and take its pairs."""
        plan = self._plan(pairs)
        if plan.pairs < MOST:  # it may be the first start alone that is slow: files that were read from a card
            plan = max(plan, self._plan(pairs), key=lambda each: (each.pairs, -each.expected_s))
        pairs.plan = plan
        if not plan.pairs:
            pairs.open = (
                f"the time does not do for {FEWEST} pairs of processes, the fewest: --time-limit {plan.expected_s:.0f}"
            )
            return
        report(0, plan)
        while len(pairs.done) < plan.pairs:
            number = len(pairs.done)
            pair = self._counted(pairs, number, plan.inferences, plan.step)
            if any(timed.count < plan.inferences for one in pair for timed in one.contents):
                pairs.open = (
                    f"{number} of {plan.pairs} pairs in the time, which were to take {plan.expected_s:.0f} s: "
                    f"--time-limit {2 * self.limit_s:.0f}"
                )
                return
            pairs.done.append(pair)
            report(len(pairs.done), plan)

    def _plan(self, pairs: Pairs) -> Plan:
        start = time.monotonic()
        trials = self._counted(pairs, 0, 1, 1)
        now = time.monotonic()
        return make_plan(trials, spent_s=now - start, left_s=self.end - now, limit_s=self.limit_s)

    def _counted(self, pairs: Pairs, number: int, inferences: int, step: int) -> tuple[Measurement, Measurement]:
        """Take a pair; one that does not count is taken again, LOST_ALLOWED times in all."""
        while True:
            try:
                return self._pair(number, inferences, step)
            except LinkLost as error:
                pairs.lost.append(" ".join(filter(None, [error.what, error.found.partition("\n")[0]])))
            except _Dropped as error:
                pairs.lost.append(str(error))
            if len(pairs.lost) > LOST_ALLOWED:
                raise _Dropped

    def _pair(self, number: int, inferences: int, step: int) -> tuple[Measurement, Measurement]:
        """Take one pair: the other build first where its number is even, this one where it is odd."""
        # Each pair has inputs of its own; both of its processes have the same.
        block = 1 + number * (inferences + 1)
        found: dict[bool, Measurement] = {}
        for is_other in (True, False) if number % 2 == 0 else (False, True):
            (self.build if is_other else self.other).close()  # two may have no room beside each other
            found[is_other] = self._process(is_other, block, inferences, step)
        pair = found[True], found[False]
        after = [[timed.next_block for timed in one.contents] for one in pair]
        if after[0] != after[1] and all(timed.count >= inferences for one in pair for timed in one.contents):
            raise _Dropped("its processes had calls of different length, and so not the same inputs")
        return pair

    def _process(self, is_other: bool, block: int, inferences: int, step: int) -> Measurement:
        try:
            return self._timed(self.other if is_other else self.build, block, inferences, step)
        except ImpossibleReport:
            raise
        except DeploymentError as error:
            if not is_other:
                raise
            found = error.found.strip().rpartition("\n")[2]
            raise _OtherFailed(f"the other build cannot be run: {error.what}" + f"; {found}" * bool(found)) from error

    def _timed(self, build: Build, block: int, inferences: int, step: int) -> Measurement:
        """Start one process, warm it up, time it."""
        one = Measurement(uniform=self.content.spread_timed(), samples=self.content.samples_timed())
        with build.failures_kept(at_measured_sizes=True):
            deployment, load = build.fresh()
            loop = ClosedLoop(deployment=deployment, source=build, content=self.content, report=lambda: None)
            with deployment:
                one.loads.append(load)
                loop.begin(one.contents)
                try:
                    for timed in one.contents:
                        one.warm_ups.append(loop.warm_up(timed, self.limit_s * WARM_UP_SHARE))
                        timed.wanted = inferences
                    self._time(loop, one.contents, block, step)
                except ImpossibleReport as error:  # inside: it is no failure of the build
                    one.refuse(DURATIONS, error.what)
                else:
                    one.memory_peak_kib.append(deployment.memory_kib()["peak"])
                    one.memory_steps_kib.append(load.memory_kib)
                    one.idle_s.append(deployment.last_call.host_s)
                    one.states.append((loop.states[0]["before"], loop.states[-1]["after"]))
        one.calls += loop.calls
        if DURATIONS in one.impossible:
            raise ImpossibleReport(one.impossible[DURATIONS])
        return one

    def _time(self, loop: ClosedLoop, contents: Sequence[Timed], block: int, step: int) -> None:
        for timed in contents:
            pace_s, timed.next_block = timed.pace_s, block
            while timed.count < timed.wanted:
                count, before = min(step, timed.wanted - timed.count), timed.count
                timed.pace_s = 1e-9  # one call, however slow this process is: the calls decide which inputs there are
                loop.take(timed, count, max(self.end - time.monotonic(), 0.0))
                if timed.count < before + count:
                    break  # the time is up
            timed.pace_s = pace_s


def make_plan(trials: Sequence[Measurement], *, spent_s: float, left_s: float, limit_s: float) -> Plan:
    """Fix how many pairs there are and how long each process is timed, from two processes that do not count.

    Args:
        trials: One process of each build, which timed one inference on each content.
        spent_s: How long the two took, from before they were started, in seconds.
        left_s: The time that is left, in seconds.
        limit_s: The time that there was for all of it, in seconds.
    """
    each_s = sum(timed.pace_s for one in trials for timed in one.contents)
    slowest_s = max(timed.pace_s for one in trials for timed in one.contents)
    budget_s = max(left_s, 0.0) * PLANNED_SHARE
    inferences = min(max(int(TIMED_S / slowest_s), TIMED_LEAST), TIMED_MOST)
    pairs = min(int(budget_s / (spent_s + inferences * each_s)), MOST)
    if pairs < FEWEST:
        pairs, inferences = FEWEST, min(inferences, int((budget_s / FEWEST - spent_s) / each_s))
    # Half of what a call would have by itself: a process that is slower than the trial still makes one call of it.
    step = max(int(BLOCK_S / 2 / slowest_s), 1)
    if inferences < TIMED_LEAST:
        least_s = FEWEST * (spent_s + TIMED_LEAST * each_s) / PLANNED_SHARE + limit_s - left_s
        return Plan(pairs=0, inferences=TIMED_LEAST, step=step, expected_s=1.25 * least_s + 1)
    return Plan(pairs=pairs, inferences=inferences, step=step, expected_s=pairs * (spent_s + inferences * each_s))
