"""Slow inferences in bursts: a Markov chain whose share over the limit is known, and the sequential rule on it.

A chain is kept as the places where its bursts begin and end, so that a million inferences are a few numbers. Looked at
are the moments that favour a wrong verdict most: for PASS right before each burst, for FAIL right behind it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from harness.agent.frames import Array
from harness.checks.blocks import BLOCKS_PER_BURST, FEWEST, LONGER
from harness.checks.sequential import RISK, is_broken, is_kept


@dataclass(frozen=True)
class Chain:
    """Inferences 0 … count − 1, of which those from ``starts[i]`` to ``ends[i]`` − 1 are slow: int64 each."""

    starts: Array
    ends: Array
    count: int

    def slow_before(self, places: Array) -> Array:
        """Count the slow ones before each place."""
        corners = np.stack([self.starts, self.ends], axis=1).ravel()
        slow = np.cumsum(self.ends - self.starts)
        heights = np.stack([slow - (self.ends - self.starts), slow], axis=1).ravel()
        before: Array = np.interp(places, np.concatenate([[0], corners]), np.concatenate([[0], heights]))
        return before

    def shares(self, size: int, until: int) -> Array:
        """Compute the share of slow ones in each whole block of so many inferences, up to a place."""
        counts: Array = np.diff(self.slow_before(np.arange(until // size + 1) * size))
        return counts / size

    def values(self) -> Array:
        """Return each inference's duration: 0, or 1 where it is slow; float64[count]."""
        values = np.zeros(self.count)
        for start, end in zip(self.starts, self.ends, strict=True):
            values[start:end] = 1
        return values


def draw_chain(random: np.random.Generator, share: float, mean_burst: float, count: int) -> Chain:
    """Draw a stationary chain of which a share is slow, in bursts of a mean length, by geometric runs."""
    mean_gap = mean_burst * (1 - share) / share
    most = math.ceil(count / (mean_gap + mean_burst) * 1.5) + 50
    gaps = random.geometric(1 / mean_gap, most)
    if random.random() < share:
        gaps[0] = 0  # it begins in a burst; how long one lasts that has begun already makes no difference
    lengths = random.geometric(1 / mean_burst, most)
    ends = np.cumsum(gaps + lengths)
    starts = ends - lengths
    inside = starts < count
    if inside[-1]:
        raise AssertionError("too few bursts were drawn")
    return Chain(starts[inside], np.minimum(ends[inside], count), count)


def passes(chain: Chain, allowed: float, size: int, looks: int = 1) -> bool:
    """Tell whether the rule ever says PASS: looked at before every so-manieth burst, and at the end."""
    starts = np.append(chain.starts, chain.count)
    slow = np.concatenate([[0], np.cumsum(chain.ends - chain.starts)])
    sizes = _sizes(size, slow, np.arange(len(starts)), starts)
    # A bet's wealth after n blocks is at most exp(λ n (q − mean share)): most looks need no further look.
    lead = np.maximum.accumulate(allowed * starts - slow)
    possible = lead >= -math.log(RISK) * sizes * (1 - allowed)
    possible[:-1] &= np.arange(len(starts) - 1) % looks == 0
    return any(is_kept(chain.shares(int(sizes[at]), int(starts[at])), allowed) for at in np.flatnonzero(possible))


def fails(chain: Chain, allowed: float, size: int) -> bool:
    """Tell whether the rule says FAIL: looked at behind a burst, ever more rarely, for wealth once had counts later."""
    slow = np.cumsum(chain.ends - chain.starts)
    bursts = np.arange(1, len(slow) + 1)
    sizes = _sizes(size, slow, bursts, chain.ends)
    return any(is_broken(chain.shares(int(sizes[at]), int(chain.ends[at])), allowed) for at in _rarer(len(slow)))


def _rarer(count: int) -> Iterator[int]:
    at = 1
    while at <= count:
        yield at - 1
        at += max(at // 4, 1)


def _sizes(size: int, slow: Array, bursts: Array, places: Array) -> Array:
    """Compute the size of the blocks that Blocks.for_bursts chooses after so many slow ones in so many bursts."""
    run = slow / np.maximum(bursts, 1)
    share = slow / np.maximum(places, 1)
    is_bursty = (share < 1) & (run > LONGER / np.maximum(1 - share, 1e-12))
    fewest = FEWEST if size > 1 else 1
    single = np.where((slow > 0) & (share < 1), max(size, fewest), size)
    return np.where(is_bursty, np.maximum(np.ceil(BLOCKS_PER_BURST * run), size), single).astype(np.int64)


def blocks_by_the_clock(random: np.random.Generator, share: float, count: int) -> Array:
    """Draw the shares of blocks that end once they have lasted long enough, which is what hilgate does *not* do.

    An inference lasts a tenth of a block, and a slow one as long as five: it ends the block that it is in.
    """
    gaps = random.geometric(share, math.ceil(10 * count * share * 2) + 50) - 1
    parts = [np.append(np.zeros(gap // 10), 1 / (gap % 10 + 1)) for gap in gaps]
    return np.concatenate(parts)[:count]


def blocks_by_count(random: np.random.Generator, share: float, count: int) -> Array:
    """Draw the shares of blocks of ten inferences each, of the same model."""
    shares: Array = random.binomial(10, share, count) / 10
    return shares
