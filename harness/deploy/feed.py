"""Feeds: where a timed loop on the device takes its inputs from (see harness.agent.ring)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..agent.frames import ITEM_SIZES, Array

Inputs = Mapping[str, Array]
Fills = Sequence[Mapping[str, Any]]

# So much is there at a time, each prepared set with what it is a copy of, for what is resident counts in the peak of
# memory that is measured: no more than what four sets took before there was a ring …
RING_BYTES = 1 << 22
RING_SETS = 4
# … of small inputs no more sets than these, for each is an object or two …
MOST_SETS = 128
# … and never more than this, save for a single set that is larger by itself.
LIMIT_BYTES = 1 << 25


@dataclass(frozen=True)
class Feed:
    """What is sent for it.

    Attributes:
        header: keys of the request; see Operations._ring in harness.agent.operations.
        tensors: the sets that travel, one after the other.
    """

    header: Mapping[str, Any]
    tensors: Sequence[Array] = ()


def ring_size(set_bytes: int) -> int:
    """How many sets of inputs are prepared at a time, of so many bytes each."""
    with_copy = 2 * max(set_bytes, 1)
    return max(min(MOST_SETS, RING_BYTES // with_copy), min(RING_SETS // 2, LIMIT_BYTES // with_copy), 1)


def sent(sets: Sequence[Inputs]) -> Feed:
    """Sets that travel with the request, taken in turn."""
    return Feed({"ring": ring_size(bytes_of(sets[0]))}, [array for inputs in sets for array in inputs.values()])


def spread(fills: Fills, first: int) -> Feed:
    """Inputs that the device makes, each inference its own.

    Args:
        fills: one for each input; see harness.agent.expand.
        first: the number of their first block; each block has ring_size sets.
    """
    return Feed({"ring": ring_size(fill_bytes(fills)), "fills": [dict(fill) for fill in fills], "first": first})


def kept(order: Sequence[int], set_bytes: int) -> Feed:
    """Sets that the device has kept, by their numbers, in the order in which they are run."""
    return Feed({"ring": ring_size(set_bytes), "kept": [int(number) for number in order]})


def bytes_of(inputs: Inputs) -> int:
    """What one set of inputs takes."""
    return sum(array.nbytes for array in inputs.values())


def fill_bytes(fills: Fills) -> int:
    """What the set takes that is made of these."""
    return sum(math.prod(fill["shape"]) * ITEM_SIZES[fill["dtype"]] for fill in fills)
