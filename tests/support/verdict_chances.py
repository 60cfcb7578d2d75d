"""How likely each verdict of the sequential rule is, without sampling: dynamic programming over (blocks, slow ones).

For blocks of one inference each, which are independent: the wealth then depends on how many blocks there were and how
many of them were slow, whatever their order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from harness.agent.frames import Array
from harness.checks.sequential import BROKEN_BLOCKS, RISK, breaking_wealth, keeping_wealth

TARGET = -math.log(RISK)


def kept_from(allowed: float, cap: int) -> list[int]:
    """Return, for 0, 1, 2, … slow ones, how many blocks it takes until the limit is kept; those up to ``cap``."""
    counts: list[int] = []
    for slow in range(cap):
        rich = np.flatnonzero(keeping_wealth(_slow_first(slow, cap), allowed)[max(slow - 1, 0) :] >= TARGET)
        if not len(rich):
            break
        counts.append(max(slow, 1) + int(rich[0]))
    return counts


def broken_until(allowed: float, cap: int) -> list[int]:
    """Return, for 0, 1, 2, … slow ones, among how many blocks at most they break the limit; up to the first ``cap``."""
    counts = [0]
    for slow in range(1, cap + 1):
        rich = np.flatnonzero(breaking_wealth(_slow_first(slow, cap), allowed)[slow - 1 :] >= TARGET)
        counts.append(slow + int(rich[-1]) if len(rich) else 0)
        if counts[-1] == cap:
            break
    return counts


def _slow_first(slow: int, count: int) -> Array:
    return np.repeat([1.0, 0.0], [slow, count - slow])


@dataclass(frozen=True)
class Chances:
    """How likely the verdicts are to come with the 1st, 2nd, … block: float64[cap] each."""

    kept: Array
    broken: Array

    @property
    def undecided(self) -> float:
        """How likely neither has come up to the cap."""
        return 1.0 - float(self.kept.sum() + self.broken.sum())

    @property
    def mean_blocks(self) -> float:
        """How many blocks there are on average until a verdict, or the cap."""
        count = np.arange(1, len(self.kept) + 1)
        return float((self.kept + self.broken) @ count) + self.undecided * len(count)


def chances(share: float, kept: list[int], broken: list[int], cap: int) -> Chances:
    """Compute how likely each verdict is at each block, where independent blocks are slow with a probability.

    Args:
        share: That probability.
        kept: As kept_from returns it; [] to compute how likely the other verdict is, whatever this one says.
        broken: As broken_until returns it; [] likewise.
        cap: Up to so many blocks.
    """
    blocks = np.arange(1, cap + 1)
    few = np.searchsorted(kept, blocks, side="right")  # fewer slow ones than this: kept
    many = np.searchsorted(broken, blocks, side="left")  # as many, or more: broken
    # Where only one verdict is asked for, more slow ones than ever matter are no longer told apart.
    size = (len(broken) if broken else len(kept)) + BROKEN_BLOCKS
    many[: BROKEN_BLOCKS - 1] = size  # a limit is broken no sooner
    if not broken:
        many[:] = size
    return walk(share, few, many, size)


def walk(share: float, few: Array, many: Array, size: int) -> Chances:
    """Compute how likely each verdict of any rule is that counts slow ones.

    Args:
        share: How likely a block is slow.
        few: After each block, fewer slow ones than so many keep the limit; 0 where nobody looks.
        many: As many slow ones, or more, break it, at most ``size - 1``; ``size`` where nobody looks.
        size: How many counts of slow ones are told apart; the last stands for all that are larger.
    """
    alive = np.zeros(size)
    alive[0] = 1.0
    result = Chances(np.zeros(len(few)), np.zeros(len(few)))
    for index, (low, high) in enumerate(zip(few, many, strict=True)):
        slower = alive * share
        alive[:-1] -= slower[:-1]
        alive[1:] += slower[:-1]
        result.kept[index] = alive[:low].sum()
        alive[:low] = 0
        result.broken[index] = alive[high:].sum()
        alive[high:] = 0
    return result
