"""The loop of one process on a sensor's clock: as closed_loop, but inferences are released at a fixed rate.

What is timed is a response: from a release to the end of its inference. A release that was dropped has none, and is
infinitely late; so is one whose call to another computer failed. What is still queued, or running, when a call to the
device ends is handed to the next call: no release is forgiven because hilgate asks in portions (harness.agent.pacing).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..agent.pacing import NEVER, QUEUE, Pace
from ..checks import sequential
from ..checks.blocks import BROKEN_BLOCKS
from ..deploy.call import Call
from ..deploy.content import Timed
from ..deploy.failed_calls import codes_of
from ..deploy.feed import Feed, fill_bytes, kept
from ..deploy.paced_plausibility import behind_after, why_releases_impossible
from ..model.model import Array
from ..model.sensor_clock import SensorClock
from .closed_loop import ClosedLoop

# The risk of calling a queue growing that does not: small beside that at which a limit is judged, for it adds to it.
GROWING_RISK = sequential.RISK / 10
# The closed loop that stands beside the paced one lasts about this long, within this count.
CLOSED_S, CLOSED_MOST = 0.5, 1000


@dataclass(kw_only=True)
class PacedLoop(ClosedLoop):
    """The loop of one process on a sensor's clock.

    Attributes:
        clock: The sensor's.
    """

    clock: SensorClock
    _behind_ns: dict[str, int] = field(default_factory=dict)  # by the content's name; see harness.agent.pacing
    _closed_s: float = 0.0  # what an inference takes in a closed loop, its input included

    def begin(self, contents: Sequence[Timed]) -> None:
        """Start a new, empty account of releases in each content; the model is idle."""
        super().begin(contents)
        for timed in contents:
            timed.processes[-1] = np.empty(0)
            timed.releases.append(np.empty((0, 3), np.int64))
            self._behind_ns[timed.name] = -self.clock.period_ns

    def warm_up(self, timed: Timed, budget_s: float) -> Mapping[str, Any]:
        """Infer in a closed loop until that no longer gets faster; see ClosedLoop."""
        known_s, timed.pace_s = timed.pace_s, 0.0
        warm_up = super().warm_up(timed, budget_s)
        median_s, period_s = warm_up["median_ns"] / 1e9, self.clock.period_ns / 1e9
        self._closed_s = self._closed_s or timed.pace_s
        beside_s = timed.pace_s - median_s  # what making an input takes, during which the clock stands still
        timed.pace_s = known_s or self.clock.paced_s(median_s) + beside_s
        self._median_s = max(self._median_s, period_s)
        return warm_up

    def closed_p50_ms(self, timed: Timed) -> float:
        """Time a short closed loop on a content's inputs, of which none is used again; return its median."""
        parts: dict[str, Any] = {"deployment": self.deployment, "source": self.source, "content": self.content}
        closed = ClosedLoop(**parts, report=lambda: None, timeout_ms=self.timeout_ms)
        kept: dict[str, Any] = {"processes": [], "numbers": [], "block_sizes": [], "releases": []}
        apart = replace(
            timed, **kept, codes=[], requests=[], first_parts=[], sides=[], spent_s=0.0, pace_s=self._closed_s
        )
        apart.next_block += 1
        closed.begin([apart])
        closed.take(apart, min(max(math.ceil(CLOSED_S / self._closed_s), 1), CLOSED_MOST), CLOSED_S)
        timed.next_block = apart.next_block + 1
        self.calls += closed.calls
        return float(np.median(apart.values))

    def _made_feed(self, count: int) -> Feed:
        """Make the feed of inputs that were made: each is one release, also of drawn sizes."""
        return kept(range(count), fill_bytes(self.content.fills))

    def _pace(self, timed: Timed) -> Pace:
        return Pace(self.clock.period_ns, self.clock.late, self._behind_ns[timed.name])

    def _ask(self, timed: Timed, feed: Feed, count: int, budget_s: float, name: str) -> tuple[Array, dict[str, Any]]:
        return self.deployment.measure(feed, count, budget_s, name, pace=self._pace(timed))

    def _record(
        self, timed: Timed, durations: Array, reply: Mapping[str, Any], numbers: Array, *, call: Call, budget_s: float
    ) -> None:
        """Check what became of one call's releases, and add it to the content."""
        found, pace = durations, self._pace(timed)
        limits: dict[str, Any] = {"asked": len(numbers), "budget_s": budget_s, "timeout_ms": self.timeout_ms}
        self._refuse(why_releases_impossible(found, reply, call, **limits, pace=pace))
        self._behind_ns[timed.name] = behind_after(found, pace)
        ran, codes = found[:, 2] != NEVER, codes_of(reply, len(found))
        # Where the first releases are dropped, what keeps the model busy is the last input of the call before.
        before = timed.numbers[-1][-1:]
        place = np.cumsum(ran) - 1 + len(before)
        begun = len(timed.releases[-1]) * pace.period_ns
        moved = np.where(ran[:, None] | (np.arange(3) == 0), found + begun, NEVER)
        timed.releases[-1] = np.concatenate([timed.releases[-1], moved])
        responses = np.where(ran & (codes == 0), found[:, 2] - found[:, 0], math.inf)
        timed.is_growing = is_growing(timed, self.clock)
        inputs = np.concatenate([before, numbers])[place]
        timed.add_noted(reply, np.ones(len(found), bool))
        self._add(timed, responses, inputs, codes, reply, inferences=int(ran.sum()))


def is_growing(timed: Timed, clock: SensorClock) -> bool:
    """Tell whether it is shown that releases come faster than they are served.

    The mean of inferences, each counted at most twice the period, is above the period: then so is the mean itself.
    """
    if clock.late != QUEUE:
        return False
    most = 2 * clock.period_ns
    shares = [np.empty(0)]
    for ran, size in zip(timed.ran, timed.block_sizes, strict=True):
        whole = np.minimum(ran[: len(ran) // size * size], most)
        shares.append(whole.reshape(-1, size).mean(axis=1) / most)
    together = np.concatenate(shares)
    return len(together) >= BROKEN_BLOCKS and sequential.is_broken(together, clock.period_ns / most, GROWING_RISK)


def why_growing(timed: Timed, clock: SensorClock | None) -> str:
    """Explain that a queue grows for as long as the model runs; "" if it does not.

    Response times taken until then say nothing of later ones, however lenient the limit is.
    """
    if clock is None or clock.late != QUEUE:
        return ""
    means = [float(each.mean()) / 1e6 for each in timed.ran if len(each)]
    if not means or max(means) < clock.period_ms:
        return ""
    return (
        f"the queue grows without end: an inference took {max(means):.4g} ms on average in process "
        f"{means.index(max(means)) + 1} of {len(means)}, and one is released every {clock.period_ms:.4g} ms"
    )


def describe_releases(timed: Timed, clock: SensorClock) -> dict[str, Any]:
    """Describe what became of a content's releases, for the evidence.

    Returns:
        The clock's "rate_hz" and "late"; how many releases were "dropped"; "utilisation", the share of the time in
        which the model was busy.
    """
    busy_ns = sum(int(each.sum()) for each in timed.ran)
    time_ns = sum(max(len(each) * clock.period_ns, int(each[:, 2].max(initial=0))) for each in timed.releases)
    dropped = timed.count - sum(map(len, timed.ran))
    busy = round(busy_ns / time_ns, 4) if time_ns else 0.0
    return {"rate_hz": clock.rate_hz, "late": clock.late, "dropped": dropped, "utilisation": busy}
