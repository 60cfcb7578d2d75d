"""Tails: how slow the slow inferences are, asked of one content by the sequential rule of harness.checks.sequential.

A question about a tail is always the same one: is the share of inferences above a threshold within what is allowed?
For a limit on p99 the threshold is the limit, and 1 % are allowed; for a limit on ``deadline_miss_rate`` the threshold
is the deadline, and the limit is what is allowed.

What counts is a block of time, not an inference (harness.checks.blocks). Of inputs that are made, each inference has
another one, so the blocks' shares are shares of inputs, too. Of a model file's samples:

- If there are as many as a bound takes (459 for p99), they represent others of their kind. Then a sample counts once,
  by the median of its durations, and the limit must be kept by these as well as by the blocks.
- If there are fewer, the figures hold for the samples of the file and for no others.

A sample that is itself too slow, but too rare in the file to break the limit, leaves open whether the limit is kept,
unless there are enough samples to bound how rare such inputs are: the file has no more to time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..checks import quantiles, sequential
from ..checks.blocks import BROKEN_BLOCKS, BROKEN_PROCESSES, KEPT_PROCESSES, Blocks
from ..checks.sequential import RISK
from ..deploy.content import Timed
from ..model.model import Array
from .figures import FILE, LIKE_THESE, Figures, explain_slow_samples

# Without a limit, bursts are looked for among the slowest of a hundred.
SLOWEST = 0.99


@dataclass(frozen=True, kw_only=True)
class Tail:
    """A question about the slow inferences, and the limit that answers it if there is one.

    Attributes:
        name: What is asked, for messages: "p99", "a miss rate of 0.01".
        allowed: The share of inferences that may be slower than the threshold; None for a rate without a limit.
        threshold_ms: From when on an inference is too slow; None for a quantile without a limit.
        is_rate: Whether the figure is the share itself, and not the threshold.
    """

    name: str
    allowed: float | None
    threshold_ms: float | None
    is_rate: bool = False

    @classmethod
    def of_quantile(cls, quantile: float, limit_ms: float | None = None) -> Tail:
        """Ask whether a quantile is within a limit; without a limit, how large it is."""
        return cls(name=f"p{quantile * 100:g}", allowed=round(1 - quantile, 12), threshold_ms=limit_ms)

    @classmethod
    def of_misses(cls, deadline_ms: float, rate: float | None = None) -> Tail:
        """Ask whether the share of missed deadlines is within a limit; without a limit, how large it is."""
        name = "the miss rate" if rate is None else f"a miss rate of {rate:g}"
        return cls(name=name, allowed=rate, threshold_ms=deadline_ms, is_rate=True)

    @property
    def limit(self) -> float | None:
        """The limit in the figure's unit; None without one."""
        return self.allowed if self.is_rate else self.threshold_ms

    @property
    def inputs_needed(self) -> int:
        """How many different inputs an upper bound takes, each counted once and none of them slow."""
        if self.allowed is None or not 0 < self.allowed < 1:
            return 1
        return quantiles.samples_for_proportion(self.allowed)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a question about one content's tail stands: kept, broken or open.

    Attributes:
        timed: The content.
        tail: The question.
        contents: How many contents are asked; the risk of a wrong FAIL is shared among them.
        is_over: Whether the time is up: then one process is enough for a limit to be broken.
    """

    timed: Timed
    tail: Tail
    contents: int = 1
    is_over: bool = False

    @cached_property
    def blocks(self) -> Blocks:
        """The blocks that are judged: longer ones than those of ``timed`` where slow inferences come in bursts."""
        blocks, threshold = self.timed.blocks, self.tail.threshold_ms
        if not self.timed.count:
            return blocks
        return blocks.for_bursts(quantiles.estimate(self.timed.values, SLOWEST) if threshold is None else threshold)

    @cached_property
    def shares(self) -> Array:
        """Each block's share of inferences above the threshold, float64[blocks]; empty without a threshold."""
        threshold = self.tail.threshold_ms
        return np.empty(0) if threshold is None else self.blocks.shares_over(threshold)

    @property
    def _risk_broken(self) -> float:
        return RISK / self.contents

    @property
    def _risk_alone(self) -> float:
        return self._risk_broken / max(KEPT_PROCESSES, len(self.blocks.counts))

    @property
    def _may_break(self) -> bool:
        processes = sum(count > 0 for count in self.blocks.counts)
        return self.blocks.count >= BROKEN_BLOCKS and processes >= (1 if self.is_over else BROKEN_PROCESSES)

    @cached_property
    def broken_by(self) -> tuple[int, ...]:
        """The processes that break the limit each by itself, at a third of the risk or less."""
        return tuple(index for index in range(len(self.blocks.counts)) if self._breaks_alone(index))

    def _breaks_alone(self, index: int) -> bool:
        blocks, threshold, allowed = self.blocks.process(index), self.tail.threshold_ms, self.tail.allowed
        if blocks.count < BROKEN_BLOCKS or threshold is None or allowed is None:
            return False
        return sequential.is_broken(blocks.shares_over(threshold), allowed, self._risk_alone)

    @cached_property
    def is_broken_by_all(self) -> bool:
        """Whether the limit is broken by the blocks of all processes together."""
        allowed = self.tail.allowed
        return allowed is not None and self._may_break and sequential.is_broken(self.shares, allowed, self._risk_broken)

    @property
    def is_broken(self) -> bool:
        """Whether the limit is broken: by all blocks together, or by those of one process alone."""
        return self.is_broken_by_all or (self._may_break and bool(self.broken_by))

    @cached_property
    def _keeps_by_blocks(self) -> bool:
        """Whether the blocks show that the limit is kept, wherever they come from."""
        allowed = self.tail.allowed
        return allowed is not None and sequential.is_kept(self.shares, allowed)

    @cached_property
    def is_kept(self) -> bool:
        """Whether blocks, processes and inputs show that the limit is kept, and the estimate does not contradict it.

        Where other limits take longer, a limit that was kept may be exceeded later: then it stays open, or is broken.
        """
        limit = self.tail.limit
        if limit is None or not self._keeps_by_blocks or self.is_broken:
            return False
        return (upper := self.upper) is not None and upper <= limit and not self.exhausted

    @cached_property
    def exhausted(self) -> str:
        """Explain that the file has too few samples to decide, however often they are timed; "" if that is not so."""
        tail, timed = self.tail, self.timed
        if not timed.is_whole or tail.threshold_ms is None or tail.limit is None or tail.allowed is None:
            return ""
        if np.mean(timed.medians() > tail.threshold_ms) > tail.allowed:
            return ""  # more blocks show that
        if not self.covers_file_only and (bound := self._bound_by_input) is not None and bound <= tail.limit:
            return ""
        return explain_slow_samples(timed, tail.threshold_ms, tail.name, tail.inputs_needed)

    @cached_property
    def is_settled(self) -> bool:
        """Whether more inferences would not change the answer, or there is no question."""
        if self.tail.limit is None or self.is_broken or self.is_kept:
            return True
        return self._keeps_by_blocks and self.blocks.has_processes and bool(self.exhausted)

    @property
    def covers_file_only(self) -> bool:
        """Whether the figures hold for the samples of the file, and for no others."""
        return self.timed.is_whole and self.timed.inputs < self.tail.inputs_needed

    @property
    def inputs_missing(self) -> int:
        """How many more different inputs it takes; of a file that has fewer, all of them."""
        timed = self.timed
        if not timed.given:
            return 0
        return max(min(self.tail.inputs_needed, timed.given) - timed.inputs, 0)

    @cached_property
    def upper(self) -> float | None:
        """The upper bound; None if the processes, the blocks or the inputs are too few."""
        if not self.blocks.has_processes or self.inputs_missing:
            return None
        upper = self._upper_by_blocks
        if upper is None:
            return None
        upper = max(upper, self.value)  # the bound of some moment before; what was slower since then counts
        if not self.timed.given or self.covers_file_only:
            return upper
        by_input = self._bound_by_input
        return None if by_input is None else max(upper, by_input)

    @cached_property
    def value(self) -> float:
        """The estimate, from all durations."""
        values, tail = self.timed.values, self.tail
        if tail.is_rate:
            assert tail.threshold_ms is not None
            return float(np.count_nonzero(values > tail.threshold_ms) / len(values))
        assert tail.allowed is not None
        return quantiles.estimate(values, 1 - tail.allowed)

    @cached_property
    def _upper_by_blocks(self) -> float | None:
        tail = self.tail
        if tail.is_rate:
            upper = sequential.upper_rate(self.shares)
            if tail.allowed is None:
                return upper
            # Bisected: as the limit itself is judged.
            return min(upper, tail.allowed) if self._keeps_by_blocks else max(upper, _above(tail.allowed))
        assert tail.allowed is not None
        return self.blocks.quantile_upper(tail.allowed)

    @cached_property
    def lower(self) -> float | None:
        """The lower bound: that of all blocks together, or of one process's, whichever is higher; None without one."""
        if not self._may_break:
            return None
        alone = [self.blocks.process(index) for index, count in enumerate(self.blocks.counts) if count >= BROKEN_BLOCKS]
        bounds = [self._lower_of(self.blocks, self._risk_broken)]
        bounds += [self._lower_of(blocks, self._risk_alone) for blocks in alone]
        lower = max((bound for bound in bounds if bound is not None), default=None)
        if lower is None or (tail := self.tail).allowed is None or not tail.is_rate:
            return lower
        return max(lower, _above(tail.allowed)) if self.is_broken else min(lower, tail.allowed)

    def _lower_of(self, blocks: Blocks, risk: float) -> float | None:
        tail = self.tail
        if not tail.is_rate:
            assert tail.allowed is not None
            return blocks.quantile_lower(tail.allowed, risk)
        assert tail.threshold_ms is not None
        return sequential.lower_rate(blocks.shares_over(tail.threshold_ms), risk)

    @cached_property
    def _bound_by_input(self) -> float | None:
        """The upper bound of inputs, of which each counts once; None if they are too few."""
        tail, medians = self.tail, self.timed.medians()
        if tail.is_rate:
            assert tail.threshold_ms is not None
            return quantiles.proportion_upper_bound(int(np.count_nonzero(medians > tail.threshold_ms)), len(medians))
        assert tail.allowed is not None
        return quantiles.upper_bound(medians, 1 - tail.allowed)

    def blocks_to_come(self) -> float:
        """Estimate how many more blocks decide, at the share seen so far; infinite if none would.

        Where nothing was timed yet, they are taken to be clean.
        """
        allowed = self.tail.allowed
        if self.is_settled or allowed is None:
            return 0.0
        keeps = sequential.blocks_to_keep(self.shares, allowed)
        if not len(self.shares):
            return keeps
        breaks = sequential.blocks_to_break(self.shares, allowed, self._risk_broken)
        return min(keeps, max(breaks, BROKEN_BLOCKS - self.blocks.count))

    def inferences_to_come(self) -> float:
        """Estimate how many more inferences decide; see blocks_to_come."""
        size = self.blocks.sizes[-1] if self.blocks.sizes else 1
        return max(self.blocks_to_come() * size, self.inputs_missing)


def tail_figures(standing: Standing, explain_open: Callable[[Standing], str]) -> Figures:
    """Compute the figures of one content: the estimate, its bounds, and whether they settle the limit.

    Args:
        standing: The question, and where it stands.
        explain_open: Explains why it is open, and what it would take.
    """
    timed, tail = standing.timed, standing.tail
    if not timed.count:
        return Figures(timed=timed, value=None, bound=None, open="no sample was taken")
    upper, is_limited = standing.upper, tail.limit is not None
    is_open = not (standing.is_broken or standing.is_kept) if is_limited else upper is None
    if is_open and upper is not None and tail.limit is not None and upper <= tail.limit:
        upper = None  # what keeps it open is no matter of this bound
    return Figures(
        timed=timed,
        value=standing.value,
        bound=upper,
        bound_low=standing.lower,
        open=(standing.exhausted or explain_open(standing)) if is_open else "",
        over=FILE if standing.covers_file_only else LIKE_THESE,
        is_broken=is_limited and standing.is_broken,
        blocks=standing.blocks,
        broken_by=() if standing.is_broken_by_all else standing.broken_by,
    )


def _above(value: float) -> float:
    return math.nextafter(value, math.inf)
