"""Sizes that are drawn (``Model(measure="drawn")``): each timed inference has sizes of its own, as in a robot's work.

What is drawn depends on the declared sizes and an input's number alone: all backends, and both loops, get the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..model.dimension import drawn_sizes
from ..model.model import Input, Model
from ..parity.trials.fills import Fill

# The keys of two inputs of a model lie so far apart that their blocks never share a key.
KEYS_APART = 1 << 40

COUNTED_AT_LARGEST = "instructions were counted at the largest sizes, not at drawn ones: a count has one size"


@dataclass(frozen=True, kw_only=True)
class DrawnSizes:
    """The sizes of each input that is made, by its number.

    Attributes:
        inputs: the model's.
        dims: all sizes of each dimension.
    """

    inputs: Sequence[Input]
    dims: Mapping[str, Sequence[int]]

    def sizes(self, number: int) -> dict[str, int]:
        """Return the sizes of an input, by dimension; a dimension has one size in all arrays of the input."""
        return drawn_sizes(self.dims, number)

    def fills(self, number: int) -> list[dict[str, Any]]:
        """Return what makes the arrays of an input, at its sizes; the keys are not yet the input's own."""
        return uniform_fills(self.inputs, self.sizes(number))

    def seen(self, numbers: Iterable[int]) -> dict[str, dict[str, int]]:
        """Describe the sizes of inputs, by their numbers: how many different ones, the smallest and the largest."""
        each = [self.sizes(number) for number in numbers]
        columns = {name: [sizes[name] for sizes in each] for name in self.dims} if each else {}
        return {
            name: {"different": len(set(sizes)), "smallest": min(sizes), "largest": max(sizes)}
            for name, sizes in columns.items()
        }


def drawn_of(model: Model) -> DrawnSizes | None:
    """Return the drawn sizes of a model; None where it is measured at fixed ones."""
    return DrawnSizes(inputs=model.inputs, dims=model.dims) if model.measured_sizes.drawn else None


def uniform_fills(inputs: Sequence[Input], sizes: Mapping[str, int]) -> list[dict[str, Any]]:
    """Describe arrays that are spread over the declared range, one for each input, at given sizes."""
    return [Fill("uniform", seed=(1 + index) * KEYS_APART).described(item, sizes) for index, item in enumerate(inputs)]
