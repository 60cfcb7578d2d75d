"""First part: after how long the first part of a streamed answer comes. What is done with it, parity does not know."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..agent.pacing import NEVER
from ..checks.finding import Finding
from ..checks.limits import Metric
from ..deploy.content import Timed
from ..model.model import Array
from .latency import compare_contents, finding_on
from .measurement import DURATIONS, Measurement
from .tails import Standing, Tail

P50 = Metric("first_part_p50_ms", "ms", "the first part of half of all streamed answers comes sooner", wall_clock=True)
P99 = Metric("first_part_p99_ms", "ms", "the first part of 99 of 100 streamed answers comes sooner", wall_clock=True)
METRICS = (P50, P99)

QUANTILES = {P50: 0.5, P99: 0.99}
WHOLE = "answers come whole: stream = true in [options.sagemaker] asks for them in parts"


def first_part(measured: Measurement, metric: Metric, raw: str, limit: float | None, *, is_streamed: bool) -> Finding:
    """Report a quantile of the time from a call's start to the first part of its answer; a failed call's is infinite.

    Sampling goes on until limits on latencies are decided; what is known of the first parts by then is judged.

    Args:
        measured: the calls.
        metric: P50 or P99.
        raw: the path of the raw samples, for the evidence.
        limit: the limit in milliseconds, if there is one.
        is_streamed: whether answers were asked for in parts.
    """
    if not is_streamed:
        return Finding(metric, not_applicable=WHOLE, unasked=limit is None)
    if impossible := measured.impossible.get(DURATIONS):
        return Finding(metric, samples=measured.count, raw=raw, no_bound_reason=impossible)
    contents = [_first_parts(timed) for timed in measured.contents]
    if not any(timed.count for timed in contents):
        return Finding(metric, no_bound_reason=measured.interruption or "no sample was taken")
    tail, count = Tail.of_quantile(QUANTILES[metric], limit), len(contents)
    standings = [Standing(timed=timed, tail=tail, contents=count, is_over=measured.is_over) for timed in contents]
    _, judged = compare_contents(measured, standings)
    timed = judged.timed
    details = {"processes": [len(each) for each in timed.processes], "inputs": timed.inputs}
    return replace(
        finding_on(metric, measured, judged, raw),
        invalid_reason=measured.doubt,
        taken_on=judged.taken_on if count > 1 else "",
        details=details | ({"failed": timed.failed} if timed.failed else {}),
        at=lambda value: first_part(measured, metric, raw, value, is_streamed=True),
    )


def _first_parts(timed: Timed) -> Timed:
    """Return the same calls with the time to their first part in place of the whole; releases that were dropped go."""
    calls = _calls(timed)
    times = [
        np.where(first[which] == NEVER, np.inf, first[which])
        for first, which in zip(timed.first_parts, calls, strict=True)
    ]
    numbers, codes = (
        [each[which] for each, which in zip(parts, calls, strict=True)] for parts in (timed.numbers, timed.codes)
    )
    releases = [each[which] for each, which in zip(timed.releases, calls, strict=True)] if timed.releases else []
    return replace(timed, processes=times, numbers=numbers, codes=codes, releases=releases, is_growing=False)


def _calls(timed: Timed) -> list[Array]:
    """Tell of each process which of its samples were calls, bool[n]: on a sensor's clock some releases were none."""
    if not timed.releases:
        return [np.ones(len(each), bool) for each in timed.first_parts]
    return [each[:, 2] != NEVER for each in timed.releases]
