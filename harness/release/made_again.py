"""Each metric's finding made again, by the measuring room's own functions, of what stands in the evidence.

What a function takes of a check's own keys, such as load times, is of the device's own words and has no file of raw
samples: the figures then follow from these keys, and nothing else vouches for them.
"""

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
from ..measure import accuracy, against, artifact_size, first_start, growth, instructions, latency, load_time, memory
from ..measure.measurement import Measurement
from ..measure.memory_cap import MemoryCap
from ..measure.memory_series import MemorySeries
from ..measure.pairs import Pairs, Plan
from ..measure.start_jitter import START_JITTER, start_jitter
from ..model.model import Array
from ..parity import PARITY
from ..protocol.page_cache import Dropped
from .rebuilt import OLDER, NotMadeAgain, RebuiltCell

Make = Callable[[RebuiltCell, CheckEntry], Finding]

# The keys of a parity that failed; one that did not has FIXED_LIST.
OF_FAILED_PARITY, FIXED_LIST = ("input", "replay", "location"), "fixed_list"
OWN = "its numbers are those of a test of the user's own: only its verdict was made again"
READ = "its figure rests on what the evidence says alone: no raw samples vouch for it"


def _load(load_ns: int) -> LoadReport:
    return LoadReport(load_ns=load_ns, memory_kib={}, outputs=(), runtime={}, settings={}, first=(), first_ns=1)


def _quantile(metric: Metric) -> Make:
    def make(cell: RebuiltCell, check: CheckEntry) -> Finding:
        measured = _measured(cell, check)
        closed = as_number(_extra(check).get("closed_loop_p50_ms"))
        measured = replace(measured, closed_p50_ms=closed) if metric is latency.P50 else measured
        return _at_limit(cell, metric, lambda limit: latency.latency(measured, metric, check.raw or "", limit))

    return make


def _max(cell: RebuiltCell, check: CheckEntry) -> Finding:
    measured = _measured(cell, check)
    return _at_limit(cell, latency.MAX, lambda limit: latency.latency_max(measured, limit, check.raw or ""))


def _misses(cell: RebuiltCell, check: CheckEntry) -> Finding:
    measured, deadline_ms = _measured(cell, check), cell.limit_value("deadline_ms")
    metric = latency.DEADLINE_MISS_RATE
    return _at_limit(
        cell, metric, lambda limit: latency.deadline_miss_rate(measured, deadline_ms, limit, check.raw or "")
    )


def _jitter(cell: RebuiltCell, check: CheckEntry) -> Finding:
    measured = _measured(cell, check)
    return _at_limit(cell, START_JITTER, lambda limit: start_jitter(measured, limit, check.raw or ""))


def _measured(cell: RebuiltCell, check: CheckEntry) -> Measurement:
    """Return the measurement that a check rests on; an empty one where it is said not to apply, and has no samples."""
    if check.raw is None and check.verdict is Verdict.NOT_APPLICABLE and check.value is None:
        return Measurement(clock=cell.clock)
    return cell.measured(check)


def _at_limit(cell: RebuiltCell, metric: Metric, make: Callable[[float | None], Finding]) -> Finding:
    """Make a finding once: at its limit, where it has one."""
    return make(None) if cell.limit_value(metric.limit_key) is None else Finding(metric, at=make)


def _load_time(cell: RebuiltCell, check: CheckEntry) -> Finding:
    loads = [_load(round(seconds * 1e9)) for seconds in _extra(check)["each_s"]]
    return load_time.load_time(replace(cell.untimed, loads=loads))


def _first_start(cell: RebuiltCell, check: CheckEntry) -> Finding:
    if cell.limit_value(first_start.FIRST_START.limit_key) is None:
        return first_start.unasked()
    extra = _extra(check)
    starts = first_start.FirstStarts(loads=[_load(round(seconds * 1e9)) for seconds in extra["each_s"]])
    for each in extra["dropped"]:
        before, after, untold = each["pages"]
        counts = {"files": each["files"], "unreadable": each["unreadable"], "pages": before, "hidden": 0}
        pages = {"page_bytes": each["page_bytes"], "before": before, "after": after, "untold": untold}
        starts.dropped.append(Dropped(**counts, **pages, kept=[], holders=[]))
        starts.read_bytes.append(each["read_bytes"])
    made = first_start.first_start(starts)
    told = {name: extra[name] for name in ("mapped_by", "dropped")}
    return replace(made, details={**made.details, **told})


def _memory(cell: RebuiltCell, check: CheckEntry) -> Finding:
    extra, limit_mib = _extra(check), cell.limit_value(memory.PEAK.limit_key)
    cap = MemoryCap(**extra["cap"]) if "cap" in extra else None
    if limit_mib is not None and (cap is None or cap.limit_mib != limit_mib):
        tried = "nothing" if cap is None else f"{cap.limit_mib:g} MiB"
        raise NotMadeAgain(f"cap: the limit of {limit_mib:g} MiB was to be tried out, and {tried} was")
    peaks = list(extra["peaks_kib"])
    steps = {step: mib * 1024 for step, mib in extra["after_mib"].items()}
    states = cell.untimed.states if not cell.cell.emulated else []
    return memory.memory_peak(
        Measurement(states=states, memory_peak_kib=peaks, memory_steps_kib=[steps] * len(peaks)), cap
    )


def _growth(cell: RebuiltCell, check: CheckEntry) -> Finding:
    series = [
        MemorySeries(
            count=each["inferences"],
            inferences=[before for before, _ in each["fitted"]],
            kib=[kib for _, kib in each["fitted"]],
        )
        for each in _extra(check).get("by_process", [])
    ]
    measured = Measurement(memory_series=series)
    limit = cell.limit_value(growth.MEMORY_GROWTH.limit_key)
    return growth.memory_growth(measured, limit)


def _artifact_size(cell: RebuiltCell, check: CheckEntry) -> Finding:
    size = cell.artifact_bytes()
    if cell.cell.artifact is None or cell.cell.artifact.bytes != size:
        said = None if cell.cell.artifact is None else cell.cell.artifact.bytes
        raise NotMadeAgain(f"artifact: bytes: the evidence says {said}, and its bundle's manifest {size}")
    return artifact_size.size_finding(size)


def _accuracy(cell: RebuiltCell, check: CheckEntry) -> Finding:
    if check.verdict is Verdict.NOT_APPLICABLE and check.value is None:
        return Finding(accuracy.ACCURACY, not_applicable=check.reason)
    extra, value = _extra(check), as_number(check.value)
    if value is None or check.samples > extra["given"]:
        raise NotMadeAgain(f"samples: {check.samples} were scored of {extra['given']}, to a score of {value}")
    return accuracy.score_finding(value, taken=check.samples, given=extra["given"], eager=extra["eager"])


def _parity(cell: RebuiltCell, check: CheckEntry) -> Finding:
    extra, value = _extra(check), as_number(check.value)
    has_failed = any(extra.get(key) or getattr(check, key, None) for key in OF_FAILED_PARITY)
    failure = check.reason or "an input failed" if has_failed or FIXED_LIST not in extra else ""
    details = {**extra, "tolerance": cell.limit_value(PARITY.limit_key)}
    nothing = "" if check.samples else "no input was tried"
    bound = None if nothing else value
    return Finding(
        PARITY, value, bound, samples=check.samples, failure=failure, no_bound_reason=nothing, details=details
    )


def _instructions(cell: RebuiltCell, check: CheckEntry) -> Finding:
    if check.verdict is Verdict.NOT_APPLICABLE and check.value is None and not cell.cell.emulated:
        return instructions.not_counted()
    extra, raw, inputs = _extra(check), cell.raw(check), cell.raw_inputs(check)
    each: Mapping[str, Any] = extra.get("by_content") or {UNIFORM: {"samples": check.samples}}
    contents, place = list[Timed](), 0
    for name, described in each.items():
        part = slice(place, place + described["samples"])
        given, step = described.get("given", 0), described.get("samples_per_call", 1)
        contents.append(Timed(name=name, given=given, step=step, processes=[raw[part]], numbers=[inputs[part]], unit=1))
        place += described["samples"]
    if place != len(raw) or len(raw) != len(inputs) or [*each] not in ([UNIFORM], [UNIFORM, SAMPLES]):
        raise NotMadeAgain(f"raw: {len(raw)} counts with {len(inputs)} inputs, and the check's contents have {place}")
    count = Count(contents=contents, load=_load(1), described=extra["counted_by"], operators=extra.get("operators", ()))
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


def _against(cell: RebuiltCell, check: CheckEntry) -> Finding:
    limit = cell.limit_value(against.OVER_OTHER.limit_key)
    if check.verdict is Verdict.NOT_APPLICABLE and check.value is None:
        return against.not_asked(limit)
    extra, raw = _extra(check), cell.raw(check)
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


def own_metric(check: CheckEntry) -> Metric:
    """Return the metric of a check that none of hilgate's own modules knows, as far as the evidence tells."""
    bound = "min" if check.better == "higher" else "max"
    return Metric(check.metric, check.unit, "", bound=bound, whole=check.whole, counts=check.counts)


def make_own(cell: RebuiltCell, check: CheckEntry) -> Finding:
    """Return the finding that a test of the user's own recorded, of which nothing is known but its numbers."""
    is_left_out, is_open = check.verdict is Verdict.NOT_APPLICABLE, check.verdict is Verdict.INCONCLUSIVE
    return Finding(
        own_metric(check),
        as_number(check.value),
        as_number(check.bound),
        bound_low=as_number(check.bound_low),
        confidence=check.confidence,
        samples=check.samples,
        raw=check.raw or "",
        not_applicable=check.reason or "it does not apply" if is_left_out and check.value is None else "",
        not_judged_reason=check.reason or "it is not judged" if is_left_out and check.value is not None else "",
        undecided_reason=check.reason if is_open else "",
        unasked=not check.asked,
        compared=check.compared,
    )


def _extra(check: CheckEntry) -> Mapping[str, Any]:
    return check.model_extra or {}


METRICS: Mapping[str, tuple[Metric, Make]] = {
    **{metric.name: (metric, _quantile(metric)) for metric in latency.QUANTILES},
    latency.MAX.name: (latency.MAX, _max),
    latency.DEADLINE_MISS_RATE.name: (latency.DEADLINE_MISS_RATE, _misses),
    START_JITTER.name: (START_JITTER, _jitter),
    load_time.LOAD_TIME.name: (load_time.LOAD_TIME, _load_time),
    first_start.FIRST_START.name: (first_start.FIRST_START, _first_start),
    memory.PEAK.name: (memory.PEAK, _memory),
    growth.MEMORY_GROWTH.name: (growth.MEMORY_GROWTH, _growth),
    artifact_size.ARTIFACT_SIZE.name: (artifact_size.ARTIFACT_SIZE, _artifact_size),
    accuracy.ACCURACY.name: (accuracy.ACCURACY, _accuracy),
    PARITY.name: (PARITY, _parity),
    instructions.INSTRUCTIONS.name: (instructions.INSTRUCTIONS, _instructions),
    against.OVER_OTHER.name: (against.OVER_OTHER, _against),
}
# Metrics whose figures have raw samples, or follow from such as are hashed.
VOUCHED = frozenset({*(metric.name for metric in latency.METRICS), START_JITTER.name, against.OVER_OTHER.name}) | {
    instructions.INSTRUCTIONS.name,
    artifact_size.ARTIFACT_SIZE.name,
}


def make_again(cell: RebuiltCell, check: CheckEntry) -> tuple[Finding, str]:
    """Make a check's finding again.

    Returns:
        The finding, and what a reader should know of it: that nothing but the evidence's own words vouches for it.

    Raises:
        NotMadeAgain: What it takes is not there, or not what it should be.
    """
    metric, make = METRICS.get(check.metric, (own_metric(check), make_own))
    if cell.cell.emulated and metric.wall_clock:
        return Finding(metric, unasked=not check.asked), ""
    try:
        finding = make(cell, check)
    except KeyError as error:
        raise NotMadeAgain(f"{error.args[0]}: the check does not have this key; {OLDER}") from error
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise NotMadeAgain(f"details: they are not what hilgate writes ({type(error).__name__}: {error})") from error
    remark = "" if check.metric in VOUCHED else OWN if make is make_own else READ
    return with_doubt(finding, check.doubt), remark


def with_doubt(finding: Finding, doubt: str) -> Finding:
    """Return a finding with a stored doubt, where none was made again: it can only make a verdict worse."""
    if not doubt:
        return finding
    at = finding.at
    later = None if at is None else lambda limit: with_doubt(at(limit), doubt)
    return replace(finding, invalid_reason=finding.invalid_reason or doubt, at=later)
