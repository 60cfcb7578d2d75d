"""Instructions per inference: counted on an emulated board, and compared with a baseline that a person committed.

The median of a fixed number of inferences, and its distribution-free upper bound: what disturbs one (the kernel's
timer, a page that is touched for the first time) is passed over. How they are counted: see harness.counting.
"""

from __future__ import annotations

from typing import Any

from ..baseline import Comparison
from ..counting import Count
from ..finding import Finding
from ..limits import Limit, Metric
from . import quantiles

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
    value = quantiles.estimate(count.instructions, 0.5)
    bound = quantiles.upper_bound(count.instructions, 0.5)
    details: dict[str, Any] = {"counted_by": dict(count.described)}
    if count.operators:
        details["operators"] = [dict(one) for one in count.operators]
    limits: tuple[Limit, ...] = ()
    if comparison is not None:
        details["baseline"] = comparison.described(value)
        limits = (comparison.limit(INSTRUCTIONS.limit_key, value),)
    return Finding(
        INSTRUCTIONS,
        value,
        bound,
        quantiles.CONFIDENCE,
        len(count.instructions),
        raw,
        missing="" if bound is not None else "too few inferences were counted in the time: --time-limit",
        limits=limits,
        details=details,
    )


def unreachable(reason: str) -> Finding:
    """The counting guest did not come up, or was lost: nothing is known of the model."""
    return Finding(INSTRUCTIONS, missing=f"the board that counts is not there: {reason}")
