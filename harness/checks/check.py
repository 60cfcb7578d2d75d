"""Checks: one metric of a cell, judged against its limits.

A Finding is what was measured; ``judge`` makes a Check of it. Only a bound passes a check, never an estimate; and
where nothing can be said, the verdict says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from .finding import Finding
from .limits import Limit

NOTHING = "nothing was measured"


class Verdict(StrEnum):
    """What is said of a check, a cell or a run. docs/glossary.md has each one's pytest outcome."""

    PASS = "PASS"  # noqa: S105  # not a password
    MEASURED = "MEASURED"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    INELIGIBLE = "INELIGIBLE"
    NOT_APPLICABLE = "NOT_APPLICABLE"


@dataclass(frozen=True)
class Check:
    """A finding with its verdict."""

    finding: Finding
    limit: Limit | None
    verdict: Verdict
    reason: str


EMULATED = "an emulated CPU's clock says nothing about a board"


def judge(finding: Finding, limits: Iterable[Limit], *, emulated: bool = False) -> Check:
    """Judge a finding against all the limits on its metric: the strictest decides. Emulated, no clock counts."""
    metric = finding.metric
    if emulated and metric.wall_clock:
        finding = Finding(metric, not_applicable=EMULATED)  # without a figure that somebody might believe
    own = [limit for limit in (*limits, *finding.limits) if limit.key == metric.limit_key]
    strictest = min if metric.bound == "max" else max
    settled, doubted = [one for one in own if not one.doubt], [one for one in own if one.doubt]
    limit = strictest(settled, key=lambda one: one.value) if settled else None
    if limit is not None and finding.at is not None:
        finding = finding.at(limit.value)
    verdict, reason = _verdict(finding, limit)
    if doubted and verdict in (Verdict.PASS, Verdict.MEASURED):  # what is known to be broken is not made better by it
        return Check(finding, doubted[0], Verdict.INCONCLUSIVE, doubted[0].doubt)
    return Check(finding, limit, verdict, reason)


def _verdict(finding: Finding, limit: Limit | None) -> tuple[Verdict, str]:
    if finding.not_applicable:
        return Verdict.NOT_APPLICABLE, finding.not_applicable
    if finding.failure:
        return Verdict.FAIL, finding.failure
    if limit is None:
        measured = finding.value is not None
        return (Verdict.MEASURED, finding.doubt) if measured else (Verdict.INCONCLUSIVE, finding.missing or NOTHING)
    if finding.unjudged:
        return Verdict.NOT_APPLICABLE, finding.unjudged
    if finding.doubt:
        return Verdict.INCONCLUSIVE, finding.doubt
    if finding.bound is None:
        return Verdict.INCONCLUSIVE, finding.missing or NOTHING
    kept = finding.bound <= limit.value if finding.metric.bound == "max" else finding.bound >= limit.value
    return (Verdict.PASS, "") if kept else (Verdict.FAIL, _broken(finding, limit))


def _broken(finding: Finding, limit: Limit) -> str:
    metric = finding.metric
    sign = "≤" if metric.bound == "max" else "≥"
    unit = f" {metric.unit}" if metric.unit else ""
    bound = f"{metric.shown(finding.bound or 0.0, 4)}{unit}"
    if finding.confidence is not None and finding.value is not None:
        estimate = metric.shown(finding.value, 4)
        on = f" on {finding.taken_on}" if finding.taken_on else ""
        bound += f" at {finding.confidence:.0%} confidence (estimate {estimate}, {finding.samples} samples{on})"
    bound += f" ({finding.compared})" if finding.compared else ""
    wanted = f"wanted {sign} {metric.shown(limit.value)}{unit} ({limit.source}); found {bound}"
    return f"{wanted}. {limit.remark}" if limit.remark else wanted


def overall(verdicts: Sequence[Verdict]) -> Verdict:
    """What checks say of a cell, or cells of a run: the worst; nothing judged and nothing measured is never a PASS."""
    for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.INELIGIBLE, Verdict.PASS, Verdict.MEASURED):
        if verdict in verdicts:
            return verdict
    return Verdict.INCONCLUSIVE
