"""How late inferences start behind their releases, on a sensor's clock: waking up, and waiting for the model's turn."""

from __future__ import annotations

from dataclasses import replace

from ..agent.pacing import NEVER
from ..checks import quantiles
from ..checks.finding import Finding
from ..checks.limits import Metric
from ..deploy.content import Timed
from .figures import worse
from .measurement import DURATIONS, Measurement
from .paced_loop import describe_releases, why_growing
from .tails import Standing, Tail, tail_figures

START_JITTER = Metric(
    "start_jitter_p99_ms",
    "ms",
    "99 of 100 inferences start sooner behind their release, on a sensor's clock",
    wall_clock=True,
)
METRICS = (START_JITTER,)


def start_jitter(measured: Measurement, limit: float | None, raw: str) -> Finding:
    """Report p99 of the time from a release to the start of its inference, of those that were not dropped.

    Sampling goes on until limits on latencies are decided; what is known of the starts by then is judged.

    Args:
        measured: The releases.
        limit: The limit in milliseconds, if there is one.
        raw: The path of the raw samples, for the evidence.
    """
    clock = measured.clock
    if clock is None:
        why = "the model file declares no sensor's clock: Model(rate_hz=…)"
        return Finding(START_JITTER, not_applicable=why, unasked=limit is None)
    if impossible := measured.impossible.get(DURATIONS):
        return Finding(START_JITTER, samples=measured.count, raw=raw, no_bound_reason=impossible)
    contents = [_starts(timed) for timed in measured.contents]
    if not any(timed.count for timed in contents):
        return Finding(START_JITTER, no_bound_reason=measured.interruption or "no sample was taken")
    tail, each = Tail.of_quantile(0.99, limit), []
    for timed in contents:
        standing = Standing(timed=timed, tail=tail, contents=len(contents), is_over=measured.is_over)
        found = tail_figures(standing, measured.explain_open)
        growing = "" if found.is_broken else why_growing(timed, clock)
        each.append(replace(found, bound=None, open=growing) if growing else found)
    judged = worse(each, is_limited=limit is not None)
    return Finding(
        START_JITTER,
        judged.value,
        judged.bound,
        bound_low=judged.bound_low,
        undecided_reason=judged.open,
        confidence=quantiles.CONFIDENCE,
        samples=judged.timed.count,
        raw=raw,
        no_bound_reason=judged.open,
        invalid_reason=measured.state_doubt,
        taken_on=judged.taken_on if len(each) > 1 else "",
        compared=why_growing(judged.timed, clock),
        details={**describe_releases(judged.timed, clock), "inputs": judged.timed.inputs},
        at=lambda value: start_jitter(measured, value, raw),
    )


def _starts(timed: Timed) -> Timed:
    """Return the same inferences with how late they started in place of how late they ended."""
    ran = [each[:, 2] != NEVER for each in timed.releases]
    late = [(each[which, 1] - each[which, 0]) for each, which in zip(timed.releases, ran, strict=True)]
    numbers = [each[which] for each, which in zip(timed.numbers, ran, strict=True)]
    return replace(timed, processes=late, numbers=numbers)
