"""Blocks: consecutive inferences that are judged together, because what slows one down often slows its neighbours, too.

A block has a fixed number of inferences, which is decided before the first of them is timed: as many as take about
``block_ms``, by the clock, with the making of their inputs. Blocks that ended by the clock would be shorter where an
inference is slow, so that the mean of their shares exceeded the share of inferences, and a model that keeps its limit
could FAIL (issue 19).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..agent.frames import Array
from . import sequential
from .sequential import RISK

# Bursts may last a tenth of a block: at a third of a block a limit that is broken is passed in 1 % of all measurements,
# at a whole block in 10 % (docs/decisions/0019-bets-on-blocks.md).
BLOCKS_PER_BURST = 10
# Runs of slow inferences that are so much longer than those of independent ones are bursts.
LONGER = 1.2
# Blocks of two or three inferences are too short to tell bursts of as many from single slow ones in time: bursts of two
# in blocks of two passed 3.2 % of models at the limit, in blocks of four 0.8 % (docs/decisions/0019-bets-on-blocks.md).
FEWEST = 4
# A limit is kept, or broken, no sooner than with so many processes, …
KEPT_PROCESSES, BROKEN_PROCESSES = 3, 2
# … three of which have at least this share of an equal part each, …
PART = 0.75
# … and broken no sooner than with so many blocks.
BROKEN_BLOCKS = sequential.BROKEN_BLOCKS


@dataclass(frozen=True)
class Blocks:
    """Durations of several processes, cut into blocks of time.

    Attributes:
        processes: Each process's durations in the order of time, float64[n]; what was dropped is infinitely late.
        sizes: How many inferences a block of each process has, at least 1.
    """

    processes: tuple[Array, ...]
    sizes: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many whole blocks there are; what is left of each process is in none."""
        return sum(self.counts)

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """How many whole blocks each process has."""
        return tuple(len(values) // size for values, size in zip(self.processes, self.sizes, strict=True))

    @cached_property
    def values(self) -> Array:
        """All durations that are in blocks, float64[n]."""
        parts = zip(self.processes, self.sizes, self.counts, strict=True)
        return np.concatenate([np.empty(0), *(values[: size * count] for values, size, count in parts)])

    @cached_property
    def _lengths(self) -> Array:
        return np.repeat(np.array(self.sizes, np.int64), np.array(self.counts, np.int64))

    def shares_over(self, limit: float) -> Array:
        """Compute each block's share of durations over a limit: float64[count]."""
        return self._shares(self.values > limit)

    def _shares(self, over: Array) -> Array:
        if not self.count:
            return np.empty(0)
        starts = np.concatenate([[0], np.cumsum(self._lengths)[:-1]])
        shares: Array = np.add.reduceat(over.astype(np.int64), starts) / self._lengths
        return shares

    def process(self, index: int) -> Blocks:
        """Return the blocks of one process alone."""
        return Blocks((self.processes[index],), (self.sizes[index],))

    def mean_run(self, limit: float) -> float:
        """Compute the mean length of the runs of durations over a limit, in inferences; 0 where there is none."""
        over = [values > limit for values in self.processes]
        slow = sum(int(np.count_nonzero(each)) for each in over)
        starts = sum(int(np.count_nonzero(np.diff(each, prepend=False) & each)) for each in over)
        return slow / starts if starts else 0.0

    def for_bursts(self, limit: float) -> Blocks:
        """Return blocks that are long beside the bursts in which durations over a limit come; these, if they are.

        Independent slow inferences come in runs, too, of a mean length of 1 / (1 - share). Where slow ones seem to be
        independent, blocks of two or three inferences become blocks of four; an inference that is a block stays one.
        """
        run = self.mean_run(limit)
        total = sum(map(len, self.processes))
        share = sum(int(np.count_nonzero(values > limit)) for values in self.processes) / max(total, 1)
        if not run or share >= 1:
            return self
        if run <= LONGER / (1 - share):
            return Blocks(self.processes, tuple(max(each, FEWEST) if each > 1 else 1 for each in self.sizes))
        size = math.ceil(BLOCKS_PER_BURST * run)
        return Blocks(self.processes, tuple(max(each, size) for each in self.sizes))

    @property
    def has_processes(self) -> bool:
        """Whether there are enough processes for a limit to be kept, none of which is there for its name only."""
        most = sorted(self.counts, reverse=True)[:KEPT_PROCESSES]
        needed = PART * self.count / max(len(self.counts), 1)
        return len(most) == KEPT_PROCESSES and most[-1] > 0 and most[-1] >= needed

    def quantile_upper(self, allowed: float, risk: float = RISK) -> float | None:
        """Compute the smallest limit that would be kept, in the durations' unit; None if none would be.

        Args:
            allowed: The share that may exceed the limit, 0.01 for p99.
            risk: The probability that a bound is too low, at most.
        """
        candidates = np.unique(self.values)
        first = _first(len(candidates), lambda index: self._is_kept(candidates[index], allowed, risk))
        return float(candidates[first]) if first < len(candidates) else None

    def quantile_lower(self, allowed: float, risk: float = RISK) -> float | None:
        """Compute the value below which every limit would be broken; None if none would be. See quantile_upper."""
        candidates = np.unique(self.values)
        above = _first(len(candidates), lambda index: not self._is_broken(candidates[index], allowed, risk))
        return float(candidates[above - 1]) if above else None

    def _is_kept(self, limit: float, allowed: float, risk: float) -> bool:
        return sequential.is_kept(self.shares_over(limit), allowed, risk)

    def _is_broken(self, value: float, allowed: float, risk: float) -> bool:
        """Tell whether every limit below a value is broken."""
        return sequential.is_broken(self._shares(self.values >= value), allowed, risk)


def block_size(block_ms: float, inference_ms: float) -> int:
    """Return how many inferences a block has, so that it lasts ``block_ms``; one at least.

    Args:
        block_ms: How long a block lasts.
        inference_ms: How long an inference and the making of its input take, above 0; known before the first one that
            is timed.
    """
    return max(math.ceil(block_ms / inference_ms - 1e-9), 1)


def _first(count: int, holds: Callable[[int], bool]) -> int:
    """Return the first index for which a monotone predicate holds; ``count`` if it holds for none."""
    low, high = -1, count
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle
    return high
