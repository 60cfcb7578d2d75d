"""Findings made again of raw samples: latencies and their like, counted instructions, pairs of builds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..checks.check import Verdict
from ..checks.finding import Finding
from ..checks.limits import Metric
from ..decision.figures import as_number
from ..deploy.content import SAMPLES, UNIFORM, Timed
from ..deploy.deployment import LoadReport
from ..evidence.schema import CheckEntry
from ..instructions.baseline import BY_CONTENT, VALUE, Comparison
from ..instructions.counting import Count
from ..measure import against, instructions, latency
from ..measure.availability import AVAILABILITY, availability
from ..measure.first_part import first_part
from ..measure.measurement import Measurement
from ..measure.pairs import Pairs, Plan
from ..measure.start_jitter import START_JITTER, start_jitter
from ..measure.switching import switch
from ..model.model import Array
from .rebuilt import NotMadeAgain, RebuiltCell

Make = Callable[[RebuiltCell, CheckEntry], Finding]


def extra_of(check: CheckEntry) -> Mapping[str, Any]:
    """Return the keys of a check that only its metric has."""
    return check.model_extra or {}


def load_report(load_ns: int) -> LoadReport:
    """Make a load report of which nothing but the time is known."""
    return LoadReport(load_ns=load_ns, memory_kib={}, outputs=(), runtime={}, settings={}, first=(), first_ns=1)


def make_quantile(metric: Metric) -> Make:
    """Return what makes a quantile's finding."""

    def make(cell: RebuiltCell, check: CheckEntry) -> Finding:
        measured = _measured(cell, check)
        closed = as_number(extra_of(check).get("closed_loop_p50_ms"))
        measured = replace(measured, closed_p50_ms=closed) if metric is latency.P50 else measured
        return _at_limit(cell, metric, lambda limit: latency.latency(measured, metric, check.raw or "", limit))

    return make


def make_max(cell: RebuiltCell, check: CheckEntry) -> Finding:
    """Make the slowest inference's finding."""
    measured = _measured(cell, check)
    return _at_limit(cell, latency.MAX, lambda limit: latency.latency_max(measured, limit, check.raw or ""))


def make_misses(cell: RebuiltCell, check: CheckEntry) -> Finding:
    """Make the finding of missed deadlines; the deadline is a limit's parameter."""
    measured, deadline_ms = _measured(cell, check), cell.limit_value("deadline_ms")
    metric = latency.DEADLINE_MISS_RATE
    return _at_limit(
        cell, metric, lambda limit: latency.deadline_miss_rate(measured, deadline_ms, limit, check.raw or "")
    )


def make_jitter(cell: RebuiltCell, check: CheckEntry) -> Finding:
    """Make the finding of how late inferences start on a sensor's clock."""
    measured = _measured(cell, check)
    return _at_limit(cell, START_JITTER, lambda limit: start_jitter(measured, limit, check.raw or ""))


def make_availability(cell: RebuiltCell, check: CheckEntry) -> Finding:
    """Make the finding of calls that were answered."""
    measured = _measured(cell, check)
    return _at_limit(cell, AVAILABILITY, lambda limit: availability(measured, limit, check.raw or ""))


def make_first_part(metric: Metric) -> Make:
    """Return what makes a finding of streamed answers' first parts."""

    def make(cell: RebuiltCell, check: CheckEntry) -> Finding:
        # Of an emulated service it is NOT_APPLICABLE, too, and was timed all the same.
        is_timed = any(each.raw_first_parts is not None for each in cell.cell.checks)
        measured, is_streamed = _measured(cell, check), is_timed or check.verdict is not Verdict.NOT_APPLICABLE
        if is_streamed and check.raw_first_parts is None:
            raise NotMadeAgain("raw_first_parts: it is not said when the first part of each answer came")
        return _at_limit(
            cell,
            metric,
            lambda limit: first_part(measured, metric, check.raw or "", limit, is_streamed=is_streamed),
        )

    return make


def make_switch(cell: RebuiltCell, check: CheckEntry) -> Finding:
    """Make the finding of the longest switch to a fallback."""
    return switch(_measured(cell, check), check.raw or "", has_fallback=cell.cell.fallback is not None)


def _measured(cell: RebuiltCell, check: CheckEntry) -> Measurement:
    """Return the measurement that a check rests on; an empty one where it is said not to apply, and has no samples."""
    if check.raw is None and check.verdict is Verdict.NOT_APPLICABLE and check.value is None:
        return Measurement(clock=cell.clock)
    return cell.measured(check)


def _at_limit(cell: RebuiltCell, metric: Metric, make: Callable[[float | None], Finding]) -> Finding:
    """Make a finding once: at its limit, where it has one."""
    return make(None) if cell.limit_value(metric.limit_key) is None else Finding(metric, at=make)


def make_count(cell: RebuiltCell, check: CheckEntry) -> Finding:
    """Make the finding of counted instructions, beside the baseline that the check names."""
    if check.verdict is Verdict.NOT_APPLICABLE and check.value is None and not cell.cell.emulated:
        return instructions.not_counted()
    extra, raw, inputs = extra_of(check), cell.raw(check), cell.raw_inputs(check)
    each: Mapping[str, Any] = extra.get("by_content") or {UNIFORM: {"samples": check.samples}}
    contents, place = list[Timed](), 0
    for name, described in each.items():
        part = slice(place, place + described["samples"])
        given, step = described.get("given", 0), described.get("samples_per_call", 1)
        contents.append(Timed(name=name, given=given, step=step, processes=[raw[part]], numbers=[inputs[part]], unit=1))
        place += described["samples"]
    if place != len(raw) or len(raw) != len(inputs) or [*each] not in ([UNIFORM], [UNIFORM, SAMPLES]):
        raise NotMadeAgain(f"raw: {len(raw)} counts with {len(inputs)} inputs, and the check's contents have {place}")
    count = Count(
        contents=contents, load=load_report(1), described=extra["counted_by"], operators=extra.get("operators", ())
    )
    return instructions.instructions(count, check.raw or "", _comparison(cell, extra))


def _comparison(cell: RebuiltCell, extra: Mapping[str, Any]) -> Comparison | None:
    baseline, percent = extra.get("baseline"), cell.limit_value(instructions.ALLOWANCE)
    if baseline is None:
        kinds = [file.kind for file in cell.run.files if file.kind == "baseline" and file.name == cell.cell.device]
        if kinds:
            raise NotMadeAgain("baseline: the run read one, and the count is compared with none")
        return None
    refused = "refused" in baseline
    entry = {VALUE: baseline.get("value"), BY_CONTENT: baseline.get(BY_CONTENT, {}), "context": {}}
    percent = instructions.DEFAULT_PERCENT if percent is None else percent
    return Comparison(None if refused else entry, {"context": {}}, percent, baseline["file"])


def make_pairs(cell: RebuiltCell, check: CheckEntry) -> Finding:
    """Make the finding of pairs of two builds."""
    limit = cell.limit_value(against.OVER_OTHER.limit_key)
    if check.verdict is Verdict.NOT_APPLICABLE and check.value is None:
        return against.not_asked(limit)
    extra, raw = extra_of(check), cell.raw(check)
    names, pairs, inferences = list(extra.get("by_content") or [UNIFORM]), extra["pairs"], extra["inferences"]
    if pairs * 2 * len(names) * inferences != len(raw) or names not in ([UNIFORM], [UNIFORM, SAMPLES]) or pairs < 1:
        wanted = f"{pairs} pairs of {inferences} inferences on {', '.join(names)}"
        raise NotMadeAgain(f"raw: {len(raw)} raw samples are not those of {wanted}")
    cut = raw.reshape(pairs, 2, len(names), inferences)
    done = [(_process(names, one[0]), _process(names, one[1])) for one in cut]
    plan = Plan(pairs=pairs, inferences=inferences, step=1, expected_s=0.0)
    sizes = extra["artifact_bytes"]
    return against.against(
        Pairs(plan=plan, done=done, lost=extra["lost"]),
        limit,
        raw=check.raw or "",
        artifact_bytes=(sizes["other"], sizes["this"]),
    )


def _process(names: list[str], durations: Array) -> Measurement:
    timed = [
        Timed(name=name, given=int(name == SAMPLES), processes=[each], numbers=[np.zeros(len(each), np.int64)])
        for name, each in zip(names, durations, strict=True)
    ]
    measured = Measurement(uniform=timed[0])
    if len(timed) > 1:
        measured.samples = timed[1]
    return measured
