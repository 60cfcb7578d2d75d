"""Processes of growth's own: where a limit on it is set, and those that were timed did too few inferences.

Each goes on until the limit is decided by its trend, which is looked at twice: after NEEDED inferences, and after as
many as there is time for. Another one follows only where it can still settle the limit.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ..deploy.content import Content, Timed
from ..errors import LinkError
from .closed_loop import ClosedLoop, Source
from .growth import CONFIRMING, has_grown, is_settled, is_settled_by
from .measurement import GROWTH, Measurement
from .memory_series import NEEDED

# How many inferences a process does at most, or twice as many as those that were timed. At the limit, each look at the
# trend passes in one of 200 cases.
MOST = 20_000
WARM_UP_SHARE = 0.1
# How many dropped connections are made up for.
LOST_ALLOWED = 2

# Called with inferences done, inferences wanted, and the seconds that these take.
Report = Callable[[int, int, float], None]


@dataclass(kw_only=True)
class GrowthProcesses:
    """The processes that settle a limit on growth.

    Attributes:
        measured: Gains a series of readings of each.
        source: Starts and loads them.
        content: The inputs; those that are spread over the declared range are inferred.
        limit: In KiB per 1000 inferences.
        time_limit_s: How long all of them may take, in seconds.
        report: Called after each call to the device.
        board_mib: The device's memory in MiB, if it is known.
        notes: The reason for each time that the connection dropped.
    """

    measured: Measurement
    source: Source
    content: Content
    limit: float
    time_limit_s: float
    report: Report
    board_mib: float | None = None
    notes: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Use one process after the other, until the limit is settled, or no further one can settle it in the time.

        When the connection drops, another process replaces the lost one, up to LOST_ALLOWED times.
        """
        end, done = time.monotonic() + self.time_limit_s, 0
        while not is_settled(self.measured, self.limit) and done < CONFIRMING:
            # What one leaves open, a second one of the same length would leave open, too; it only confirms.
            if done and not has_grown(self.measured, self.limit):
                return
            try:
                if not self._use_process(end):
                    return
                done += 1
            except LinkError as error:
                self.notes.append(error.what)
                if len(self.notes) > LOST_ALLOWED:
                    self.measured.refuse(GROWTH, f"the connection dropped {len(self.notes)} times: {error.what}")

    def _use_process(self, end: float) -> bool:
        """Return whether the process came to NEEDED inferences."""
        deployment, _ = self.source.fresh()
        with deployment:
            timed = self.content.spread_timed()
            loop = ClosedLoop(
                deployment=deployment,
                source=self.source,
                content=self.content,
                report=lambda: self._tell(timed),
                board_mib=self.board_mib,
                is_timed=False,
            )
            loop.begin([timed])
            loop.warm_up(timed, max(end - time.monotonic(), 0.1) * WARM_UP_SHARE)
            self.measured.growth_pace_s = timed.pace_s
            try:
                if NEEDED * timed.pace_s > end - time.monotonic():
                    return False  # it would take the time in vain
                self._infer(loop, timed, end)
            finally:
                self.measured.add_series(loop.series)
                self.measured.written = tuple(dict.fromkeys([*self.measured.written, *deployment.written]))
            return loop.series.is_enough

    def _infer(self, loop: ClosedLoop, timed: Timed, end: float) -> None:
        timed.wanted = NEEDED
        loop.take(timed, NEEDED, max(end - time.monotonic(), 0.0))
        series = loop.series
        if series.impossible or not series.is_enough or is_settled_by(series.trend(), self.limit):
            return
        # A second process may follow, and has the same time.
        left_s = (end - time.monotonic()) / CONFIRMING
        longest = max((each.count for each in self.measured.memory_series), default=0)
        more = min(int(left_s / timed.pace_s), max(MOST, 2 * longest) - timed.count)
        if more >= NEEDED:  # else it would hardly tell more
            timed.wanted = timed.count + more
            loop.take(timed, more, left_s)

    def _tell(self, timed: Timed) -> None:
        self.report(timed.count, timed.wanted, max(timed.wanted - timed.count, 0) * timed.pace_s)
