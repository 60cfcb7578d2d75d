"""What a closed loop's samples say of one content, with how much they can say: a bound rests on different inputs.

- Inputs that were made, each timed once: as many as there are samples.
- The model file's samples, where as many of them were timed as the bound needs: they stand for others of their kind.
  One that was timed several times counts once, by the median of its own inferences; what disturbs single inferences is
  bounded by all of them. The larger of both bounds is judged.
- Fewer samples than that: then what is said holds over all samples of the file, of which each was timed equally often,
  and of no others.

A sample that is too slow by itself, but too rare in the file to break the limit, leaves it open whether the limit is
kept, unless there are enough samples to show how rare its like is: a file has no more of them to give.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from ..checks import quantiles
from ..deploy.content import Timed
from ..model.inputs import at_sizes
from ..model.model import Array

FILE = "all samples of the file, and no others"
ALIKE = "inputs like these"


class Statistic(Protocol):
    """What is asked of the durations."""

    def value(self, durations_ms: Array) -> float:
        """The estimate."""

    def bound(self, durations_ms: Array) -> float | None:
        """Its upper bound; None: too few."""


@dataclass(frozen=True)
class Quantile:
    """A quantile of the durations, in milliseconds."""

    quantile: float

    def value(self, durations_ms: Array) -> float:
        """The empirical quantile."""
        return quantiles.estimate(durations_ms, self.quantile)

    def bound(self, durations_ms: Array) -> float | None:
        """An order statistic."""
        return quantiles.upper_bound(durations_ms, self.quantile)


@dataclass(frozen=True)
class Misses:
    """The share of durations above a deadline."""

    deadline_ms: float

    def value(self, durations_ms: Array) -> float:
        """The share that was seen."""
        return float(np.count_nonzero(durations_ms > self.deadline_ms) / len(durations_ms))

    def bound(self, durations_ms: Array) -> float | None:
        """Clopper and Pearson's."""
        missed = int(np.count_nonzero(durations_ms > self.deadline_ms))
        return quantiles.proportion_upper_bound(missed, len(durations_ms))


@dataclass(frozen=True)
class Rule:
    """What is asked, and how much it takes.

    Attributes:
        statistic: what is asked.
        needed: how many different inputs an upper bound takes.
        what: that bound, for messages.
        limit: what must be kept, if anything.
        slow_above_ms: from where on an inference is too slow; None where nothing says so.
        too_few: why there is no bound: of so many.
    """

    statistic: Statistic
    needed: int
    what: str
    limit: float | None
    slow_above_ms: float | None
    too_few: Callable[[str, int, str], str]


@dataclass(frozen=True)
class Figures:
    """What was found of one content.

    Attributes:
        value, bound: None where there is none.
        open: why there is no bound, or why it does not settle the matter.
        over: of what it holds.
    """

    timed: Timed
    value: float | None
    bound: float | None
    open: str = ""
    over: str = ALIKE

    def breaks(self, limit: float | None) -> bool:
        """Whether the bound is above the limit."""
        return limit is not None and not self.open and self.bound is not None and self.bound > limit

    @property
    def taken_on(self) -> str:
        """Which inputs these were, for messages."""
        timed = self.timed
        if not timed.given:
            return f"noise over the declared range{at_sizes(timed.sizes)}"
        return f"{timed.inputs} of {timed.given_words}{at_sizes(timed.sizes)}"

    def described(self) -> dict[str, Any]:
        """For the evidence."""
        timed = self.timed
        found: dict[str, Any] = {"value": self.value, "bound": self.bound, "samples": timed.count}
        found |= {"inputs": timed.inputs, "processes": [len(block) for block in timed.blocks]}
        if timed.sizes:
            found["sizes"] = dict(timed.sizes)
        if self.open:
            found["open"] = self.open
        if timed.given:
            found |= {"given": timed.given, "samples_per_call": timed.step, "over": self.over}
        return found


def figures(timed: Timed, rule: Rule) -> Figures:
    """What was found of one content."""
    durations, inputs = timed.values, timed.inputs
    if not len(durations):
        return Figures(timed, None, None, "no sample was taken")
    value = rule.statistic.value(durations)
    of_file = timed.is_whole and inputs < rule.needed
    count = timed.count if of_file else inputs
    known_broken = isinstance(rule.statistic, Misses) and rule.limit is not None and value > rule.limit
    over = FILE if of_file else ALIKE
    if count < rule.needed and not known_broken:
        found = f"{count} of {timed.given_words}" if timed.given and not of_file else f"{count} samples"
        return Figures(timed, value, None, rule.too_few(found, rule.needed, rule.what), over)
    bound = rule.statistic.bound(durations)
    by_input = bound if of_file else rule.statistic.bound(timed.medians())
    higher = None if bound is None or by_input is None else max(bound, by_input)
    kept = rule.limit is not None and value <= rule.limit
    # What disturbs single inferences could be timed more often; a file has no more samples to give.
    too_few = timed.is_whole and rule.limit is not None and by_input is not None and by_input > rule.limit
    return Figures(timed, value, higher, _slow(timed, rule) if kept and (of_file or too_few) else "", over)


def _slow(timed: Timed, rule: Rule) -> str:
    if rule.slow_above_ms is None:
        return ""
    medians = timed.medians()
    slow = int(np.count_nonzero(medians > rule.slow_above_ms))
    if not slow:
        return ""
    one = "sample" if timed.step == 1 else "call"
    return (
        f"{slow} of {timed.given_words} took longer than {rule.slow_above_ms:g} ms, the slowest "
        f"{medians.max():.4g} ms ({one} {int(medians.argmax())}); {timed.given} {one}s are too few to say how rare "
        f"its like is: {rule.what} takes {rule.needed}, and more where some are slow"
    )


def worse(found: list[Figures], limit: float | None) -> Figures:
    """Which of the contents is judged: one that breaks the limit, else one that leaves it open, else the slower.

    Without a limit the slower is shown; where one of them is open, without a bound, for that would be the other's.
    """
    broken = [one for one in found if one.breaks(limit)]
    left_open = [one for one in found if one.open]
    if left_open and not broken and limit is not None:
        return left_open[0]
    candidates = broken or [one for one in found if one.value is not None] or found
    bounded = all(one.bound is not None for one in candidates)
    slower = max(candidates, key=lambda one: (one.bound if bounded else one.value) or 0.0)
    return replace(slower, bound=None, open=left_open[0].open) if left_open and not broken else slower
