"""Switching: how long the robot waits for its first answer where the far end misses a call and the device steps in.

A switch is an inference whose call failed or came too late, and which the device then answered itself. It takes from
the inference's start to the local answer: at most timeout_ms, and one local inference. Each is one of the raw samples;
``raw_sides`` says which (harness.deploy.sides).

A server that refuses is left at once, one that is silent after timeout_ms. So a limit is kept only where a switch was
seen that waited for all of them: a few that were refused say nothing of a pulled cable.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..agent.sides import FAR, MISSED, UNASKED
from ..checks.finding import Finding
from ..checks.limits import Metric
from ..deploy.content import Timed
from ..deploy.failed_calls import count_kinds
from ..model.model import Array
from .measurement import DURATIONS, Measurement

SWITCH = Metric(
    "switch_ms",
    "ms",
    "with a fallback: from the start of an inference whose call failed to its local answer, the longest that was seen",
    wall_clock=True,
)
METRICS = (SWITCH,)

NO_FALLBACK = "there is no fallback: the backend's options name none"


def switch(measured: Measurement, raw: str, *, has_fallback: bool) -> Finding:
    """Report the longest switch. The bound is the longest that was seen, if one of them waited for timeout_ms.

    Args:
        measured: the measurement.
        raw: the path of the raw samples, for the evidence.
        has_fallback: whether the cell has one.
    """
    if not has_fallback:
        return Finding(SWITCH, not_applicable=NO_FALLBACK, unasked=True)
    if impossible := measured.impossible.get(DURATIONS):
        return Finding(SWITCH, samples=measured.count, raw=raw, no_bound_reason=impossible)
    sides = measured.sides
    if not len(sides):
        return Finding(SWITCH, no_bound_reason=measured.interruption or "no sample was taken")
    answered = count_sides(measured)
    spans = np.concatenate([_switches(timed) for timed in measured.contents]) / 1e6
    details: dict[str, Any] = {"answered": answered, "missed": count_missed(sides)}
    if not len(spans):
        return _not_seen(_why_none(answered), raw, details)
    longest = float(spans.max())
    only_quick = _why_quick(longest, measured.timeout_ms)
    return Finding(
        SWITCH,
        longest,
        None if only_quick else longest,
        bound_low=longest,
        undecided_reason=only_quick,
        no_bound_reason=only_quick,
        samples=len(spans),
        raw=raw,
        invalid_reason=measured.state_doubt,
        remark=f"the longest of {len(spans)} switches",
        details={**details, "median_ms": float(np.median(spans)), "timeout_ms": measured.timeout_ms},
    )


def _why_quick(longest_ms: float, timeout_ms: float | None) -> str:
    """Say why the switches that were seen do not bound the others: none of them waited as long as one may."""
    if timeout_ms is not None and longest_ms >= timeout_ms:
        return ""
    found = f"none of the switches that were seen had to wait for timeout_ms, {timeout_ms or 0:g} ms"
    return f'{found}: where the far end is silent, one takes that long, and a local inference (network = "outage")'


def _not_seen(why: str, raw: str, details: dict[str, Any]) -> Finding:
    """Report that no switch was seen: that says nothing where nobody has set a limit, and leaves a limit open."""
    asked = Finding(SWITCH, raw=raw, no_bound_reason=why, details=details)
    return Finding(SWITCH, raw=raw, not_applicable=why, details=details, at=lambda _: asked)


def count_sides(measured: Measurement) -> dict[str, int]:
    """Count the answers: of the far end, of the device after a call that failed, and of the device unasked."""
    sides = measured.sides
    return {
        "far": int(np.count_nonzero(sides == FAR)),
        "near_after_a_miss": int(np.count_nonzero(np.isin(sides, MISSED))),
        "near": int(np.count_nonzero(sides == UNASKED)),
    }


def count_missed(sides: Array) -> dict[str, int]:
    """Count the calls that the far end missed, by how they failed.

    Args:
        sides: of inferences that were made, int64[n].
    """
    return count_kinds(np.where(sides == UNASKED, FAR, sides))


def notes_on(answered: dict[str, int]) -> tuple[str, ...]:
    """Word the note of how many answers came from each side."""
    total = sum(answered.values())
    near = total - answered["far"]
    if not near:
        return (f"the far end answered all of {total} inferences: its fallback was not seen at work",)
    return (
        f"of {total} inferences the far end answered {answered['far']} ({answered['far'] / total:.2%}), and the device "
        f"{near}, {answered['near_after_a_miss']} of them after a call that failed",
    )


def _switches(timed: Timed) -> Array:
    """Return how long each switch took, in nanoseconds, int64[n]."""
    parts = [np.empty(0, np.int64)]
    for process, sides in enumerate(timed.sides):
        ran = timed.ran[process]
        parts.append(ran[np.isin(sides[sides >= FAR], MISSED)])
    return np.concatenate(parts)


def _why_none(answered: dict[str, int]) -> str:
    if answered["near"]:
        return "no switch was seen: the device answered from the start, for the far end had not answered before"
    return "no switch was seen: the far end answered each call in time"
