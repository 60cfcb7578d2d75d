"""Metrics and their limits: how good is good enough.

A limit's key is a metric's name, an upper bound; with ``_min`` behind it, a lower bound. Limits come from the model
(what the robot needs) and from the device (what the board can spare); all of them count, so nothing overrides anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from numbers import Real
from typing import Any, Literal

from ..errors import InputError
from ..host.suggestion import did_you_mean

Owner = Literal["model", "device"]


@dataclass(frozen=True)
class Metric:
    """One quantity that hilgate measures.

    Args:
        name: The metric's name, its unit included; also the key of its limit.
        unit: The unit that is shown behind the value; "" for a plain number.
        description: What is measured, in a few words; for documentation.
        bound: Whether a limit bounds the metric from above ("max") or from below ("min").
        wall_clock: Whether it is measured with a clock, and therefore meaningless on an emulated CPU.
        device_limit: Whether a device file may limit it: only what a board can spare, such as memory.
        whole: Whether it is a count, which is shown with all its digits.
        counts: What its samples are, if the table shows their number beside the verdict: "tried" for "306 tried".
        parameters: Further keys of a model's ``limits`` that belong to this metric, such as ``deadline_ms``.
    """

    name: str
    unit: str
    description: str
    _: KW_ONLY
    bound: Literal["max", "min"] = "max"
    wall_clock: bool = False
    device_limit: bool = False
    whole: bool = False
    counts: str = ""
    parameters: tuple[str, ...] = ()

    @property
    def limit_key(self) -> str:
        """Return the key under which files set a limit on this metric."""
        return self.name if self.bound == "max" else f"{self.name}_min"

    def shown(self, value: float, digits: int = 6) -> str:
        """Format a value of this metric for a person, without its unit."""
        return f"{value:,.0f}" if self.whole else f"{value:.{digits}g}"


@dataclass(frozen=True)
class Limit:
    """One limit on one metric, and where it was set.

    Attributes:
        key: The metric's ``limit_key``, or one of its parameters.
        value: The limit, in the metric's unit.
        source: Where it was set, for messages: a file and its key.
        invalid_reason: Why the limit is set but cannot be judged; "" if it can. A check that would have passed is then
            INCONCLUSIVE; another limit that is broken fails it all the same.
        remark: What a reader should know if the limit is broken.
    """

    key: str
    value: float
    source: str
    _: KW_ONLY
    invalid_reason: str = ""
    remark: str = ""


def is_finite_number(value: object) -> bool:
    """Tell whether a user's value is a number (not a bool) that a float can hold and that is finite."""
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
        table: Keys to numbers, as the user wrote them.
        metrics: The metrics that exist.
        owner: Who sets the limits; a device may only limit what the board can spare.
        where: File and key, for messages and as the limits' source.
        error: The class of error to raise.

    Returns:
        One Limit per key, in the table's order.

    Raises:
        InputError: (as ``error``) A key is unknown, or is a metric that this owner cannot limit; or a value is not a
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
    """Describe what is wrong with one limit as an InputError's arguments; return {} if nothing is."""
    if key not in known:
        return {
            "what": f"unknown limit {key!r}",
            "wanted": "one of " + ", ".join(allowed),
            "found": repr(key),
            "hint": did_you_mean(key, allowed),
        }
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
