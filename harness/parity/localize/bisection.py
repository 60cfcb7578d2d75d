"""Bisection: where along a row of steps something begins to be wrong."""

from __future__ import annotations

from collections.abc import Callable


def bisect_first(is_off: Callable[[int], bool], count: int) -> int:
    """Return a number n in 1 … count for which ``is_off(n)`` is true and ``is_off(n - 1)`` is false.

    ``is_off`` is taken to be false at 0 and true at ``count``, and is asked for neither. Where it changes more than
    once, any of the changes from false to true may be returned. It is called about log2(count) times.
    """
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_off(middle) else (middle, high)
    return high
