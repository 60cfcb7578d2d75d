"""Each metric's finding made again, by the measuring room's own functions, of what stands in the evidence.

What a function takes of a check's own keys, such as load times, is of the device's own words and has no file of raw
samples: the figures then follow from these keys, and nothing else vouches for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..checks.check import Verdict
from ..checks.finding import Finding
from ..checks.limits import Limit, Metric
from ..decision.figures import as_number
from ..errors import HilgateError
from ..evidence.schema import CheckEntry
from ..measure import (
    accuracy,
    against,
    artifact_size,
    cost,
    first_part,
    first_start,
    growth,
    instructions,
    latency,
    load_time,
    memory,
)
from ..measure.availability import AVAILABILITY
from ..measure.elsewhere import not_on_device
from ..measure.measurement import Measurement
from ..measure.memory_cap import MemoryCap
from ..measure.memory_series import MemorySeries
from ..measure.start_jitter import START_JITTER
from ..measure.switching import SWITCH
from ..parity import PARITY
from ..protocol.page_cache import Dropped
from .made_of_samples import (
    Make,
    extra_of,
    load_report,
    make_availability,
    make_count,
    make_first_part,
    make_jitter,
    make_max,
    make_misses,
    make_pairs,
    make_quantile,
    make_switch,
)
from .rebuilt import NotMadeAgain, RebuiltCell

# What a value raises that is of another kind than hilgate writes; at a limit only while it is judged.
WRONG = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, HilgateError)

# The keys of a parity that failed; one that did not has FIXED_LIST.
OF_FAILED_PARITY, FIXED_LIST = ("input", "replay", "location"), "fixed_list"
OWN = "its numbers are those of a test of the user's own: only its verdict was made again"
READ = "its figure rests on what the evidence says alone: no raw samples vouch for it"


def _load_time(cell: RebuiltCell, check: CheckEntry) -> Finding:
    loads = [load_report(round(seconds * 1e9)) for seconds in extra_of(check)["each_s"]]
    return load_time.load_time(replace(cell.untimed, loads=loads))


def _first_start(cell: RebuiltCell, check: CheckEntry) -> Finding:
    if cell.limit_value(first_start.FIRST_START.limit_key) is None:
        return first_start.unasked()
    extra = extra_of(check)
    starts = first_start.FirstStarts(loads=[load_report(round(seconds * 1e9)) for seconds in extra["each_s"]])
    for each in extra["dropped"]:
        before, after, untold = each["pages"]
        counts = {"files": each["files"], "unreadable": each["unreadable"], "pages": before, "hidden": 0}
        pages = {"page_bytes": each["page_bytes"], "before": before, "after": after, "untold": untold}
        starts.dropped.append(Dropped(**counts, **pages, kept=(), holders=()))
        starts.read_bytes.append(each["read_bytes"])
    made = first_start.first_start(starts)
    told = {name: extra[name] for name in ("mapped_by", "dropped")}
    return replace(made, details={**made.details, **told})


def _memory(cell: RebuiltCell, check: CheckEntry) -> Finding:
    extra, limit_mib = extra_of(check), cell.limit_value(memory.PEAK.limit_key)
    cap = MemoryCap(**extra["cap"]) if "cap" in extra else None
    if limit_mib is not None and (cap is None or cap.limit_mib != limit_mib):
        tried = "nothing" if cap is None else f"{cap.limit_mib:g} MiB"
        raise NotMadeAgain(f"cap: the limit of {limit_mib:g} MiB was to be tried out, and {tried} was")
    peaks = list(extra["peaks_kib"])
    steps = {step: mib * 1024 for step, mib in extra["after_mib"].items()}
    measured = replace(cell.untimed, memory_peak_kib=peaks, memory_steps_kib=[steps] * len(peaks))
    return memory.memory_peak(measured, cap)


def _growth(cell: RebuiltCell, check: CheckEntry) -> Finding:
    series = [
        MemorySeries(
            count=each["inferences"],
            inferences=[before for before, _ in each["fitted"]],
            kib=[kib for _, kib in each["fitted"]],
        )
        for each in extra_of(check).get("by_process", [])
    ]
    measured = Measurement(memory_series=series)
    limit = cell.limit_value(growth.MEMORY_GROWTH.limit_key)
    return growth.memory_growth(measured, limit)


def _artifact_size(cell: RebuiltCell, check: CheckEntry) -> Finding:
    if cell.cell.endpoint is not None and check.value is None:
        return not_on_device(artifact_size.ARTIFACT_SIZE, cell.limit_value(artifact_size.ARTIFACT_SIZE.limit_key))
    size, parts = cell.artifact_bytes(), [cell.cell.artifact]
    parts += [cell.cell.fallback.artifact] if cell.cell.fallback is not None else []
    said = None if cell.cell.artifact is None else sum(part.bytes for part in parts if part is not None)
    if said != size:
        raise NotMadeAgain(f"artifact: bytes: the evidence says {said}, and its bundle's manifest {size}")
    return artifact_size.size_finding(size)


def _accuracy(cell: RebuiltCell, check: CheckEntry) -> Finding:
    if check.verdict is Verdict.NOT_APPLICABLE and check.value is None:
        return Finding(accuracy.ACCURACY, not_applicable=check.reason)
    extra, value = extra_of(check), as_number(check.value)
    if value is None or check.samples > extra["given"]:
        raise NotMadeAgain(f"samples: {check.samples} were scored of {extra['given']}, to a score of {value}")
    return accuracy.score_finding(value, taken=check.samples, given=extra["given"], eager=extra["eager"])


def _parity(cell: RebuiltCell, check: CheckEntry) -> Finding:
    extra, value = extra_of(check), as_number(check.value)
    has_failed = any(extra.get(key) or getattr(check, key, None) for key in OF_FAILED_PARITY)
    failure = check.reason or "an input failed" if has_failed or FIXED_LIST not in extra else ""
    listed = extra.get(FIXED_LIST) or {"tried": 0, "of": 0}
    if listed["tried"] > listed["of"]:
        raise NotMadeAgain(f"{FIXED_LIST}: {listed['tried']} inputs were tried of a list of {listed['of']}")
    details = {**extra, "tolerance": cell.limit_value(PARITY.limit_key)}
    nothing = "" if check.samples else "no input was tried"
    bound = None if nothing else value
    return Finding(
        PARITY, value, bound, samples=check.samples, failure=failure, no_bound_reason=nothing, details=details
    )


def _untold(metric: Metric, check: CheckEntry) -> Finding:
    """Return the finding of a cost of which nothing is known, with the reason."""
    if check.verdict is Verdict.NOT_APPLICABLE:
        return Finding(metric, not_applicable=check.reason, unasked=not check.asked)
    return Finding(metric, no_bound_reason=check.reason)


def _cost_per_hour(cell: RebuiltCell, check: CheckEntry) -> Finding:
    if check.value is None:
        return _untold(cost.PER_HOUR, check)
    return cost.hour_finding(cost.told_prices(extra_of(check)["prices"]))


def _cost_per_million(cell: RebuiltCell, check: CheckEntry) -> Finding:
    if check.value is None:
        return _untold(cost.PER_MILLION, check)
    extra = extra_of(check)
    rate_hz, deadline_ms = extra.get("rate_hz"), cell.limit_value("deadline_ms")
    by_deadline = extra.get("rate_from") == "deadline_ms"
    rate = cost.Rate.of_model(None if by_deadline else rate_hz, deadline_ms) if rate_hz is not None else None
    return cost.million_finding(cost.told_prices(extra["prices"]), rate, cost.Sizes.of_settings(extra))


def own_metric(check: CheckEntry) -> Metric:
    """Return the metric of a check that none of hilgate's own modules knows, as far as the evidence tells."""
    is_lower_bound = check.better == "higher"
    return Metric(
        check.metric, check.unit, "", bound="min" if is_lower_bound else "max", whole=check.whole, counts=check.counts
    )


def make_own(cell: RebuiltCell, check: CheckEntry) -> Finding:
    """Return the finding that a test of the user's own recorded, of which nothing is known but its numbers."""
    metric = own_metric(check)
    is_left_out, is_open = check.verdict is Verdict.NOT_APPLICABLE, check.verdict is Verdict.INCONCLUSIVE
    return Finding(
        metric,
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
        limits=_own_limits(cell, check, metric),
    )


def _own_limits(cell: RebuiltCell, check: CheckEntry, metric: Metric) -> tuple[Limit, ...]:
    """Return the limit that a test of the user's own may have set itself: no file has one, or none as strict."""
    stored, files = as_number(check.limit), [each.value for each in cell.limits if each.key == metric.limit_key]
    strictest = min if metric.bound == "max" else max
    if stored is None or (files and strictest([stored, *files]) != stored):
        return ()
    return (Limit(metric.limit_key, stored, check.limit_source or "the test's own"),)


METRICS: Mapping[str, tuple[Metric, Make]] = {
    **{metric.name: (metric, make_quantile(metric)) for metric in latency.QUANTILES},
    latency.MAX.name: (latency.MAX, make_max),
    latency.DEADLINE_MISS_RATE.name: (latency.DEADLINE_MISS_RATE, make_misses),
    START_JITTER.name: (START_JITTER, make_jitter),
    AVAILABILITY.name: (AVAILABILITY, make_availability),
    cost.PER_HOUR.name: (cost.PER_HOUR, _cost_per_hour),
    cost.PER_MILLION.name: (cost.PER_MILLION, _cost_per_million),
    **{metric.name: (metric, make_first_part(metric)) for metric in first_part.METRICS},
    SWITCH.name: (SWITCH, make_switch),
    load_time.LOAD_TIME.name: (load_time.LOAD_TIME, _load_time),
    first_start.FIRST_START.name: (first_start.FIRST_START, _first_start),
    memory.PEAK.name: (memory.PEAK, _memory),
    growth.MEMORY_GROWTH.name: (growth.MEMORY_GROWTH, _growth),
    artifact_size.ARTIFACT_SIZE.name: (artifact_size.ARTIFACT_SIZE, _artifact_size),
    accuracy.ACCURACY.name: (accuracy.ACCURACY, _accuracy),
    PARITY.name: (PARITY, _parity),
    instructions.INSTRUCTIONS.name: (instructions.INSTRUCTIONS, make_count),
    against.OVER_OTHER.name: (against.OVER_OTHER, make_pairs),
}
# Metrics whose figures have raw samples, or follow from such as are hashed.
VOUCHED = frozenset({metric.name for metric in (*latency.METRICS, *first_part.METRICS, START_JITTER, SWITCH)}) | {
    against.OVER_OTHER.name,
    instructions.INSTRUCTIONS.name,
    artifact_size.ARTIFACT_SIZE.name,
}


def make_again(cell: RebuiltCell, check: CheckEntry) -> tuple[Finding, str]:
    """Make a check's finding again.

    Returns:
        The finding, and what a reader should know of it: that nothing but the evidence's own words vouches for it.

    Raises:
        NotMadeAgain: What it takes is not there, or not what it should be.
        KeyError: The check does not have a key.
        WRONG: A key has a value of another kind than hilgate writes.
    """
    metric, make = METRICS.get(check.metric, (own_metric(check), make_own))
    if cell.cell.emulated and metric.wall_clock:
        return Finding(metric, unasked=not check.asked), ""
    finding = make(cell, check)
    remark = "" if check.metric in VOUCHED else OWN if make is make_own else READ
    return with_doubt(finding, check.doubt), remark


def with_doubt(finding: Finding, doubt: str) -> Finding:
    """Return a finding with a stored doubt, where none was made again: it can only make a verdict worse."""
    if not doubt:
        return finding
    at = finding.at
    later = None if at is None else lambda limit: with_doubt(at(limit), doubt)
    return replace(finding, invalid_reason=finding.invalid_reason or doubt, at=later)
