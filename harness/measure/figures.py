"""The figures of one content (spread inputs or the file's samples): an estimate, its bound, and what they hold for.

A bound counts different inputs, not inferences:

- Spread inputs are each timed once: there are as many inputs as durations.
- If the model file has as many samples as the bound needs, they represent others of their kind. A sample that was timed
  several times counts once, by the median of its durations; disturbances of single inferences are bounded by all
  durations. The larger of the two bounds is judged.
- If it has fewer, each is timed equally often, and the figures hold for the samples of the file and for no others.

A sample that is itself too slow, but too rare in the file to break the limit, leaves open whether the limit is kept,
unless there are enough samples to bound how rare such inputs are: the file has no more to time.
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
LIKE_THESE = "inputs like these"


class Statistic(Protocol):
    """A statistic of durations: an estimate and an upper bound of it."""

    def value(self, durations_ms: Array) -> float:
        """Compute the estimate from float64[n], n > 0, in milliseconds."""

    def bound(self, durations_ms: Array) -> float | None:
        """Compute an upper bound at quantiles.CONFIDENCE; None if there are too few durations."""


@dataclass(frozen=True)
class Quantile:
    """A quantile of the durations, in milliseconds."""

    quantile: float

    def value(self, durations_ms: Array) -> float:
        """Compute the empirical quantile."""
        return quantiles.estimate(durations_ms, self.quantile)

    def bound(self, durations_ms: Array) -> float | None:
        """Compute an upper bound of the quantile, which is an order statistic."""
        return quantiles.upper_bound(durations_ms, self.quantile)


@dataclass(frozen=True)
class Misses:
    """The share of durations above a deadline, 0 to 1."""

    deadline_ms: float

    def value(self, durations_ms: Array) -> float:
        """Compute the share that was seen."""
        return float(np.count_nonzero(durations_ms > self.deadline_ms) / len(durations_ms))

    def bound(self, durations_ms: Array) -> float | None:
        """Compute Clopper and Pearson's upper bound of the probability."""
        missed = int(np.count_nonzero(durations_ms > self.deadline_ms))
        return quantiles.proportion_upper_bound(missed, len(durations_ms))


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A statistic, and how many inputs a bound of it takes.

    Attributes:
        statistic: What is computed of the durations.
        needed: How many different inputs an upper bound takes.
        what: The bound's name, for messages.
        limit: The limit that is to be kept, in the statistic's unit; None without one.
        slow_above_ms: The duration above which an inference is too slow; None if nothing says so.
        too_few: Explains why there is no bound, from what was timed ("7 samples"), ``needed`` and ``what``.
    """

    statistic: Statistic
    needed: int
    what: str
    limit: float | None
    slow_above_ms: float | None
    too_few: Callable[[str, int, str], str]


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The figures of one content.

    Attributes:
        timed: The durations.
        value: The estimate; None without durations.
        bound: Its upper bound; None if there are too few inputs.
        open: Why there is no bound, or why the bound does not settle whether the limit is kept; "" if it does.
        over: What the bound holds for: FILE or LIKE_THESE.
    """

    timed: Timed
    value: float | None
    bound: float | None
    open: str = ""
    over: str = LIKE_THESE

    def breaks(self, limit: float | None) -> bool:
        """Tell whether the bound is settled and above the limit."""
        return limit is not None and not self.open and self.bound is not None and self.bound > limit

    @property
    def taken_on(self) -> str:
        """Describe the inputs that were timed, for messages."""
        timed = self.timed
        if not timed.given:
            return f"noise over the declared range{at_sizes(timed.sizes)}"
        return f"{timed.inputs} of {timed.given_words}{at_sizes(timed.sizes)}"

    def described(self) -> dict[str, Any]:
        """Describe the figures for the evidence: an entry of a check's ``by_content``."""
        timed = self.timed
        entry: dict[str, Any] = {"value": self.value, "bound": self.bound, "samples": timed.count}
        entry |= {"inputs": timed.inputs, "processes": [len(durations) for durations in timed.processes]}
        if timed.sizes:
            entry["sizes"] = timed.drawn_sizes or dict(timed.sizes)
        if self.open:
            entry["open"] = self.open
        if timed.given:
            entry |= {"given": timed.given, "samples_per_call": timed.step, "over": self.over}
        return entry


def figures(timed: Timed, rule: Rule) -> Figures:
    """Compute the figures of one content, and whether they settle the rule's limit."""
    durations, inputs = timed.values, timed.inputs
    if not len(durations):
        return Figures(timed=timed, value=None, bound=None, open="no sample was taken")
    value = rule.statistic.value(durations)
    is_of_file = timed.is_whole and inputs < rule.needed
    count = timed.count if is_of_file else inputs
    is_known_broken = isinstance(rule.statistic, Misses) and rule.limit is not None and value > rule.limit
    over = FILE if is_of_file else LIKE_THESE
    if count < rule.needed and not is_known_broken:
        what_was_timed = f"{count} of {timed.given_words}" if timed.given and not is_of_file else f"{count} samples"
        too_few = rule.too_few(what_was_timed, rule.needed, rule.what)
        return Figures(timed=timed, value=value, bound=None, open=too_few, over=over)
    bound = rule.statistic.bound(durations)
    bound_by_input = bound if is_of_file else rule.statistic.bound(timed.medians())
    higher = None if bound is None or bound_by_input is None else max(bound, bound_by_input)
    is_kept = rule.limit is not None and value <= rule.limit
    # Noise in single inferences can be bounded by running more; a whole file has no more samples to add.
    has_too_few = (
        timed.is_whole and rule.limit is not None and bound_by_input is not None and bound_by_input > rule.limit
    )
    left_open = _explain_slow_samples(timed, rule) if is_kept and (is_of_file or has_too_few) else ""
    return Figures(timed=timed, value=value, bound=higher, open=left_open, over=over)


def _explain_slow_samples(timed: Timed, rule: Rule) -> str:
    """Explain that some samples are too slow, and the file has too few to bound how rare they are; "" if none is."""
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


def worse(contents: list[Figures], limit: float | None) -> Figures:
    """Choose the content that is judged: one that breaks the limit, else one that leaves it open, else the slower one.

    Without a limit the slower one is shown; if any is open, without a bound, which would be that of the other content.
    """
    broken = [content for content in contents if content.breaks(limit)]
    left_open = [content for content in contents if content.open]
    if left_open and not broken and limit is not None:
        return left_open[0]
    candidates = broken or [content for content in contents if content.value is not None] or contents
    are_bounded = all(content.bound is not None for content in candidates)
    slower = max(candidates, key=lambda content: (content.bound if are_bounded else content.value) or 0.0)
    return replace(slower, bound=None, open=left_open[0].open) if left_open and not broken else slower
