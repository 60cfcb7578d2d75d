"""All inputs that a model file allows, as recipes and as arrays."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from hypothesis import strategies as st

from ...model.inputs import Arrays, describe_sizes, set_bytes, sizes_of
from ...model.model import FLOAT_TYPES, Input, Model
from .fills import Fill
from .recipe import Recipe, once
from .strategies import SEEDS, SIZES, draw_fill, draw_flags, draw_size, drawn_kinds, listed_kinds, special_values

# A dimension with no more sizes is tried with all of them.
FEW = 64
# At most so many prepared inputs are cached: those of one call to the device, and a few before.
KEPT = 64
KEPT_BYTES = 1 << 26
Prepare = Callable[[Sequence[Arrays]], list[Arrays]]


@dataclass(frozen=True)
class InputSpace:
    """All inputs that a model file allows.

    Attributes:
        samples: real ones.
        prepare: makes drawn sets valid, where the model file has a function for it.
    """

    model: Model
    samples: Sequence[Arrays] = ()
    prepare: Prepare | None = None
    _made: OrderedDict[str, Arrays] = field(default_factory=OrderedDict, compare=False, repr=False)

    @cached_property
    def sample_sizes(self) -> list[dict[str, int]]:
        """The sizes of each sample's dimensions."""
        return [sizes_of(self.model.inputs, arrays) for arrays in self.samples]

    @property
    def is_prepared(self) -> bool:
        """Whether the host alone can make its arrays: then they are sent, and no description of them."""
        return self.model.prepare is not None and self.prepare is not None

    def make(self, recipe: Recipe) -> Arrays:
        """Make the arrays of a recipe, by name: drawn, then prepared.

        Raises:
            ModelError: the model file's prepare cannot be used.
        """
        return self.make_all([recipe])[0]

    def make_all(self, recipes: Sequence[Recipe]) -> list[Arrays]:
        """Make the arrays of several recipes, prepared in one question; samples as they come are real, and stay so.

        Raises: as make.
        """
        if self.prepare is None or self.model.prepare is None:
            return [self.draw(recipe) for recipe in recipes]
        made = {recipe.key: self._made[recipe.key] for recipe in recipes if recipe.key in self._made}
        drawn = {recipe.key: self.draw(recipe) for recipe in recipes if recipe.key not in made}
        real = {recipe.key for recipe in recipes if recipe.is_sample}
        made |= {key: arrays for key, arrays in drawn.items() if key in real}
        waiting = {key: arrays for key, arrays in drawn.items() if key not in real}
        made |= zip(waiting, self.prepare([*waiting.values()]), strict=True)
        self._keep({key: made[key] for key in waiting})
        return [dict(made[recipe.key]) for recipe in recipes]

    def _keep(self, made: Mapping[str, Arrays]) -> None:
        """Keep what was prepared last, for it is needed again: by the reference, by the device."""
        self._made.update(made)
        size = sum(array.nbytes for arrays in self._made.values() for array in arrays.values())
        while self._made and (size > KEPT_BYTES or len(self._made) > KEPT):
            size -= sum(array.nbytes for array in self._made.popitem(last=False)[1].values())

    def told(self, recipe: Recipe) -> str:
        """Describe a recipe for a person, each fill with its input's name."""
        fills = (f"{item.name}: {fill}" for item, fill in zip(self.model.inputs, recipe.fills, strict=True))
        return "; ".join(filter(None, [describe_sizes(recipe.sizes), *fills]))

    def draw(self, recipe: Recipe) -> Arrays:
        """Make the arrays of a recipe as they are drawn, not prepared, by name."""
        return {
            item.name: fill.make(item, recipe.sizes, [arrays[item.name] for arrays in self.samples])
            for item, fill in zip(self.model.inputs, recipe.fills, strict=True)
        }

    def describe(self, recipe: Recipe) -> list[dict[str, Any]]:
        """Return what is sent in place of the arrays: for each input, a fill of harness.agent.expand."""
        return [fill.described(item, recipe.sizes) for item, fill in zip(self.model.inputs, recipe.fills, strict=True)]

    def bytes(self, recipe: Recipe) -> int:
        """Count the bytes that a recipe's arrays take."""
        return set_bytes(self.model, recipe.sizes)

    def recipes(self) -> st.SearchStrategy[Recipe]:
        """Draw recipes: every size in its range, values all over theirs, real samples mutated."""
        sizes = {name: draw_size(allowed) for name, allowed in self.model.dims.items()}
        widest = [item.widest(self.model.dims) for item in self.model.inputs]
        drawn = st.builds(
            Recipe,
            st.fixed_dictionaries(sizes),
            st.tuples(*map(draw_fill, widest, map(drawn_kinds, self.model.inputs))),
        )
        if not self.samples:
            return drawn
        changed = st.sampled_from([0.001, 0.01, 0.1, 0.5])
        sample = st.integers(0, len(self.samples) - 1)
        mutated = st.builds(self._sample, sample, changed, st.integers(0, SEEDS), draw_flags(widest))
        return drawn | mutated

    def essential(self) -> list[Recipe]:
        """List the recipes that are tried before all others, however slow the device is.

        At the usual sizes: spread, ends, zeros, and each of NaN and the infinities that is allowed; then the
        smallest and the largest sizes.
        """
        model = self.model
        made = [*self.whole_range(), self._alike(model.usual_sizes, Fill("constant"))]
        for value in (math.nan, math.inf, -math.inf):
            if any(value in special_values(item) for item in model.inputs):
                made.append(self._alike(model.usual_sizes, Fill("uniform", seed=1), value))
        for end in (0, -1):
            sizes = {name: allowed[end] for name, allowed in model.dims.items()}
            made.append(self._alike(sizes, Fill("uniform", seed=1)))
        return once(made)

    def corners(self) -> list[Recipe]:
        """List recipes on which programs go wrong: −0, denormals, large numbers, ties, sorted, odd sizes, samples."""
        before = {recipe.key for recipe in self.essential()}
        return [recipe for recipe in once(self._corners()) if recipe.key not in before]

    def every_size(self) -> list[Recipe]:
        """List a recipe for each size of every dimension that has few: an unrolled loop, a block that is left over."""
        made = []
        for name, allowed in self.model.dims.items():
            sizes = allowed if len(allowed) <= FEW else ()
            made += [self._alike({**self.model.usual_sizes, name: size}, Fill("uniform", seed=5)) for size in sizes]
        return made

    def whole_range(self) -> list[Recipe]:
        """List the two recipes that fill the range, at the usual sizes: spread over it, and its ends mixed."""
        return [self._alike(self.model.usual_sizes, fill) for fill in (Fill("uniform", seed=1), Fill("ends", seed=2))]

    def holds(self, recipe: Recipe) -> bool:
        """Tell whether a recipe from elsewhere is of this space: the samples may have become fewer."""
        sized = all(recipe.sizes.get(name, -1) in allowed for name, allowed in self.model.dims.items())
        filled = len(recipe.fills) == len(self.model.inputs) and all(
            self._has(fill.base, recipe) if fill.kind == "sample" else fill.kind in listed_kinds(item)
            for fill, item in zip(recipe.fills, self.model.inputs, strict=True)
        )
        return sized and filled

    def _has(self, base: int, recipe: Recipe) -> bool:
        return base < len(self.samples) and dict(recipe.sizes) == self.sample_sizes[base]

    def _corners(self) -> Iterator[Recipe]:
        usual = self.model.usual_sizes
        for index in range(min(len(self.samples), 2)):
            yield self._sample(index, 0.0, 0, ())
            yield self._sample(index, (0.1, 0.5)[index], 5, ())
        for kind in ("near-equal", "ties", "ascending", "descending", "narrow", "magnitudes", "denormal"):
            yield self._alike(usual, Fill(kind, seed=3))
        # Drawn numbers hardly ever lie at a threshold, or amid two whole numbers, where roundings differ.
        if any(item.dtype in FLOAT_TYPES for item in self.model.inputs):
            yield self._alike(usual, Fill("coarse", seed=6))
        yield self._alike(usual, Fill("constant", -0.0))
        for end in (0, 1):
            yield Recipe(usual, tuple(Fill("constant", item.at(usual).range[end]) for item in self.model.inputs))
        for name, allowed in self.model.dims.items():
            amid = (allowed[0] + allowed[-1]) // 2 | 1
            for size in dict.fromkeys((*SIZES, amid if amid in allowed else allowed[len(allowed) // 2])):
                if size in allowed:
                    yield self._alike({**usual, name: size}, Fill("uniform", seed=4))

    def _alike(self, sizes: Mapping[str, int], fill: Fill, value: float = 0.0) -> Recipe:
        """Fill every input alike, but not with the same numbers; with a special value amid each that may have it."""
        fills = []
        for index, item in enumerate(self.model.inputs):
            special = ((0.5, value),) if value in special_values(item) else ()
            kind = fill.kind if fill.kind in listed_kinds(item) else "uniform"
            value_of = _middle(item.at(sizes)) if kind in ("narrow", "near-equal") else fill.value
            fills.append(replace(fill, kind=kind, value=value_of, seed=fill.seed + index, special=special))
        return Recipe(sizes, tuple(fills))

    def _sample(self, base: int, changed: float, seed: int, special: tuple[tuple[float, float] | None, ...]) -> Recipe:
        fills = []
        for index, _ in enumerate(self.model.inputs):
            own = special[index] if index < len(special) else None
            fill = Fill("sample", seed=seed + index, base=base, changed=changed, special=(own,) if own else ())
            fills.append(fill)
        return Recipe(self.sample_sizes[base], tuple(fills))


def _middle(item: Input) -> float:
    low, high = item.range
    return low / 2 + high / 2 if item.dtype in FLOAT_TYPES else (int(low) + int(high)) // 2
