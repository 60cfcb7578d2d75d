"""Instructions per inference: counted on an emulated board, and compared with a baseline that a person committed.

The figure is the median of a fixed number of inferences, with a distribution-free upper bound: it ignores what
disturbs single inferences, such as the kernel's timer or a page that is touched for the first time. How instructions
are counted: see harness.instructions.counting.
"""

from __future__ import annotations

from typing import Any

from ..checks import quantiles
from ..checks.finding import Finding
from ..checks.limits import Limit, Metric
from ..instructions.baseline import Comparison
from ..instructions.counting import Count
from .figures import Figures, figures, worse

ALLOWANCE = "instructions_over_baseline_percent"
# Counts of one prepared board differ by 0.02 %, of boards that were prepared separately by 0.3 %
# (docs/instructions.md).
DEFAULT_PERCENT = 2.0
INSTRUCTIONS = Metric(
    "instructions_per_inference",
    "",
    "what an emulated CPU executes for one inference, the median",
    whole=True,
    parameters=(ALLOWANCE,),
)
METRICS = (INSTRUCTIONS,)
NOT_COUNTED = "counted on emulated boards only, such as qemu-pi4"


def not_counted() -> Finding:
    """Report that this device cannot count instructions."""
    return Finding(INSTRUCTIONS, not_applicable=NOT_COUNTED)


def instructions(count: Count, raw: str, comparison: Comparison | None = None) -> Finding:
    """Report a cell's instruction count, with the limit that follows from its baseline if it has one.

    Args:
        count: What was counted.
        raw: The path of the counts, for the evidence.
        comparison: The count beside the baseline's; None without a baseline.
    """
    each = [figures(timed, 0.5, _too_few) for timed in count.contents]
    judged = _judged(each, comparison)
    value, bound = judged.value or 0.0, judged.bound
    details: dict[str, Any] = {"counted_by": dict(count.described), "inputs": judged.timed.inputs}
    if len(each) > 1:
        details |= {
            "content": judged.timed.name,
            "by_content": {content.timed.name: content.described() for content in each},
        }
    if count.operators:
        details["operators"] = [dict(operator) for operator in count.operators]
    limits: tuple[Limit, ...] = ()
    if comparison is not None:
        comparison = comparison.of(judged.timed.name)
        details["baseline"] = comparison.described(value)
        limits = (comparison.limit(INSTRUCTIONS.limit_key, value),)
    return Finding(
        INSTRUCTIONS,
        value,
        None if judged.open else bound,
        confidence=quantiles.CONFIDENCE,
        samples=judged.timed.count,
        raw=raw,
        no_bound_reason=judged.open,
        limits=limits,
        taken_on=judged.taken_on if len(each) > 1 else "",
        details=details,
    )


def counts(count: Count) -> dict[str, int]:
    """Return the median count on each content, for a baseline."""
    return {timed.name: int(quantiles.estimate(timed.values, 0.5)) for timed in count.contents if timed.count}


def _judged(each: list[Figures], comparison: Comparison | None) -> Figures:
    """Return the content that exceeds its own baseline's limit by most, else the costlier one."""

    def share_of_limit(content: Figures) -> float:
        if comparison is None or content.open or content.bound is None:
            return 0.0
        return content.bound / comparison.of(content.timed.name).limit(INSTRUCTIONS.limit_key, content.bound).value

    highest = max(each, key=share_of_limit)
    return highest if share_of_limit(highest) > 1 else worse(each, is_limited=False)


def _too_few(found: str, needed: int) -> str:
    bound = "an upper bound of the median"
    return f"too few inferences were counted in the time: {found}; {bound} takes {needed}: --time-limit"


def unreachable(reason: str) -> Finding:
    """Report that the counting guest did not boot or was lost, which says nothing about the model."""
    return Finding(INSTRUCTIONS, no_bound_reason=f"the board that counts is not there: {reason}")


def refused(reason: str) -> Finding:
    """Report that the guest's count cannot be true."""
    return Finding(INSTRUCTIONS, no_bound_reason=reason)
