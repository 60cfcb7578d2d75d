"""One finding of two sides, of a cell with a fallback: each side is judged by itself, and the worse one counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from .check import Check, Verdict, judge
from .finding import Finding
from .limits import Limit

# From the worst on; of two that are alike the one with the worse value counts.
_ORDER = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.NOT_APPLICABLE)


def worse_of(findings: Mapping[str, Finding], limits: Iterable[Limit]) -> Finding:
    """Return the finding of the side that is judged worse, which names the side, with what was found of both.

    So a PASS is one of both sides, and what was not measured of one of them is not made up for by the other.

    Args:
        findings: of one metric, by the side's name as it is told; at least one.
        limits: the cell's.
    """
    limits = tuple(limits)
    checks = {side: judge(finding, limits) for side, finding in findings.items()}
    worst = min(checks, key=lambda side: _rank(checks[side]))
    finding = findings[worst]
    said = {"failure": finding.failure, "no_bound_reason": finding.no_bound_reason}
    said |= {"invalid_reason": finding.invalid_reason, "undecided_reason": finding.undecided_reason}
    return replace(
        finding,
        **{key: f"{worst}: {text}" for key, text in said.items() if text},  # type: ignore[arg-type]
        remark="; ".join(filter(None, [f"of {worst}", finding.remark])),
        notes=tuple(f"{side}: {note}" for side, each in findings.items() for note in each.notes),
        details={**finding.details, "by_side": {side: _described(check) for side, check in checks.items()}},
    )


def _rank(check: Check) -> tuple[int, float]:
    place = _ORDER.index(check.verdict) if check.verdict in _ORDER else len(_ORDER)
    value, sign = check.finding.value, -1 if check.finding.metric.bound == "max" else 1
    return place, sign * value if value is not None else -float("inf")


def _described(check: Check) -> dict[str, Any]:
    described: dict[str, Any] = {"verdict": str(check.verdict), "samples": check.finding.samples}
    if (value := check.finding.value) is not None:
        described["value"] = value if abs(value) < float("inf") else str(value)
    return described | ({"reason": check.reason} if check.reason else {})
