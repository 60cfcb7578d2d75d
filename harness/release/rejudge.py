"""Judging a cell's evidence again: each check made of what can be verified, and judged by the limits that count now.

No stored verdict, bound or limit is believed. A check's figures are made again of raw samples, whose bytes have the
evidence's hash, by the functions that made the first ones; then ``judge`` judges them. So a release never rests on a
PASS that today's hilgate would not give. What can only be read (see harness.release.made_again) is judged as it
stands, and a stored verdict or doubt that is worse than what follows counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..checks.check import Check, Verdict, judge
from ..checks.finding import Finding
from ..checks.limits import Limit, Metric
from ..evidence.schema import CellEntry, CheckEntry, RunEntry
from ..parity import PARITY
from .differences import list_differences
from .made_again import METRICS, OWN, WRONG, make_again, own_metric
from .rebuilt import OLDER, NotMadeAgain, RebuiltCell

# From the worst on: the order in which ``overall`` combines them.
WORST_FIRST = (
    Verdict.FAIL,
    Verdict.INCONCLUSIVE,
    Verdict.INELIGIBLE,
    Verdict.NOT_APPLICABLE,
    Verdict.MEASURED,
    Verdict.PASS,
)
# Of these metrics a limit may come with the check, not with a file: it is known once the figure is.
OWN_LIMITS = frozenset({"instructions_per_inference", "latency_over_other_percent"})


@dataclass(frozen=True)
class Rejudged:
    """A check that was made again.

    Attributes:
        metric: Its metric's name.
        check: The check as it follows now; its verdict is never better than the one in the evidence.
        problem: What in the evidence does not follow, by key, in words that tell both figures; "" if all does.
        remark: What a reader should know: that only the evidence's own words vouch for the figure; "" if raw samples
            do.
    """

    metric: str
    check: Check
    problem: str = ""
    remark: str = ""


def rejudge(
    folder: Path, run: RunEntry, cell: CellEntry, limits: Sequence[Limit], parity_limit: float
) -> list[Rejudged]:
    """Make every check of a cell again, and judge it by the limits that are handed in.

    Args:
        folder: Where the evidence.json lies, with the samples and manifests that it names.
        run: The whole evidence.
        cell: One of its cells.
        limits: The limits that count, on all metrics, with parameters such as deadline_ms; none is taken from the
            evidence, but for those that come with a check: a baseline's, and --against's own.
        parity_limit: The model file's tolerance, as a multiple of what float32 is off.

    Returns:
        One for each check of the cell, in its order. Never raises for what the evidence says: that is a ``problem``.
    """
    tolerance = Limit(PARITY.limit_key, parity_limit, "the model file's tolerance")
    counting = (*(limit for limit in limits if limit.key != PARITY.limit_key), tolerance)
    rebuilt = RebuiltCell(folder=folder, run=run, cell=cell, limits=counting)
    return [_rejudge(rebuilt, check) for check in cell.checks]


def _rejudge(cell: RebuiltCell, entry: CheckEntry) -> Rejudged:
    metric = METRICS[entry.metric][0] if entry.metric in METRICS else own_metric(entry)
    if entry.value is None and entry.verdict in (Verdict.INCONCLUSIVE, Verdict.FAIL):
        return _of_nothing(cell, entry, metric)
    try:
        made, remark, problems = _make_again(cell, entry)
    except NotMadeAgain as error:
        made = judge(Finding(metric, no_bound_reason=str(error)), cell.limits)
        verdict = Verdict.FAIL if entry.verdict is Verdict.FAIL else Verdict.INCONCLUSIVE
        return Rejudged(entry.metric, replace(made, verdict=verdict, reason=str(error)), str(error))
    if WORST_FIRST.index(entry.verdict) < WORST_FIRST.index(made.verdict):
        made = replace(made, verdict=entry.verdict, reason=entry.reason)
    return Rejudged(entry.metric, made, "; ".join(problems), remark)


def _make_again(cell: RebuiltCell, entry: CheckEntry) -> tuple[Check, str, list[str]]:
    """Make a check again; return it, what is to be known of it, and what in the evidence is another.

    Raises:
        NotMadeAgain: It cannot be.
    """
    try:
        finding, remark = make_again(cell, entry)
        made = judge(finding, cell.limits, emulated=cell.cell.emulated, service_emulated=cell.cell.service_emulated)
        problems = list_differences(entry, made)
    except KeyError as error:
        raise NotMadeAgain(f"{error.args[0]}: the check does not have this key; {OLDER}") from error
    except WRONG as error:
        raise NotMadeAgain(f"details: they are not what hilgate writes ({type(error).__name__}: {error})") from error
    if entry.verdict is not made.verdict and not _may_differ(cell, entry, made, is_own=remark == OWN):
        problems.append(f"verdict: the evidence says {entry.verdict}, and {_worded(made)} follows")
    return made, remark, problems


def _of_nothing(cell: RebuiltCell, entry: CheckEntry, metric: Metric) -> Rejudged:
    """Return a check that came to no figure as it stands: it claims nothing that would have to follow."""
    failure = entry.reason or "it failed" if entry.verdict is Verdict.FAIL else ""
    made = judge(Finding(metric, no_bound_reason=entry.reason, failure=failure), cell.limits)
    limit = None if made.limit is None else made.limit.value
    problem = ""
    if entry.limit != limit and metric.name not in OWN_LIMITS:
        problem = f"limit: the evidence says {entry.limit}, and {limit} follows"
    return Rejudged(entry.metric, replace(made, verdict=entry.verdict, reason=entry.reason), problem)


def _may_differ(cell: RebuiltCell, entry: CheckEntry, made: Check, *, is_own: bool) -> bool:
    """Tell whether a stored verdict may be worse than the one that follows, or milder than a FAIL, for a known reason.

    Files on the device that were found damaged leave a broken limit open (issue 17); and a test of the user's own may
    say why it fails, or is open, in words alone.
    """
    if made.verdict is Verdict.FAIL and entry.verdict is Verdict.INCONCLUSIVE:
        return bool(cell.cell.interruptions)
    is_worse = WORST_FIRST.index(entry.verdict) < WORST_FIRST.index(made.verdict)
    return is_own and is_worse and bool(entry.reason)


def _worded(made: Check) -> str:
    return f"{made.verdict} ({made.reason})" if made.reason else str(made.verdict)
