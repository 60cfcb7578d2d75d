"""Dimensions: the sizes that a named dimension may have, and ends of ranges that depend on one.

A ``Model`` has the sizes of each dimension as an ascending sequence, a ``range`` or a list: the first is the smallest,
the last the largest, and ``size in sizes`` tells whether a size may occur.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ..errors import ModelError

WANTED = "(smallest, largest), (smallest, largest, step), a range, or a list of sizes; ints ≥ 0"
# A dimension's name, with a number added or subtracted: the last index of an axis is its size less 1.
TIED = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*(?:([+-])\s*(\d+))?\s*\Z")

# What a model file has in place of sizes where each timed inference shall have others.
DRAWN = "drawn"
# The random numbers of sizes are none of an input's; so many sizes are drawn at a time.
SIZES_KEY, PORTION = 0x517E << 32, 1024


def read_sizes(name: str, declared: Any) -> range | list[int]:
    """Read a dimension's sizes from what a model file declares; reading the result again changes nothing.

    Args:
        name: The dimension, for messages.
        declared: (smallest, largest), (smallest, largest, step), a range, or a list of sizes; ints ≥ 0.

    Returns:
        All sizes, ascending.

    Raises:
        ModelError: It is none of these, or has no size; or the steps miss the largest.
    """
    if isinstance(declared, tuple) and len(declared) in (2, 3) and _are_sizes(declared):
        low, high, step = (*declared, 1)[:3]
        if low > high or step < 1:
            raise _not_usable(name, declared)
        if (high - low) % step:
            last = range(low, high + 1, step)[-1]
            what, wanted = f"dimension {name!r} does not end at {high}", f"{last} or {last + step} as its largest"
            raise ModelError(what, wanted=wanted, found=repr(declared), where="Model(dims=…)")
        return range(low, high + 1, step)
    if isinstance(declared, range) and declared and min(declared) >= 0:
        return declared if declared.step > 0 else declared[::-1]
    if isinstance(declared, list) and declared and _are_sizes(declared):
        return sorted(set(declared))
    raise _not_usable(name, declared)


def _are_sizes(values: Sequence[Any]) -> bool:
    return all(type(value) is int and value >= 0 for value in values)


def _not_usable(name: str, declared: Any) -> ModelError:
    return ModelError(f"dimension {name!r} has no usable range", wanted=WANTED, found=repr(declared))


def describe_dimension(sizes: Sequence[int]) -> str:
    """Describe sizes for a message: "1 … 8", "160 … 640 in steps of 32", "1, 4"."""
    if isinstance(sizes, range) and len(sizes) > 1:
        steps = f" in steps of {sizes.step}" if sizes.step > 1 else ""
        return f"{sizes[0]} … {sizes[-1]}{steps}"
    return ", ".join(map(str, sizes))


def declared_dims(dims: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Convert dimensions to plain data for hashes: [smallest, largest], [smallest, largest, step], {"sizes": [...]}."""
    return {
        name: [sizes[0], sizes[-1], sizes.step][: 3 if sizes.step > 1 else 2]
        if isinstance(sizes, range)
        else {"sizes": list(sizes)}
        for name, sizes in dims.items()
    }


def read_tied(end: str) -> tuple[str, int] | None:
    """Parse an end of a range that depends on a dimension's size, such as "t" or "t - 1".

    Returns:
        The dimension's name and the number to add; None if the text is nothing of the kind.
    """
    match = TIED.match(end)
    if match is None:
        return None
    name, sign, number = match.groups()
    return name, int(f"{sign or '+'}{number or 0}")


def number_at(end: Any, sizes: Mapping[str, int]) -> Any:
    """Return an end of a range as a number, with the dimension's size filled in if it depends on one."""
    if not isinstance(end, str) or (tied := read_tied(end)) is None:
        return end
    return sizes[tied[0]] + tied[1]


class Sizes(dict[str, int]):
    """The sizes that are measured, one for each dimension; the largest of each where they are drawn.

    Attributes:
        declared: Only those that the model file itself gives.
        drawn: Whether each timed inference has sizes of its own, drawn from all that are declared.
    """

    declared: Mapping[str, int] = {}
    drawn: bool = False

    @classmethod
    def of(cls, declared: Mapping[str, int] | str, dims: Mapping[str, Sequence[int]]) -> Sizes:
        """Complete the sizes that a model file gives with the largest size of each other dimension.

        Args:
            declared: Sizes by dimension, or DRAWN; Sizes, if a model is copied.
            dims: All sizes of each dimension.
        """
        if isinstance(declared, str):
            complete = cls.of({}, dims)
            complete.drawn = True
            return complete
        complete = cls({name: sizes[-1] for name, sizes in dims.items()} | dict(declared))
        if isinstance(declared, Sizes):
            complete.declared, complete.drawn = declared.declared, declared.drawn
        else:
            complete.declared = dict(declared)
        return complete


def drawn_sizes(dims: Mapping[str, Sequence[int]], number: int) -> dict[str, int]:
    """Draw a size of each dimension, each independently and evenly from all that are declared.

    Args:
        dims: All sizes of each dimension.
        number: Which draw; equal numbers give equal sizes, on every machine.
    """
    portion, place = divmod(number, PORTION)
    return {name: sizes[_places(len(sizes), index, portion)[place]] for index, (name, sizes) in enumerate(dims.items())}


@lru_cache(maxsize=64)
def _places(count: int, index: int, portion: int) -> tuple[int, ...]:
    """Draw a portion of places among so many sizes of a dimension; Philox gives the same words on every machine."""
    random = np.random.Generator(np.random.Philox(key=[SIZES_KEY + index, portion]))
    return tuple(random.integers(count, size=PORTION).tolist())


def span_of(sizes: Sequence[int]) -> int | str:
    """Describe the sizes of a dimension for the evidence: the size, or "SMALLEST…LARGEST"."""
    low, high = min(sizes), max(sizes)
    return low if low == high else f"{low}…{high}"
