"""Checks: one metric of a cell, judged against its limits.

``judge`` turns a Finding, which is what was measured, into a Check. Only a bound can pass a limit, never an estimate;
where the measurement does not settle the question, the verdict is INCONCLUSIVE.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from ..errors import InputError
from .finding import Finding
from .limits import Limit

NOTHING = "nothing was measured"


class Verdict(StrEnum):
    """The verdict on a check, a cell or a run; docs/glossary.md has the pytest outcome of each."""

    PASS = "PASS"  # noqa: S105  # not a password
    MEASURED = "MEASURED"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    INELIGIBLE = "INELIGIBLE"
    NOT_APPLICABLE = "NOT_APPLICABLE"


@dataclass(frozen=True)
class Check:
    """A finding, the limit that it was judged by, the verdict, and the reason for it."""

    finding: Finding
    limit: Limit | None
    verdict: Verdict
    reason: str


EMULATED = "an emulated CPU's clock says nothing about a board"
SERVICE_EMULATED = "the service is emulated: the figure is the device's and the network's share, and no cloud's"


def judge(
    finding: Finding, limits: Iterable[Limit], *, emulated: bool = False, service_emulated: bool = False
) -> Check:
    """Judge a finding against all limits on its metric; the strictest limit decides.

    Args:
        finding: What was measured; limits that come with it count too.
        limits: The cell's limits on all metrics; those on other metrics are ignored.
        emulated: Whether the device is emulated: metrics that are measured with a clock are then NOT_APPLICABLE.
        service_emulated: Whether the service that the device calls is: they are then, too, and keep their figure.

    Returns:
        The check, with the strictest limit that could be judged.
    """
    metric = finding.metric
    own = [limit for limit in (*limits, *finding.limits) if limit.key == metric.limit_key]
    if emulated and metric.wall_clock:
        # Drop the figure: somebody might believe it.
        finding = Finding(metric, not_applicable=EMULATED, unasked=finding.unasked and not own)
    strictest = min if metric.bound == "max" else max
    valid = [limit for limit in own if not limit.invalid_reason]
    invalid = [limit for limit in own if limit.invalid_reason]
    limit = strictest(valid, key=lambda each: each.value) if valid else None
    if limit is not None and finding.at is not None:
        finding = finding.at(limit.value)
    if service_emulated and metric.wall_clock and not finding.not_applicable:
        finding = replace(finding, not_applicable=SERVICE_EMULATED, at=None)
    verdict, reason = _verdict(finding, limit)
    if invalid and verdict in (Verdict.PASS, Verdict.MEASURED):  # a FAIL stays one, whatever else cannot be judged
        return Check(finding, invalid[0], Verdict.INCONCLUSIVE, invalid[0].invalid_reason)
    return Check(finding, limit, verdict, reason)


def refuse_no_finding(found: object) -> None:
    """Refuse what a test of a user's hands on in place of a finding, before it is judged.

    Raises:
        InputError: it is no Finding, or its value or bound is no number.
    """
    hint = "see docs/fixtures.md for what a finding says"
    if not isinstance(found, Finding):
        raise InputError("a test recorded no finding", wanted="a Finding", found=f"{found!r:.200}", hint=hint)
    for name in ("value", "bound", "bound_low"):
        number = getattr(found, name)
        if number is not None and (isinstance(number, bool) or not isinstance(number, (int, float))):
            raise InputError(
                f"a finding's {name} is no number",
                wanted="a number of Python's, or None",
                found=f"{number!r:.200}, of type {type(number).__name__}",
                where=str(found.metric.name),
                hint=hint,
            )


def _verdict(finding: Finding, limit: Limit | None) -> tuple[Verdict, str]:
    if finding.not_applicable:
        return Verdict.NOT_APPLICABLE, finding.not_applicable
    if finding.failure:
        return Verdict.FAIL, finding.failure
    if limit is None:
        measured = finding.value is not None
        return (
            (Verdict.MEASURED, finding.invalid_reason)
            if measured
            else (Verdict.INCONCLUSIVE, finding.no_bound_reason or NOTHING)
        )
    if finding.not_judged_reason:
        return Verdict.NOT_APPLICABLE, finding.not_judged_reason
    if finding.invalid_reason:
        return Verdict.INCONCLUSIVE, finding.invalid_reason
    is_upper = finding.metric.bound == "max"
    if (low := finding.bound_low) is not None and (limit.value < low if is_upper else limit.value > low):
        return Verdict.FAIL, _explain_broken(finding, limit, low)
    if finding.bound is not None and (finding.bound <= limit.value if is_upper else finding.bound >= limit.value):
        return Verdict.PASS, ""
    if finding.undecided_reason:
        return Verdict.INCONCLUSIVE, finding.undecided_reason
    if finding.bound is None or finding.bound_low is not None:
        return Verdict.INCONCLUSIVE, finding.no_bound_reason or NOTHING
    return Verdict.FAIL, _explain_broken(finding, limit, finding.bound)


def _explain_broken(finding: Finding, limit: Limit, beyond: float) -> str:
    """Word why a limit is broken by a bound: the only one, or the lower one of two."""
    metric = finding.metric
    sign = "≤" if metric.bound == "max" else "≥"
    unit = f" {metric.unit}" if metric.unit else ""
    least = "at least " if finding.bound_low is not None else ""
    bound = f"{least}{metric.shown(beyond, 4)}{unit}"
    if finding.confidence is not None and finding.value is not None:
        estimate = metric.shown(finding.value, 4)
        on = f" on {finding.taken_on}" if finding.taken_on else ""
        count = f"{finding.samples} {metric.counts or 'samples'}"
        bound += f" at {finding.confidence:.0%} confidence (estimate {estimate}, {count}{on})"
    bound += f" ({finding.compared})" if finding.compared else ""
    reason = f"wanted {sign} {metric.shown(limit.value)}{unit} ({limit.source}); found {bound}"
    return ". ".join(filter(None, ["; ".join(filter(None, [reason, finding.remark])), limit.remark]))


def overall(verdicts: Sequence[Verdict]) -> Verdict:
    """Combine the verdicts of a cell's checks, or of a run's cells: the worst decides.

    Without any verdict, or with NOT_APPLICABLE alone, nothing was shown: INCONCLUSIVE, never PASS.
    """
    for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.INELIGIBLE, Verdict.PASS, Verdict.MEASURED):
        if verdict in verdicts:
            return verdict
    return Verdict.INCONCLUSIVE
