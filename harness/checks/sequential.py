"""A test of a rate that may be looked at at any time: bets on blocks, and their wealth.

Question: of all inferences, is the share that exceeds a limit below the allowed share q? (For p99, q is 0.01; for a
limit on ``deadline_miss_rate`` it is that limit.) Inferences come in blocks (``blocks``); y is a block's share over the
limit, 0 ≤ y ≤ 1. Two gamblers start with a wealth of 1. One bets before each block that y will be below q, the other
that it will be above; the wealth of each is a mixture of bets of fixed stakes λ:

    keeping:   Σ w Π (1 + λ (q − y)),    λ = f / (1 − q)
    breaking:  Σ w Π (1 + λ (y − q)),    λ = (r − q) / (q (1 − q))

The limit is kept once the first has ever reached 1 / risk, and broken once the second has. Why that is wrong in at most
a share ``risk`` of all measurements, whenever one looks and stops:

1. Suppose the limit is broken: given all blocks before, each block's expected share is q or more.
2. Then each factor 1 + λ (q − y) has an expectation, given the past, of at most 1, as λ ≥ 0 …
3. … and is never negative, as λ ≤ 1 / (1 − q) and y ≤ 1.
4. So each product, and their mixture with weights that add up to 1, is a nonnegative supermartingale that starts at 1.
5. Ville's inequality: the probability that such a process ever reaches 1 / risk is at most risk.
6. The same holds for the other gambler with the signs reversed, as λ ≤ 1 / q, for r ≤ 1.

Nothing is assumed of what happens within a block, of the durations' distribution, or of when measuring stops. What is
assumed is step 1: a model that breaks its limit does so in expectation in every block, given those before it. Slow
inferences that come in bursts longer than blocks violate that; see ``Blocks.for_bursts``.

Sources: I. Waudby-Smith and A. Ramdas, "Estimating means of bounded random variables by betting", JRSS B 86 (2024);
S. R. Howard and A. Ramdas, "Sequential estimation of quantiles with applications to A/B testing and best-arm
identification", Bernoulli 28 (2022). Figures of this mixture: docs/decisions/0019-bets-on-blocks.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..agent.frames import Array
from .quantiles import CONFIDENCE

RISK = 1 - CONFIDENCE

# Weights and fractions of the largest stake: the boldest bet passes a clean run soonest, the timid ones still grow
# where the share is little below q.
KEEPING = ((0.5, 1.0), (0.2, 0.75), (0.15, 0.5), (0.1, 0.25), (0.05, 0.1))
# Shares, as multiples of q, that each bet is best against; and the largest share that any is for.
BREAKING, LARGEST = (1.2, 1.5, 2.0, 4.0, 10.0, 30.0), 0.95
# A limit is broken no sooner than with so many blocks: before them one or two slow inferences would do it, and the
# first ones of a process are the likeliest to be slow for a reason of their own.
BROKEN_BLOCKS = 10
# By how much a logarithm of a wealth may be rounded off, amply.
ROUNDED = 1e-9
# What can be asked for: the next blocks are never more than this.
MOST_BLOCKS = 10**9


def keeping_wealth(shares: Array, allowed: float) -> Array:
    """Compute the logarithm of the wealth of who bets that the limit is kept, after each block.

    Args:
        shares: Each block's share over the limit, float64[n], 0 to 1, in the order of time.
        allowed: The share that is allowed, 0 < q < 1.

    Returns:
        float64[n].
    """
    weights, stakes = _keeping_bets(allowed)
    return _wealth(weights, _growth(stakes, allowed - shares))


def breaking_wealth(shares: Array, allowed: float) -> Array:
    """Compute the logarithm of the wealth of who bets that the limit is broken; see keeping_wealth."""
    weights, stakes = _breaking_bets(allowed)
    return _wealth(weights, _growth(stakes, shares - allowed))


def is_kept(shares: Array, allowed: float, risk: float = RISK) -> bool:
    """Tell whether the blocks show that the share is below what is allowed.

    Args:
        shares: Each block's share over the limit, float64[n].
        allowed: The share that is allowed. At 0 nothing shows it; 1 and more are always kept.
        risk: The probability of this answer where it is wrong, at most.
    """
    if not len(shares) or allowed <= 0:
        return False
    if allowed >= 1:
        return True
    weights, stakes = _keeping_bets(allowed)
    return _reaches(weights, _growth(stakes, allowed - shares), risk)


def is_broken(shares: Array, allowed: float, risk: float = RISK) -> bool:
    """Tell whether the blocks show that the share is above what is allowed. See is_kept.

    At 0, one inference shows it. Otherwise the wealth counts from the tenth block on: to leave looks out adds no risk.
    """
    if not len(shares) or allowed >= 1:
        return False
    if allowed <= 0:
        return bool(shares.max() > 0)
    weights, stakes = _breaking_bets(allowed)
    return _reaches(weights, _growth(stakes, shares - allowed), risk, first=BROKEN_BLOCKS - 1)


def blocks_to_keep(shares: Array, allowed: float, risk: float = RISK) -> float:
    """Estimate how many more blocks would show that the limit is kept, if they are like those so far.

    Args:
        shares: Each block's share over the limit, float64[n]; if there is none, further ones are taken to be clean.
        allowed: The share that is allowed. At 0 nothing shows it, at 1 and more any block does.
        risk: The risk that is taken.

    Returns:
        A whole number; infinite if blocks like these would never show it.
    """
    if not 0 < allowed < 1:
        return math.inf if allowed <= 0 else float(not len(shares))
    weights, stakes = _keeping_bets(allowed)
    return _blocks_to_come(weights, _growth(stakes, allowed - _or(shares, 0.0)), len(shares), risk)


def blocks_to_break(shares: Array, allowed: float, risk: float = RISK) -> float:
    """Estimate how many more blocks would show that the limit is broken; see blocks_to_keep and is_broken."""
    if not 0 < allowed < 1:
        return 0.0 if is_broken(shares, allowed, risk) else math.inf
    weights, stakes = _breaking_bets(allowed)
    return _blocks_to_come(weights, _growth(stakes, _or(shares, 1.0) - allowed), len(shares), risk)


def upper_rate(shares: Array, risk: float = RISK) -> float:
    """Compute the smallest allowed share that would be kept, to 1e-9; 1 where the blocks show nothing."""
    return _bisect(lambda allowed: is_kept(shares, allowed, risk), fails=0.0, holds=1.0)


def lower_rate(shares: Array, risk: float = RISK) -> float:
    """Compute the largest allowed share that would be broken, to 1e-9; 0 where the blocks show nothing."""
    return _bisect(lambda allowed: is_broken(shares, allowed, risk), fails=1.0, holds=0.0)


def _bisect(holds_at: Callable[[float], bool], *, fails: float, holds: float) -> float:
    """Return the end of the interval in which a monotone predicate holds; ``holds`` is returned if it holds nowhere."""
    for _ in range(30):  # to 1e-9
        middle = (fails + holds) / 2
        if holds_at(middle):
            holds = middle
        else:
            fails = middle
    return holds


def _keeping_bets(allowed: float) -> tuple[Array, Array]:
    """Return the weights and the stakes of who bets that the limit is kept."""
    weights, fractions = np.array(KEEPING).T
    return weights, fractions / (1 - allowed)


def _breaking_bets(allowed: float) -> tuple[Array, Array]:
    """Return the weights and the stakes of who bets that the limit is broken."""
    largest = max(LARGEST, (1 + allowed) / 2)  # above the share itself, even where that is nearly 1
    against = np.array([*(min(times * allowed, largest) for times in BREAKING), largest])
    return np.full(len(against), 1 / len(against)), (against - allowed) / (allowed * (1 - allowed))


def _growth(stakes: Array, gains: Array) -> Array:
    """Compute by what each block multiplies each bet, as logarithms: float64[bets, blocks]."""
    with np.errstate(divide="ignore"):  # a bet that is lost altogether has a wealth of 0
        growth: Array = np.log1p(np.maximum(np.outer(stakes, gains), -1.0))
    return growth


def _wealth(weights: Array, growth: Array) -> Array:
    wealth: Array = np.logaddexp.reduce(np.log(weights)[:, None] + np.cumsum(growth, axis=1), axis=0)
    return wealth


def _reaches(weights: Array, growth: Array, risk: float, first: int = 0) -> bool:
    """Tell whether the wealth after any block from ``first`` on is 1 / risk.

    A mixture is no richer than the richest of its bets: only where that is rich enough is the mixture computed.
    """
    target, grown = -math.log(risk), np.cumsum(growth, axis=1)[:, first:]
    rich = grown[:, grown.max(axis=0) >= target - ROUNDED]
    return bool((np.logaddexp.reduce(np.log(weights)[:, None] + rich, axis=0) >= target).any())


def _or(shares: Array, share: float) -> Array:
    return shares if len(shares) else np.array([share])


def _blocks_to_come(weights: Array, growth: Array, blocks: int, risk: float) -> float:
    target = -math.log(risk)
    now = np.log(weights) + (growth.sum(axis=1) if blocks else 0.0)
    each = growth.mean(axis=1)
    growing = (each > 0) & np.isfinite(now)
    if not growing.any():
        return math.inf
    # One bet alone would be there after so many; all together are there no later.
    most = max(math.ceil(float(((target - now[growing]) / each[growing]).min())), 0)
    if most > MOST_BLOCKS:
        return math.inf
    low, high = -1, most
    while high - low > 1:
        middle = (low + high) // 2
        if np.logaddexp.reduce(now + middle * each) >= target:
            high = middle
        else:
            low = middle
    return high
