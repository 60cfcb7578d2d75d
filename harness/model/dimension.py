"""Dimensions: which sizes one may have, and ends of a range that are tied to one.

In a ``Model`` all sizes of a dimension are a sequence in ascending order: a ``range``, or a list. The smallest is the
first, the largest the last; ``size in sizes`` says whether it may occur.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import ModelError

WANTED = "(smallest, largest), (smallest, largest, step), a range, or a list of sizes; ints ≥ 0"
# A dimension, with a number added or taken off: the last index of an axis is its size less 1.
TIED = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*(?:([+-])\s*(\d+))?\s*\Z")


def read_sizes(name: str, said: Any) -> range | list[int]:
    """Read what a model file says of a dimension: all its sizes, ascending. Reading them again changes nothing.

    Args:
        said: (smallest, largest), (smallest, largest, step), a range as Python has it, or a list of sizes.

    Raises:
        ModelError: it is none of these, or has no size; or the steps pass over the largest.
    """
    if isinstance(said, tuple) and len(said) in (2, 3) and _are_sizes(said):
        low, high, step = (*said, 1)[:3]
        if low > high or step < 1:
            raise _not_usable(name, said)
        if (high - low) % step:
            last = range(low, high + 1, step)[-1]
            what, wanted = f"dimension {name!r} does not end at {high}", f"{last} or {last + step} as its largest"
            raise ModelError(what, wanted=wanted, found=repr(said), where="Model(dims=…)")
        return range(low, high + 1, step)
    if isinstance(said, range) and said and min(said) >= 0:
        return said if said.step > 0 else said[::-1]
    if isinstance(said, list) and said and _are_sizes(said):
        return sorted(set(said))
    raise _not_usable(name, said)


def _are_sizes(values: Sequence[Any]) -> bool:
    return all(type(value) is int and value >= 0 for value in values)


def _not_usable(name: str, said: Any) -> ModelError:
    return ModelError(f"dimension {name!r} has no usable range", wanted=WANTED, found=repr(said))


def describe_dimension(sizes: Sequence[int]) -> str:
    """Say which sizes there are, for a message: "1 … 8", "160 … 640 in steps of 32", "1, 4"."""
    if isinstance(sizes, range) and len(sizes) > 1:
        steps = f" in steps of {sizes.step}" if sizes.step > 1 else ""
        return f"{sizes[0]} … {sizes[-1]}{steps}"
    return ", ".join(map(str, sizes))


def declared_dims(dims: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Give dimensions as plain data, for hashes: [smallest, largest], with the step where it is not 1; or the list."""
    return {
        name: [sizes[0], sizes[-1], sizes.step][: 3 if sizes.step > 1 else 2]
        if isinstance(sizes, range)
        else {"sizes": list(sizes)}
        for name, sizes in dims.items()
    }


def read_tied(end: str) -> tuple[str, int] | None:
    """Read an end of a range that is tied to a dimension, such as "t" or "t - 1": its name, and what is added.

    Returns:
        None where the text is nothing of the kind.
    """
    found = TIED.match(end)
    if found is None:
        return None
    name, sign, number = found.groups()
    return name, int(f"{sign or '+'}{number or 0}")


def number_at(end: Any, sizes: Mapping[str, int]) -> Any:
    """Give an end of a range as a number, where it is tied to a dimension of such a size."""
    if not isinstance(end, str) or (tied := read_tied(end)) is None:
        return end
    return sizes[tied[0]] + tied[1]


class Sizes(dict[str, int]):
    """A size for each dimension; ``said`` has those that the model file gives itself."""

    said: Mapping[str, int] = {}

    @classmethod
    def of(cls, said: Mapping[str, int], dims: Mapping[str, Sequence[int]]) -> Sizes:
        """The largest of each dimension that the model file gives no size."""
        made = cls({name: sizes[-1] for name, sizes in dims.items()} | dict(said))
        made.said = said.said if isinstance(said, Sizes) else dict(said)  # also of a model that was copied
        return made
