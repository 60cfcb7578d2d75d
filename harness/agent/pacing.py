"""The sensor's clock: inferences are released at a fixed rate, whether the model keeps up or not.

Release k is due at t0 + k · period, absolute on the monotonic clock, so that no lateness moves the releases behind it.
From a release on the model is busy until the end of its inference, the wait for a late wake-up included. What happens
to a release that finds it busy is the policy:

- "drop": it is dropped, as a program does that keeps only the newest picture. It never ends.
- "queue": it waits its turn, first come, first served, in a queue without an end.

Making inputs (see ring) is no part of a robot's work, and takes longer than some periods. So the loop's clock stands
still meanwhile: t0 moves by as long as the making took, and nothing else moves it. A release that was due when the
clock stopped is due when it goes on, a queue that was full is still full, and the idle time until the next release goes
on where it was. A clock that began anew with each block of inputs would instead forgive a slow model its backlog, once
a block. From call to call it is carried, too: the caller says in "behind_ns" how far the model was behind.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import failure
from .frames import Array
from .timing import Renew, Run

LATE = DROP, QUEUE = "drop", "queue"
# Start and end of a release that was dropped.
NEVER = failure.NEVER
# A sleep ends late, by some 60 µs on an idle machine; the last part of a wait is spent looking at the clock instead.
SPIN_NS = 200_000


class Clock:
    """The monotonic clock; tests have another one."""

    def now(self) -> int:
        """Read it, in nanoseconds."""
        return time.perf_counter_ns()

    def wait_until(self, due_ns: int) -> None:
        """Return when it is due_ns by the clock, or at once where that is past."""
        while (left := due_ns - time.perf_counter_ns()) > 0:
            if left > SPIN_NS:
                time.sleep((left - SPIN_NS) / 1e9)


MONOTONIC = Clock()


def by_release(noted: Array, measured: Array, dropped: int) -> Array:
    """Give each duration, or each release, what was noted of the inference that it became; of the noted one's type.

    Args:
        noted: of each inference in turn; there may be more than are needed.
        measured: what a loop has returned: durations, int64[n], or releases, int64[n, 3].
        dropped: what a release gets that was dropped.
    """
    if measured.ndim == 1:
        return noted[: len(measured)].copy()
    found = np.full(len(measured), dropped, noted.dtype)
    ran = measured[:, 2] != NEVER
    found[ran] = noted[: int(np.count_nonzero(ran))]
    return found


class Pace:
    """What releases inferences."""

    def __init__(self, period_ns: int, late: str, behind_ns: int) -> None:
        """Check and keep it.

        Args:
            period_ns: the time from one release to the next.
            late: what happens to a release that finds the model busy, of LATE.
            behind_ns: for how long after release 0 the model is still busy, with what was released before; where it is
                negative, release 0 comes that much after the loop's begin.

        Raises:
            ValueError: one of them is none of these.
        """
        if type(period_ns) is not int or period_ns < 1 or type(behind_ns) is not int:
            raise ValueError(f"wanted a period of at least 1 ns, and behind_ns; found {period_ns!r}, {behind_ns!r}")
        if late not in LATE:
            raise ValueError(f"wanted late to be one of {', '.join(LATE)}; found {late!r}")
        self.period_ns, self.late, self.behind_ns = period_ns, late, behind_ns

    @classmethod
    def read(cls, header: Mapping[str, Any]) -> Pace:
        """Read it from a request."""
        return cls(header["period_ns"], header["late"], header["behind_ns"])

    def header(self) -> dict[str, Any]:
        """Return the keys of a request that ask for it."""
        return {"period_ns": self.period_ns, "late": self.late, "behind_ns": self.behind_ns}

    def __repr__(self) -> str:
        return f"Pace({self.period_ns}, {self.late!r}, {self.behind_ns})"

    def next_release(self, last: int, free_ns: int) -> int:
        """Return the number of the release that is run next; those in between are dropped.

        This is the whole policy: with an inference's duration it yields every release's fate.

        Args:
            last: the release that was run before; -1 at first.
            free_ns: when the model was free again, in the loop's time.
        """
        if self.late == QUEUE:
            return last + 1
        return max(last + 1, -(-free_ns // self.period_ns))  # one that is due in that very moment finds it free


def paced_loop(
    run: Run,
    renew: Renew,
    pace: Pace,
    releases: int,
    budget_ns: int,
    clock: Clock = MONOTONIC,
    failures: failure.Failures | None = None,
) -> Array:
    """Run inferences as they are released; return what became of each release.

    Each prepared input is run once. The loop ends early when the budget is used up, by an inference or by the wait for
    a release that is due later; but not before one release has met its fate. Making inputs counts in the budget.

    A call that failed (see failure) kept the model busy until the failure was known: start and end say so, and
    failures, by the release's number, that it failed. Without these it is raised.

    Returns:
        int64[n, 3], 1 ≤ n ≤ releases: when it was due, when its inference started and when that ended, in nanoseconds
        of the loop's time, in which release 0 is due at 0; start and end are NEVER for one that was dropped.
    """
    starts, ends = np.full(releases, NEVER, dtype=np.int64), np.full(releases, NEVER, dtype=np.int64)
    gc.collect()
    gc.disable()
    try:
        done = _run_released(run, renew, pace, (starts, ends), budget_ns, clock, failures)
    finally:
        gc.enable()
    due = np.arange(done, dtype=np.int64) * pace.period_ns
    return np.stack([due, starts[:done], ends[:done]], axis=1)


def inferences_in(fates: Array) -> int:
    """Count the releases that were run, of what paced_loop returns."""
    return int(np.count_nonzero(fates[:, 2] != NEVER))


def _run_released(
    run: Run,
    renew: Renew,
    pace: Pace,
    fate: tuple[Array, Array],
    budget_ns: int,
    clock: Clock,
    failures: failure.Failures | None,
) -> int:
    """Fill in starts and ends; return how many releases have met their fate."""
    starts, ends = fate
    releases, period_ns, now = len(starts), pace.period_ns, clock.now
    deadline = now() + budget_ns
    prepared = renew(releases)
    zero = now() - pace.behind_ns  # when release 0 is due, by the clock
    number = pace.next_release(-1, pace.behind_ns)
    while number < releases:
        for item in prepared:
            due = zero + number * period_ns
            if number and due > deadline:
                return number
            clock.wait_until(due)
            start = now()
            try:
                run(item)
                stop = now()
            except failure.CallFailed as error:
                stop = now()
                failure.note(failures, number, error, stop - start)
            starts[number], ends[number] = start - zero, stop - zero
            number = pace.next_release(number, stop - zero)
            if stop > deadline or number >= releases:
                return min(number, releases)
        stopped = now()
        prepared = renew(releases - number)
        zero += now() - stopped
    return releases
