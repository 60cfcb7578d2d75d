"""Findings: what was measured of one metric, before it is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from .limits import Limit, Metric


@dataclass(frozen=True)
class Finding:
    """What was measured of one metric.

    Attributes:
        metric: What was measured.
        value: The estimate, in the metric's unit; None if nothing was measured.
        bound: What the true value does not exceed (for a metric with ``bound="min"``: does not fall below) at
            ``confidence``, in the metric's unit; None if there is no bound yet. Only a bound passes a limit.
        bound_low: What the true value does not fall below (exceed), at the same confidence. A finding that has two
            bounds, or ``undecided_reason``, fails a limit only where the limit is beyond this one.
        undecided_reason: Why neither bound settles the limit, and what it would take. Leads to INCONCLUSIVE.
        confidence: The bound's confidence, 0 to 1; None for a value that is exact, such as a file's size.
        samples: The number of inferences, inputs or processes that the value rests on.
        raw: The path of the raw samples, relative to the evidence; "" if there are none.
        no_bound_reason: Why there is no bound, and what it would take; "" if there is one. Leads to INCONCLUSIVE.
        invalid_reason: Why the measurement may not be believed, such as a throttled board. Leads to INCONCLUSIVE where
            a limit is set.
        not_applicable: Why the metric cannot be measured here. Leads to NOT_APPLICABLE.
        unasked: Whether it is not applicable only because nobody asked for it; the table then leaves it out (issue 16).
        not_judged_reason: Why a limit cannot be judged here, although a value was measured. Leads to NOT_APPLICABLE.
        failure: Why the check fails whatever its limits are: outputs that differ, a model that was killed.
        limits: Limits that no file sets, such as a baseline's.
        taken_on: The inputs that the value rests on, where there are several kinds; for messages.
        details: Further keys of the check's entry in the evidence.
        notes: What a reader should know beside the verdict, whatever it is.
        compared: What to compare the value with, in a few words: "eager 0.991" for a device's accuracy.
        remark: What a reader should know if a limit is broken, such as by which process.
        at: Given a limit's value, returns the finding as that limit judges it, where it depends on the limit which
            inputs are judged and whether there are enough of them. So whoever measures need not know the limit
            (issue 15).
    """

    metric: Metric
    value: float | None = None
    bound: float | None = None
    _: KW_ONLY
    bound_low: float | None = None
    undecided_reason: str = ""
    confidence: float | None = None
    samples: int = 0
    raw: str = ""
    no_bound_reason: str = ""
    invalid_reason: str = ""
    not_applicable: str = ""
    unasked: bool = False
    not_judged_reason: str = ""
    failure: str = ""
    limits: tuple[Limit, ...] = ()
    taken_on: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    compared: str = ""
    remark: str = ""
    at: Callable[[float], Finding] | None = field(default=None, compare=False, repr=False)


RecordCheck = Callable[[Finding], None]
