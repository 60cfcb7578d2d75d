"""Findings: what was measured of one metric, before anybody judges it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .limits import Limit, Metric


@dataclass(frozen=True)
class Finding:
    """What was measured of one metric.

    Attributes:
        value: the estimate, in the metric's unit; None where nothing was measured.
        bound: what the true value does not exceed (or fall below) at ``confidence``; None where nothing can be said
            yet.
        samples: how many inferences, inputs or processes it rests on.
        taken_on: on which inputs, where there are several kinds, for messages.
        no_bound_reason: why there is no bound, and what it would take.
        invalid_reason: why the measurement may not be believed.
        not_applicable: why the metric cannot be asked for here.
        unasked: whether it is not applicable because nobody asked for it: no line for a person, who knows (issue 16).
        not_judged_reason: why a limit on it cannot be judged here, though something was measured.
        failure: why it is wrong whatever a limit says: outputs that differ, a model that was killed.
        limits: bounds on it that no file sets, such as a baseline's.
        details: further keys for the evidence.
        compared: what the value is to be read beside, in a few words: "eager 0.991" of a device's accuracy.
        notes: what a person should read it with, whatever the verdict.
        at: the same as it is judged by a limit of this value, where that depends on it: which of several contents is
            judged, and whether it settles the matter. Whoever makes a finding need not know the limit (issue 15).
    """

    metric: Metric
    value: float | None = None
    bound: float | None = None
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
    at: Callable[[float], Finding] | None = field(default=None, compare=False, repr=False)


RecordCheck = Callable[[Finding], None]
