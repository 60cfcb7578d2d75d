"""``--against``: how much slower this build's median inference is than another's, from pairs of fresh processes."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..checks import paired
from ..checks.finding import Finding
from ..checks.limits import Limit, Metric
from ..checks.quantiles import estimate
from ..deploy.content import Timed
from ..model.model import Array
from . import sampling
from .measurement import DURATIONS, MEMORY, Measurement
from .pairs import MOST, Pairs, Plan

OVER_OTHER = Metric(
    "latency_over_other_percent",
    "%",
    "how much longer the median inference takes than the build's that --against names",
    wall_clock=True,
    counts="pairs",
)
METRICS = (OVER_OTHER,)

# How much slower a build may be where no file says more.
DEFAULT = Limit(OVER_OTHER.limit_key, 3.0, "--against's own limit, as no file sets another")


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """One content's figures.

    Attributes:
        name: The content's name.
        each: The pairs' log ratios of medians.
        interval: Their mean and its interval.
        p90: The mean of the pairs' log ratios of p90, with no bound.
        p50_ms: The median of the processes' medians, of the other build and of this one.
    """

    name: str
    each: Sequence[float]
    interval: paired.PairedRatio
    p90: float
    p50_ms: tuple[float, float]

    def described(self) -> dict[str, Any]:
        """Describe the figures for the evidence."""
        other, this = self.p50_ms
        return {
            "each_percent": [round(paired.as_percent(one), 3) for one in self.each],
            "p50_ms": {"other": other, "this": this},
            "p90_over_other_percent": paired.as_percent(self.p90),
        }


def not_asked(limit: float | None) -> Finding:
    """Report that nobody asked for a comparison; a limit on it is then not judged."""
    return Finding(
        OVER_OTHER, not_applicable="no build to compare with was named: --against OLD", unasked=limit is None
    )


def undecided(reason: str, limit: float | None, details: Mapping[str, Any] | None = None, *, raw: str = "") -> Finding:
    """Report that the comparison came to no figure, and why."""
    return Finding(OVER_OTHER, no_bound_reason=reason, raw=raw, limits=_default(limit), details=details or {})


def against(
    pairs: Pairs,
    limit: float | None,
    *,
    raw: str = "",
    label: str = "",
    artifact_bytes: tuple[int, int] = (0, 0),
    board_mib: float | None = None,
    details: Mapping[str, Any] | None = None,
) -> Finding:
    """Report how much slower this build's median is than the other's, by the t interval of the pairs' log ratios.

    Of two contents the interval reaches from the larger lower to the larger upper end: both must keep the limit.

    Args:
        pairs: What the pairs showed.
        limit: The strictest limit of the files, in percent; None where none is set, and DEFAULT counts.
        raw: The path of the raw samples, for the evidence.
        label: What to call the other build.
        artifact_bytes: The artifacts' sizes, of the other build and of this one.
        board_mib: The device's memory in MiB, if it is known.
        details: Further keys of the check.
    """
    sides = [join([pair[index] for pair in pairs.done], board_mib) for index in (0, 1)]
    impossible = pairs.impossible or next(
        (one.impossible[DURATIONS] for one in sides if DURATIONS in one.impossible), ""
    )
    found = {**(details or {}), "lost": pairs.lost}
    if impossible or pairs.open or not pairs.done or pairs.plan is None:
        return undecided(impossible or pairs.open or "no pair was taken", limit, found, raw=raw)
    ratios = [ratio_of(*(side.contents[index] for side in sides)) for index in range(len(sides[0].contents))]
    judged = max(ratios, key=lambda one: one.interval.high)
    memory = _memory_mib(sides)
    finding = Finding(
        OVER_OTHER,
        paired.as_percent(judged.interval.mean),
        paired.as_percent(judged.interval.high),
        bound_low=paired.as_percent(max(one.interval.low for one in ratios)),
        confidence=paired.CONFIDENCE,
        samples=len(pairs.done),
        raw=raw,
        limits=_default(limit),
        invalid_reason=_doubt(sides),
        notes=(_line(label, judged, memory, artifact_bytes),),
        details=found | _details(ratios, judged, pairs.plan, memory, artifact_bytes),
    )
    return replace(finding, at=_undecided_at(finding, ratios, pairs.plan))


def ratio_of(other: Timed, this: Timed) -> Ratio:
    """Compute one content's figures from the durations of both builds, whose n-th processes are the n-th pair."""
    p50s, p90s = ([[estimate(one, q) for one in side.processes] for side in (other, this)] for q in (0.5, 0.9))
    each = [math.log(new / old) for old, new in zip(*p50s, strict=True)]
    # A duration is off by a tick of the clock at most, and so is their median.
    ticks = [int(np.gcd.reduce(np.concatenate(side.processes))) for side in (other, this)]
    grain = sum(math.log1p(tick / min(medians)) for tick, medians in zip(ticks, p50s, strict=True))
    old_ms, new_ms = (statistics.median(medians) / side.unit for medians, side in zip(p50s, (other, this), strict=True))
    return Ratio(
        name=this.name,
        each=each,
        interval=paired.paired_ratio(each, grain),
        p90=statistics.fmean(math.log(new / old) for old, new in zip(*p90s, strict=True)),
        p50_ms=(old_ms, new_ms),
    )


def join(processes: Sequence[Measurement], board_mib: float | None) -> Measurement:
    """Join the processes of one build, and look at all of them together for what cannot be true."""
    joined = Measurement()
    if processes:
        first = processes[0]
        joined = Measurement(uniform=_joined_timed([one.uniform for one in processes]))
        if first.samples.given:
            joined.samples = _joined_timed([one.samples for one in processes])
    for one in processes:
        for name in ("loads", "memory_peak_kib", "memory_steps_kib", "warm_ups", "states", "calls", "idle_s"):
            getattr(joined, name).extend(getattr(one, name))
    sampling.look_back(joined, board_mib)
    return joined


def _joined_timed(parts: Sequence[Timed]) -> Timed:
    durations = [each for part in parts for each in part.processes]
    numbers = [each for part in parts for each in part.numbers]
    return replace(parts[0], processes=durations, numbers=numbers)


def raw_durations(pairs: Pairs) -> Array:
    """Return all durations in nanoseconds, int64[n]: of each pair first the other build's, then this one's."""
    parts = [one for pair in pairs.done for side in pair for one in side.processes]
    return np.concatenate([*parts, np.empty(0, np.int64)])


def _default(limit: float | None) -> tuple[Limit, ...]:
    return () if limit is not None else (DEFAULT,)


def _doubt(sides: Sequence[Measurement]) -> str:
    """Say why the durations may not be believed; "" if they may."""
    reasons = [side.state_doubt for side in sides]
    if not all(warm_up["settled"] for side in sides for warm_up in side.warm_ups):
        reasons.append("inference was still getting faster when a warm-up ended: give it more with --time-limit")
    return "; ".join(dict.fromkeys(filter(None, reasons)))


def _memory_mib(sides: Sequence[Measurement]) -> tuple[float, float] | None:
    """Return the medians of the peaks of both builds' processes, in MiB; None where they cannot be believed."""
    if any(MEMORY in side.impossible or not side.memory_peak_kib for side in sides):
        return None
    other, this = (statistics.median(side.memory_peak_kib) / 1024 for side in sides)
    return other, this


def _details(
    ratios: Sequence[Ratio],
    judged: Ratio,
    plan: Plan,
    memory_mib: tuple[float, float] | None,
    artifact_bytes: tuple[int, int],
) -> dict[str, Any]:
    details = {"pairs": plan.pairs, "inferences": plan.inferences, **judged.described()}
    if memory_mib is not None:
        details["memory_mib"] = dict(zip(("other", "this"), memory_mib, strict=True))
    details["artifact_bytes"] = dict(zip(("other", "this"), artifact_bytes, strict=True))
    if len(ratios) > 1:
        bounds = {
            one.name: {
                "value": paired.as_percent(one.interval.mean),
                "bound": paired.as_percent(one.interval.high),
                "bound_low": paired.as_percent(one.interval.low),
                **one.described(),
            }
            for one in ratios
        }
        details |= {"content": judged.name, "by_content": bounds}
    return details


def _line(label: str, judged: Ratio, memory_mib: tuple[float, float] | None, artifact_bytes: tuple[int, int]) -> str:
    """Word what else a reader wants to know beside the ratio of medians."""
    words = [
        f"p50 {judged.p50_ms[0]:.4g} → {judged.p50_ms[1]:.4g} ms",
        f"p90 {paired.as_percent(judged.p90):+.1f} %",
    ]
    if memory_mib is not None:
        words.append(f"memory {memory_mib[0]:.4g} → {memory_mib[1]:.4g} MiB")
    old, new = (size / 2**20 for size in artifact_bytes)
    words.append(f"size {old:.4g} → {new:.4g} MiB")
    return f"against {label}: {', '.join(words)}"


def _undecided_at(finding: Finding, ratios: Sequence[Ratio], plan: Plan) -> Callable[[float], Finding]:
    def at(limit: float) -> Finding:
        return replace(finding, undecided_reason=_undecided(finding, limit, ratios, plan))

    return at


def _undecided(finding: Finding, limit: float, ratios: Sequence[Ratio], plan: Plan) -> str:
    """Word why the pairs do not decide a limit, and how many would."""
    low, high = (OVER_OTHER.shown(bound or 0.0, 3) for bound in (finding.bound_low, finding.bound))
    reason = f"{plan.pairs} pairs leave it open: {low} to {high} % at {paired.CONFIDENCE:.0%}, limit {limit:g} %"
    each = [_needed(one, limit) for one in ratios]
    needed = None if None in each else max(filter(None, each), default=plan.pairs)
    if needed is None or needed > MOST:
        count = f"more than {paired.MOST_RECKONED}" if needed is None else f"about {needed}"
        quieter = "a quieter device tells more: a fixed clock rate, nothing else running"
        return f"{reason}. At this spread it would take {count} pairs, and {MOST} are the most; {quieter}"
    if needed <= plan.pairs:  # the other content decides it: what this one needs is not seen from it
        needed = min(plan.pairs + 1, MOST)
    seconds = plan.expected_s / max(plan.pairs, 1) * needed
    return f"{reason}. At this spread it would take about {needed} pairs: --time-limit {math.ceil(2 * seconds)}"


def _needed(one: Ratio, limit: float) -> int | None:
    return one.interval.pairs_needed(paired.as_log_ratio(limit))
