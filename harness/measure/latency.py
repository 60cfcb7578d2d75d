"""Latency quantiles and the rate of missed deadlines, with their bounds, from the closed loop's samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..checks import quantiles
from ..checks.check import judge
from ..checks.finding import Finding
from ..checks.limits import Limit, Metric
from ..deploy.content import UNIFORM
from ..deploy.failed_calls import describe_failed
from ..evidence.entry import as_figure
from ..model.model import Array
from .figures import Figures, worse
from .measurement import DURATIONS, Measurement
from .paced_loop import describe_releases, why_growing
from .tails import Standing, Tail, tail_figures

P50 = Metric("latency_p50_ms", "ms", "half of all inferences are faster", wall_clock=True)
P90 = Metric("latency_p90_ms", "ms", "nine of ten inferences are faster", wall_clock=True)
P99 = Metric("latency_p99_ms", "ms", "99 of 100 inferences are faster", wall_clock=True)
P999 = Metric("latency_p999_ms", "ms", "999 of 1000 inferences are faster", wall_clock=True)
MAX = Metric(
    "latency_max_ms",
    "ms",
    "the slowest inference seen, no quantile: it can break a limit, never keep one",
    wall_clock=True,
)
DEADLINE_MISS_RATE = Metric(
    "deadline_miss_rate",
    "",
    "the share of inferences that take longer than deadline_ms",
    wall_clock=True,
    parameters=("deadline_ms",),
)
METRICS = (P50, P90, P99, P999, MAX, DEADLINE_MISS_RATE)

QUANTILES = {P50: 0.5, P90: 0.9, P99: 0.99, P999: 0.999}


def latency(measured: Measurement, metric: Metric, raw: str, limit: float | None = None) -> Finding:
    """Report one quantile of the latency and its bounds, on the spread inputs or the samples, whichever is worse.

    Args:
        measured: The durations.
        metric: P50, P90, P99 or P999.
        raw: The path of the raw samples, for the evidence.
        limit: The limit in milliseconds, if there is one; ``judge`` replaces it by the one that it judges.
    """
    if metric is P999 and limit is None:
        why = "nothing limits it: limits={'latency_p999_ms': …}, and of the samples that others take it says little"
        finding = Finding(metric, not_applicable=why, unasked=True)
    else:
        finding = _finding(metric, measured, Tail.of_quantile(QUANTILES[metric], limit), raw)
    if metric is P50 and measured.closed_p50_ms is not None and finding.details:
        closed = as_figure(measured.closed_p50_ms)
        finding = replace(finding, details={**finding.details, "closed_loop_p50_ms": closed})
    return replace(finding, at=lambda value: latency(measured, metric, raw, value))


def latency_max(measured: Measurement, limit: float | None, raw: str) -> Finding:
    """Report the slowest inference that was seen, on all contents. It can break a limit, and never keeps one.

    Args:
        measured: The durations.
        limit: The limit in milliseconds; without one nobody asked.
        raw: The path of the raw samples, for the evidence.
    """
    if limit is None:
        why = "nothing limits it: limits={'latency_max_ms': …}"
        return Finding(MAX, not_applicable=why, unasked=True, at=lambda value: latency_max(measured, value, raw))
    if impossible := measured.impossible.get(DURATIONS):
        return Finding(MAX, samples=measured.count, raw=raw, no_bound_reason=impossible)
    if not measured.count:
        return Finding(MAX, no_bound_reason=measured.interruption or "no sample was taken")
    slowest = float(measured.durations_ms.max())
    failed = [how for timed in measured.contents if (how := describe_failed(timed.failed, timed.calls))]
    unanswered = "has no answer" if failed else "was dropped"
    took = f"took {slowest:.4g} ms" if math.isfinite(slowest) else unanswered
    why = (
        f"the slowest of {measured.count} inferences {took}, which says nothing of the slowest to come: "
        "latency_p999_ms and deadline_miss_rate can be shown to be kept"
    )
    return Finding(
        MAX,
        slowest,
        bound_low=slowest,
        undecided_reason=why,
        samples=measured.count,
        raw=raw,
        invalid_reason=measured.doubt,
        remark="; ".join(failed),
    )


def published(
    measured: Measurement, limits: Sequence[Limit], *, service_emulated: bool = False
) -> tuple[Array, dict[str, Any]]:
    """Return what pytest-benchmark reports: the durations of the content whose p99 is judged, and further figures.

    Never the spread inputs and the samples together: quantiles of such a mixture describe neither.

    Args:
        measured: The durations.
        limits: The cell's, on any metric.
        service_emulated: Whether the device calls an emulated service: then they are nobody's to be judged.

    Returns:
        The durations in milliseconds, float64[n], empty if they could not be believed; and the content's name, its
        ``p99_ms`` and ``p999_ms``, p99's ``bound_ms``, ``bound_low_ms``, ``blocks`` and ``block_ms``, the verdict on
        each metric (``verdicts``), how many releases were ``dropped`` and how many calls ``failed``, which have no
        duration, the ``memory_peak_mib``, as far as they are known; and ``service_emulated``, true, where it is.
    """
    if DURATIONS in measured.impossible:
        return np.empty(0), {}
    judged = {metric: latency(measured, metric, "") for metric in QUANTILES}
    checks = {metric: judge(judged[metric], limits, service_emulated=service_emulated) for metric in QUANTILES}
    finding = checks[P99].finding
    name = finding.details.get("content", UNIFORM)
    (durations,) = (timed.values for timed in measured.contents if timed.name == name)
    more: dict[str, Any] = {"content": name} | ({"service_emulated": True} if service_emulated else {})
    if finding.value is not None:
        figures: dict[str, float | None] = {
            "p99_ms": finding.value,
            "p999_ms": quantiles.estimate(durations, QUANTILES[P999]),
        }
        figures |= {"bound_ms": finding.bound, "bound_low_ms": finding.bound_low}
        more |= {name: as_figure(figure) for name, figure in figures.items()}
        more |= {key: finding.details[key] for key in ("blocks", "block_ms")}
        more["verdicts"] = {metric.name: str(check.verdict) for metric, check in checks.items()}
    failed = sum(sum(timed.failed.values()) for timed in measured.contents if timed.name == name)
    if measured.clock is not None or failed:  # pytest-benchmark cannot calculate with infinity
        if measured.clock is not None:
            more["dropped"] = int(np.count_nonzero(np.isinf(durations))) - failed
        more |= {"failed": failed} if failed else {}
        durations = durations[np.isfinite(durations)]
    if measured.memory_peak_kib:  # a process that does not come to its end has no peak
        more["memory_peak_mib"] = max(measured.memory_peak_kib) / 1024
    return durations, more


def deadline_miss_rate(measured: Measurement, deadline_ms: float | None, limit: float | None, raw: str) -> Finding:
    """Report the share of inferences that miss the deadline, and its upper bound, on whichever content is worse.

    Args:
        measured: The durations.
        deadline_ms: From when on an answer is late, in milliseconds; None if the model file sets no deadline.
        limit: The rate that may not be exceeded, 0 to 1, if there is a limit.
        raw: The path of the raw samples, for the evidence.
    """
    metric = DEADLINE_MISS_RATE
    if deadline_ms is None:
        why = "the model file sets no deadline: limits={'deadline_ms': …}"
        return Finding(metric, not_applicable=why, unasked=limit is None)
    finding = _finding(metric, measured, Tail.of_misses(deadline_ms, limit), raw)
    if limit is None and (missed := finding.details.get("missed")):
        # A deadline alone sets no limit: without this note, a model that always misses it would pass silently.
        what = (
            f"{missed} of {finding.samples} inferences missed the deadline of {deadline_ms:g} ms; nothing limits that:"
        )
        finding = replace(finding, notes=(*finding.notes, f"{what} limits={{'deadline_miss_rate': …}}"))
    return replace(finding, at=lambda value: deadline_miss_rate(measured, deadline_ms, value, raw))


def _finding(metric: Metric, measured: Measurement, tail: Tail, raw: str) -> Finding:
    if impossible := measured.impossible.get(DURATIONS):  # the raw durations stay in the evidence, without any figure
        return Finding(metric, samples=measured.count, raw=raw, no_bound_reason=impossible)
    if not measured.count:
        return Finding(metric, no_bound_reason=measured.interruption or "no sample was taken")
    each, judged = compare_contents(measured, measured.standings(tail))
    return replace(
        finding_on(metric, measured, judged, raw),
        invalid_reason=_join_reasons(judged.open, measured.doubt),
        taken_on=judged.taken_on if len(each) > 1 else "",
        details=_details(measured, each, judged, tail),
    )


def compare_contents(measured: Measurement, standings: Sequence[Standing]) -> tuple[list[Figures], Figures]:
    """Compute the figures of each content, and choose those that are judged."""
    each = [_without_growing(tail_figures(standing, measured.explain_open), measured) for standing in standings]
    return each, worse(each, is_limited=standings[0].tail.limit is not None)


def finding_on(metric: Metric, measured: Measurement, judged: Figures, raw: str) -> Finding:
    """Make a finding of the figures that are judged; doubts and details are its metric's own."""
    return Finding(
        metric,
        judged.value,
        judged.bound,
        bound_low=judged.bound_low,
        undecided_reason=judged.open,
        confidence=quantiles.CONFIDENCE,
        samples=judged.timed.count,
        raw=raw,
        no_bound_reason=judged.open,
        remark=_remark(measured, judged),
    )


def _without_growing(figures: Figures, measured: Measurement) -> Figures:
    """Take its upper bound from the figures of a content whose queue grows, unless the limit is broken anyway."""
    growing = "" if figures.is_broken else why_growing(figures.timed, measured.clock)
    return replace(figures, bound=None, open=growing) if growing else figures


def _remark(measured: Measurement, judged: Figures) -> str:
    """Say what a reader of a broken limit should know: how many calls failed, and what else broke it."""
    failed = describe_failed(judged.timed.failed, judged.timed.calls)
    other = why_growing(judged.timed, measured.clock) or _name_processes(judged)
    return "; ".join(filter(None, [failed, other]))


def _name_processes(judged: Figures) -> str:
    """Name the processes that break the limit by themselves, where all together do not."""
    numbers = [str(index + 1) for index in judged.broken_by]
    if not numbers:
        return ""
    each = " and ".join(numbers)
    processes = f"{each} of {len(judged.timed.processes)}"
    return f"process {processes} breaks it alone, and the verdict is about the processes that ran"


def _details(measured: Measurement, each: Sequence[Figures], judged: Figures, tail: Tail) -> dict[str, Any]:
    timed = judged.timed
    details: dict[str, Any] = {}
    if judged.blocks is not None:
        sizes = judged.blocks.sizes
        details = {"blocks": judged.blocks.count, "block_ms": measured.block_ms}
        details |= {"inferences_per_block": list(sizes), "blocks_by_process": list(judged.blocks.counts)}
    if measured.clock is not None:
        details |= describe_releases(timed, measured.clock)
    details |= {"processes": [len(durations) for durations in timed.processes], "inputs": timed.inputs}
    if tail.is_rate:
        missed = int(np.count_nonzero(timed.values > tail.threshold_ms))
        details = {"deadline_ms": tail.threshold_ms, "missed": missed, **details}
    if failed := timed.failed:
        details["failed"] = failed
    if drawn := timed.drawn_sizes:
        details["sizes"] = drawn
    if len(each) > 1:
        details |= {"content": timed.name, "by_content": {content.timed.name: content.described() for content in each}}
    return details


def _join_reasons(no_bound_reason: str, invalid_reason: str) -> str:
    """Join both reasons if the measurement is invalid; return "" if it is not."""
    return "; ".join(filter(None, [no_bound_reason, invalid_reason])) if invalid_reason else ""
