"""The trend of a series: Theil and Sen's slope, with its confidence interval, and what was gained from end to end.

The slope is the median of the slopes between all pairs of points, so a step, or a few points that are far off, hardly
move it: a line of least squares through the resident memory of a process that does not leak raises a false alarm in a
third of the runs of 1000 inferences (docs/measuring.md, "Growth").

H. Theil, "A rank-invariant method of linear and polynomial regression analysis", 1950; P. K. Sen, "Estimates of the
regression coefficient based on Kendall's tau", Journal of the American Statistical Association 63, 1968, pages
1379 to 1389. The interval: M. Hollander and D. A. Wolfe, Nonparametric Statistical Methods, 2nd ed., section 9.3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from ..agent.frames import Array

CONFIDENCE = 0.99
# What lies at both ends of a series, for what was gained between them: this share of the points, and three at least.
END_SHARE, END_POINTS = 0.1, 3


@dataclass(frozen=True, kw_only=True)
class Trend:
    """The trend of a series, in y's unit for each unit of x.

    Attributes:
        slope: Theil and Sen's estimate.
        low: The lower end of its interval; minus infinity if there are too few points for one.
        high: The upper end; infinity if there are too few points.
        gained: The difference between the medians of the last and of the first points, for each unit of x between them.
        late: The estimate over the second half of the points alone: what settles slowly has a slope that ends.
    """

    slope: float
    low: float
    high: float
    gained: float
    late: float


def trend(x: Array, y: Array, confidence: float = CONFIDENCE) -> Trend:
    """Compute Theil and Sen's slope and its two-sided interval.

    The interval holds whatever the distribution, where the points' errors are independent and alike. Its ends are order
    statistics of the pairs' slopes; which of them, follows from the variance of Kendall's S, approximated as normal. No
    allowance is made for equal values of y, which would make the interval narrower. Where errors depend on the ones
    before, as in a series with steps, the interval is too narrow: confirm it in a second series.

    Args:
        x: Where the points lie, float64[n], ascending, no two equal; n ≥ 2.
        y: The values there, float64[n].
        confidence: The interval's, 0 to 1, exclusive.

    Raises:
        ValueError: There are fewer than two points, or x does not ascend.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if len(x) < 2 or len(x) != len(y) or not (np.diff(x) > 0).all():
        raise ValueError("wanted at least two points, each further than the one before")
    slopes, half = _slopes(x, y), len(x) // 2
    out = _left_out(len(x), confidence)
    low, high = (slopes[out - 1], slopes[len(slopes) - out]) if out else (-math.inf, math.inf)
    late = np.median(_slopes(x[half:], y[half:])) if len(x) - half > 1 else slopes[0]
    return Trend(
        slope=float(np.median(slopes)), low=float(low), high=float(high), gained=_gained(x, y), late=float(late)
    )


def _slopes(x: Array, y: Array) -> Array:
    """Return the slopes between all pairs of points, ascending: float64[n (n - 1) / 2]."""
    first, second = np.triu_indices(len(x), 1)
    return np.sort((y[second] - y[first]) / (x[second] - x[first]))


def _left_out(points: int, confidence: float) -> int:
    """Return which slope, counted from either end, is the interval's end, 1 being the outermost; 0 without any."""
    pairs = points * (points - 1) / 2
    deviation = math.sqrt(points * (points - 1) * (2 * points + 5) / 18)  # of Kendall's S, where there is no trend
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    return max(math.floor((pairs - z * deviation) / 2), 0)


def _gained(x: Array, y: Array) -> float:
    count = min(max(int(END_SHARE * len(x)), END_POINTS), len(x) // 2)
    gained = np.median(y[-count:]) - np.median(y[:count])
    return float(gained / (np.mean(x[-count:]) - np.mean(x[:count])))
