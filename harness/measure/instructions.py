"""Instructions per inference: counted on an emulated board, and compared with a baseline that a person committed.

The median of a fixed number of inferences, and its distribution-free upper bound: what disturbs one (the kernel's
timer, a page that is touched for the first time) is passed over. How they are counted:
see harness.instructions.counting.
"""

from __future__ import annotations

from typing import Any

from ..checks import quantiles
from ..checks.finding import Finding
from ..checks.limits import Limit, Metric
from ..instructions.baseline import Comparison
from ..instructions.counting import Count
from .figures import Figures, Quantile, Rule, figures, worse

ALLOWANCE = "instructions_over_baseline_percent"
# Runs of one prepared board differ by 0.02 %, of boards prepared separately by 0.3 % (docs/instructions.md).
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
    """Of a board that cannot count."""
    return Finding(INSTRUCTIONS, not_applicable=NOT_COUNTED)


def instructions(count: Count, raw: str, comparison: Comparison | None = None) -> Finding:
    """A cell's count, judged against its baseline, too, where there is one.

    Args:
        raw: the path of the counts, for the evidence.
        comparison: with the baseline's entry for the cell.
    """
    needed = quantiles.samples_needed(0.5)
    rule = Rule(Quantile(0.5), needed, "an upper bound of the median", None, None, _too_few)
    each = [figures(timed, rule) for timed in count.contents]
    judged = _judged(each, comparison)
    value, bound = judged.value or 0.0, judged.bound
    details: dict[str, Any] = {"counted_by": dict(count.described), "inputs": judged.timed.inputs}
    if len(each) > 1:
        details |= {"content": judged.timed.name, "by_content": {one.timed.name: one.described() for one in each}}
    if count.operators:
        details["operators"] = [dict(one) for one in count.operators]
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
    """Of each content the median, for a baseline."""
    return {timed.name: int(quantiles.estimate(timed.values, 0.5)) for timed in count.contents if timed.count}


def _judged(each: list[Figures], comparison: Comparison | None) -> Figures:
    """The content that breaks its own baseline by most, else the costlier."""

    def over(one: Figures) -> float:
        if comparison is None or one.open or one.bound is None:
            return 0.0
        return one.bound / comparison.of(one.timed.name).limit(INSTRUCTIONS.limit_key, one.bound).value

    most = max(each, key=over)
    return most if over(most) > 1 else worse(each, None)


def _too_few(found: str, needed: int, what: str) -> str:
    return f"too few inferences were counted in the time: {found}; {what} takes {needed}: --time-limit"


def unreachable(reason: str) -> Finding:
    """The counting guest did not come up, or was lost: nothing is known of the model."""
    return Finding(INSTRUCTIONS, no_bound_reason=f"the board that counts is not there: {reason}")


def refused(reason: str) -> Finding:
    """What the guest reported cannot be true."""
    return Finding(INSTRUCTIONS, no_bound_reason=reason)
