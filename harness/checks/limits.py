"""Metrics and their limits: how good is good enough.

A limit's key is a metric's name, an upper bound; with ``_min`` behind it, a lower bound. Limits come from the model
(what the robot needs) and from the device (what the board can spare); all of them count, so nothing overrides anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

from ..errors import InputError
from ..host.suggestion import did_you_mean

Owner = Literal["model", "device"]


@dataclass(frozen=True)
class Metric:
    """One thing that is measured.

    Args:
        name: the metric's name, its unit included; also the key of its limit.
        unit: how the value is shown; "" for a plain number.
        bound: whether a limit bounds it from above ("max") or from below ("min").
        wall_clock: measured with a clock, hence meaningless on an emulated CPU.
        device_limit: whether a device file may limit it: only what a board can spare.
        whole: a number that is counted: shown with all its digits.
        counts: what its samples are, where the verdict is read with their number: "tried".
        parameters: further keys of a model's ``limits`` that belong to this metric, such as ``deadline_ms``.
    """

    name: str
    unit: str
    description: str
    bound: Literal["max", "min"] = "max"
    wall_clock: bool = False
    device_limit: bool = False
    whole: bool = False
    counts: str = ""
    parameters: tuple[str, ...] = ()

    @property
    def limit_key(self) -> str:
        """The key under which a limit of this metric is written."""
        return self.name if self.bound == "max" else f"{self.name}_min"

    def shown(self, value: float, digits: int = 6) -> str:
        """A value of it for a person, without its unit."""
        return f"{value:,.0f}" if self.whole else f"{value:.{digits}g}"


@dataclass(frozen=True)
class Limit:
    """One bound on one metric, and where it was written.

    Attributes:
        invalid_reason: why it cannot be judged, though it is set; what else is broken fails all the same.
        remark: what a person should know where it is broken.
    """

    key: str
    value: float
    source: str
    invalid_reason: str = ""
    remark: str = ""


def is_finite_number(value: object) -> bool:
    """Whether a user's value is a number that a float can hold."""
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # 10**400
        return False


def parse_limits(
    table: Mapping[str, Any],
    *,
    metrics: Iterable[Metric],
    owner: Owner,
    where: str,
    error: type[InputError] = InputError,
) -> tuple[Limit, ...]:
    """Validate a table of limits.

    Args:
        table: keys to numbers, as the user wrote them.
        metrics: the metrics that exist.
        owner: who sets the limits; a device may only say what the board can spare.
        where: file and key, for messages and as the limits' source.
        error: the class to raise.

    Raises:
        InputError: (as ``error``) an unknown key, a metric that this owner cannot limit, or a value that is not a
            finite number ≥ 0.
    """
    keys: dict[str, Metric] = {}
    for metric in metrics:
        keys |= dict.fromkeys((metric.limit_key, *metric.parameters), metric)
    allowed = sorted(key for key, metric in keys.items() if owner == "model" or metric.device_limit)
    for key, value in table.items():
        if problem := _problem(key, value, set(keys), allowed):
            raise error(**problem, where=where)
    return tuple(Limit(key, float(value), where) for key, value in table.items())


def _problem(key: str, value: Any, known: set[str], allowed: list[str]) -> dict[str, str]:
    """What is wrong with one limit, as an InputError's arguments; empty where nothing is."""
    if key not in known:
        wanted = "one of " + ", ".join(allowed)
        hint = did_you_mean(key, allowed)
        return {"what": f"unknown limit {key!r}", "wanted": wanted, "found": repr(key), "hint": hint}
    if key not in allowed:
        return {
            "what": f"a device cannot limit {key!r}",
            "wanted": "what the board can spare: " + ", ".join(allowed),
            "found": repr(key),
            "hint": f"what the robot needs stands in the model file: limits={{{key!r}: {value!r}}}",
        }
    if not is_finite_number(value) or value < 0:
        return {"what": f"limit {key!r} is not a usable number", "wanted": "a finite number ≥ 0", "found": repr(value)}
    return {}
