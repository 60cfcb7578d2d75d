"""Feeds: where a timed loop on the device takes its inputs from (see harness.agent.ring)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..agent.frames import ITEM_SIZES, Array

Inputs = Mapping[str, Array]
Fills = Sequence[Mapping[str, Any]]

# The device prepares as many sets at a time as fit in RING_BYTES (each counted twice, with its copy), at most
# MOST_SETS; but at least LEAST_SETS if they fit in LIMIT_BYTES, and always one. Few, because resident inputs count in
# the peak of memory that is measured, and each set is an object or two.
RING_BYTES = 1 << 22
MOST_SETS, LEAST_SETS = 128, 2
LIMIT_BYTES = 1 << 25


@dataclass(frozen=True)
class Feed:
    """What a request sends so that the device can make its ring of inputs.

    Attributes:
        header: keys of the request; see Operations._ring in harness.agent.operations.
        tensors: the arrays of the sets that travel, set after set.
    """

    header: Mapping[str, Any]
    tensors: Sequence[Array] = ()


def ring_size(set_bytes: int) -> int:
    """Return how many sets of inputs are prepared at a time.

    Args:
        set_bytes: what one set takes.
    """
    with_copy = 2 * max(set_bytes, 1)
    return max(min(MOST_SETS, RING_BYTES // with_copy), min(LEAST_SETS, LIMIT_BYTES // with_copy), 1)


def sent(sets: Sequence[Inputs]) -> Feed:
    """Make a feed of sets that travel with the request, and are taken in turn."""
    return Feed({"ring": ring_size(bytes_of(sets[0]))}, [array for inputs in sets for array in inputs.values()])


def spread(fills: Fills, first: int) -> Feed:
    """Make a feed of inputs that the device makes, another set for each inference.

    Args:
        fills: one for each input; see harness.agent.expand.
        first: the number of the first block of sets; each block has ring_size sets.
    """
    return Feed({"ring": ring_size(fill_bytes(fills)), "fills": [dict(fill) for fill in fills], "first": first})


def kept(order: Sequence[int], set_bytes: int) -> Feed:
    """Make a feed of sets that the device keeps.

    Args:
        order: their numbers, in the order in which they are run.
        set_bytes: what one set takes.
    """
    return Feed({"ring": ring_size(set_bytes), "kept": [int(number) for number in order]})


def kept_with_spare(count: int, set_bytes: int, *, each: bool) -> Feed:
    """Make a feed of sets of different sizes that the device keeps, and of a spare one behind them.

    A block of the ring begins with an inference that is not timed, on the block's last set. So that it prepares the
    runtime for the size of none that counts, the last set is the spare one, whose number is ``count``.

    Args:
        count: how many sets count.
        set_bytes: what the largest takes.
        each: whether each block begins so, or only the first of a call (see Ring in harness.agent.ring).
    """
    ring = max(ring_size(set_bytes), 2)
    order: list[int] = []
    for start in range(0, count, ring - 1):
        order += range(start, min(start + ring - 1, count))
        if each or not start:
            order.append(count)
    return Feed({"ring": ring, "kept": order})


def bytes_of(inputs: Inputs) -> int:
    """Return how many bytes a set of inputs takes."""
    return sum(array.nbytes for array in inputs.values())


def fill_bytes(fills: Fills) -> int:
    """Return how many bytes the set takes that is made of these fills."""
    return sum(math.prod(fill["shape"]) * ITEM_SIZES[fill["dtype"]] for fill in fills)
