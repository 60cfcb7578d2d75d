"""How late inferences start behind their releases, on a sensor's clock: waking up, and waiting for the model's turn."""

from __future__ import annotations

from dataclasses import replace

from ..agent.pacing import NEVER
from ..checks.finding import Finding
from ..checks.limits import Metric
from ..deploy.content import Timed
from .latency import compare_contents, finding_on
from .measurement import DURATIONS, Measurement
from .paced_loop import describe_releases
from .tails import Standing, Tail

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
    tail, count = Tail.of_quantile(0.99, limit), len(contents)
    standings = [Standing(timed=timed, tail=tail, contents=count, is_over=measured.is_over) for timed in contents]
    _, judged = compare_contents(measured, standings)
    return replace(
        finding_on(START_JITTER, measured, judged, raw),
        invalid_reason=measured.state_doubt,
        taken_on=judged.taken_on if count > 1 else "",
        details={**describe_releases(judged.timed, clock), "inputs": judged.timed.inputs},
        at=lambda value: start_jitter(measured, value, raw),
    )


def _starts(timed: Timed) -> Timed:
    """Return the same inferences with how late they started in place of how late they ended."""
    ran = [each[:, 2] != NEVER for each in timed.releases]
    late = [(each[which, 1] - each[which, 0]) for each, which in zip(timed.releases, ran, strict=True)]
    numbers = [each[which] for each, which in zip(timed.numbers, ran, strict=True)]
    return replace(timed, processes=late, numbers=numbers)
