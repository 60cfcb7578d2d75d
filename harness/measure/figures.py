"""The figures of one content (spread inputs or the file's samples): an estimate, its bounds, and what they hold for.

``figures`` computes them from a fixed number of values that nobody looked at before, such as counted instructions;
``tails`` from durations, which are taken until a limit is decided.

A bound counts different inputs, not inferences: an input that was run several times counts once, by the median of its
values; disturbances of single inferences are bounded by all of them, and the larger bound is judged. Where a model file
has fewer samples than a bound takes, the figures hold for these samples and for no others.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..checks import quantiles
from ..checks.blocks import Blocks
from ..deploy.content import Timed
from ..evidence.entry import as_figure
from ..model.inputs import at_sizes

FILE = "all samples of the file, and no others"
LIKE_THESE = "inputs like these"


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The figures of one content.

    Attributes:
        timed: The values.
        value: The estimate; None without values.
        bound: Its upper bound; None if there are too few inputs, blocks or processes.
        bound_low: Its lower bound; None if there is none.
        open: Why there is no bound, or why the bounds do not settle whether the limit is kept; "" if they do.
        over: What the bound holds for: FILE or LIKE_THESE.
        is_broken: Whether the limit is broken.
        blocks: The blocks of time that the bounds rest on; None where single values are counted.
        broken_by: The processes that break the limit each by itself, where all together do not.
    """

    timed: Timed
    value: float | None
    bound: float | None
    bound_low: float | None = None
    open: str = ""
    over: str = LIKE_THESE
    is_broken: bool = False
    blocks: Blocks | None = None
    broken_by: tuple[int, ...] = ()

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
        entry: dict[str, Any] = {"value": as_figure(self.value), "bound": as_figure(self.bound)}
        if self.bound_low is not None:
            entry["bound_low"] = as_figure(self.bound_low)
        entry["samples"] = timed.count
        if self.blocks is not None:
            entry |= {"blocks": self.blocks.count, "inferences_per_block": max(self.blocks.sizes, default=1)}
        entry |= {"inputs": timed.inputs, "processes": [len(durations) for durations in timed.processes]}
        if failed := timed.failed:
            entry["failed"] = failed
        if timed.sizes:
            entry["sizes"] = timed.drawn_sizes or dict(timed.sizes)
        if self.open:
            entry["open"] = self.open
        if timed.given:
            entry |= {"given": timed.given, "samples_per_call": timed.step, "over": self.over}
        return entry


def figures(timed: Timed, quantile: float, too_few: Callable[[str, int], str]) -> Figures:
    """Compute a quantile of a fixed number of values, and its upper bound.

    Args:
        timed: The values.
        quantile: The quantile, 0 to 1.
        too_few: Explains why there is no bound, from what was counted ("7 samples") and how many inputs it takes.
    """
    if not timed.count:
        return Figures(timed=timed, value=None, bound=None, open="no sample was taken")
    values, needed = timed.values, quantiles.samples_needed(quantile)
    value = quantiles.estimate(values, quantile)
    is_of_file = timed.is_whole and timed.inputs < needed
    over = FILE if is_of_file else LIKE_THESE
    count = timed.count if is_of_file else timed.inputs
    if count < needed:
        found = f"{count} of {timed.given_words}" if timed.given and not is_of_file else f"{count} samples"
        return Figures(timed=timed, value=value, bound=None, open=too_few(found, needed), over=over)
    bound = quantiles.upper_bound(values, quantile)
    bound_by_input = bound if is_of_file else quantiles.upper_bound(timed.medians(), quantile)
    higher = None if bound is None or bound_by_input is None else max(bound, bound_by_input)
    return Figures(timed=timed, value=value, bound=higher, over=over)


def explain_slow_samples(timed: Timed, threshold_ms: float, what: str, needed: int) -> str:
    """Explain that some samples are too slow, and the file has too few to bound how rare they are; "" if none is.

    Args:
        timed: The samples' durations.
        threshold_ms: From when on a sample is too slow, by the median of its durations.
        what: What is asked, for messages.
        needed: How many samples an answer takes at least.
    """
    medians = timed.medians()
    slow = int(np.count_nonzero(medians > threshold_ms))
    if not slow:
        return ""
    one, slowest = "sample" if timed.step == 1 else "call", float(medians.max())
    took = f"{slowest:.4g} ms" if math.isfinite(slowest) else "without an answer"
    return (
        f"{slow} of {timed.given_words} took longer than {threshold_ms:g} ms, the slowest "
        f"{took} ({one} {int(medians.argmax())}); {timed.given} {one}s are too few to say how rare "
        f"its like is: {what} takes {needed}, and more where some are slow"
    )


def worse(contents: list[Figures], *, is_limited: bool) -> Figures:
    """Choose the content that is judged: one that breaks the limit, else one that leaves it open, else the slower one.

    Without a limit the slower one is shown; if any is open, without a bound, which would be that of the other content.
    """
    broken = [content for content in contents if content.is_broken]
    left_open = [content for content in contents if content.open]
    if left_open and not broken and is_limited:
        return left_open[0]
    candidates = broken or [content for content in contents if content.value is not None] or contents
    are_bounded = all(content.bound is not None for content in candidates)
    slower = max(candidates, key=lambda content: (content.bound if are_bounded else content.value) or 0.0)
    return replace(slower, bound=None, open=left_open[0].open) if left_open and not broken else slower
