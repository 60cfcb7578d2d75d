"""Recipes: a few numbers from which host and device make the same inputs, each for itself."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property

from .fills import Fill


@dataclass(frozen=True)
class Recipe:
    """Sizes of the model's dimensions, and one fill for each of its inputs.

    A recipe shrinks well (towards the smallest sizes, zeros, no special elements) and costs little to draw and to send,
    whatever the array's size.
    """

    sizes: Mapping[str, int]
    fills: tuple[Fill, ...]

    @property
    def is_sample(self) -> bool:
        """Whether it is one of the samples as it comes."""
        return all(fill.kind == "sample" and not (fill.changed or fill.special) for fill in self.fills)

    @cached_property
    def key(self) -> str:
        """The recipe as text: the same for the same recipe, and readable by ``read``."""
        return json.dumps({"sizes": dict(self.sizes), "fills": [asdict(fill) for fill in self.fills]}, sort_keys=True)

    @classmethod
    def read(cls, key: str) -> Recipe:
        """Return the recipe of a key.

        Raises:
            ValueError, TypeError, KeyError: it is not a recipe's.
        """
        fields = json.loads(key)
        fills = (
            Fill(**{**fill, "special": tuple((place, value) for place, value in fill["special"])})
            for fill in fields["fills"]
        )
        return cls(fields["sizes"], tuple(fills))


def once(recipes: Iterable[Recipe]) -> list[Recipe]:
    """Remove repeated recipes, by their keys: equal numbers may be 0 and −0, and a NaN is not equal to itself."""
    return list({recipe.key: recipe for recipe in recipes}.values())
