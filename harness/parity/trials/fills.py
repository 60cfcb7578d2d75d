"""Fills: how one input array of a search is made, on host and device alike; see harness.agent.expand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import numpy as np

from ...agent.expand import UNSIGNED, expand
from ...model.inputs import as_dtype
from ...model.model import FLOAT_TYPES, Array, Input

# A narrow fill is spread over this part of the range; a near-equal one over this many numbers to either side.
NARROW = 1e-3
NEAR = 2
TIED = 3
# A coarse fill's distance is the range's width halved so many times: halves for 0 … 255, 1/128 for −1 … 1.
COARSE_BITS = 8

KINDS: Mapping[str, str] = {
    "constant": "every element the value",
    "ends": "one of the range's ends, or the value",
    "uniform": "spread over the range",
    "narrow": "spread over a thousandth of the range around the value",
    "near-equal": "the value, or one of its next two neighbours to either side",
    "ties": "three values only",
    "ascending": "over the range, sorted",
    "descending": "over the range, sorted downwards",
    "sample": "a real sample, some elements of it replaced by others of the range",
    "magnitudes": "all exponents alike, up to the range's ends",
    "denormal": "numbers below the smallest normal one",
    "coarse": "multiples of a power of two, some hundreds over the range: halves and thresholds are met exactly",
}


@dataclass(frozen=True)
class Fill:
    """How one array is filled.

    Attributes:
        kind: one of KINDS.
        value: of "constant", "ends", "narrow" and "near-equal".
        seed: of the random kinds.
        special: (place as a fraction of the array, value) of single elements set last, NaN and infinity among them.
        base: of "sample": its number.
        changed: of "sample": how many of its elements are replaced, as a fraction.
    """

    kind: str
    value: float = 0.0
    _: KW_ONLY
    seed: int = 0
    special: tuple[tuple[float, float], ...] = field(default=())
    base: int = 0
    changed: float = 0.0

    def described(self, item: Input, sizes: Mapping[str, int]) -> dict[str, Any]:
        """Return what is sent to the device: a fill of harness.agent.expand."""
        shape, item = item.sizes(sizes), item.at(sizes)
        size = math.prod(shape)
        special = [[int(place * size), bits_of(value, item)] for place, value in self.special if size]
        order = self.kind if self.kind in ("ascending", "descending") else "random"
        made = {"dtype": item.dtype, "shape": list(shape), "order": order, "key": self.seed, "set": special}
        if self.kind == "sample":
            made |= {"base": self.base, "changed": int(self.changed * 2**32)}
        return made | self._elements(item)

    def make(self, item: Input, sizes: Mapping[str, int], kept: Sequence[Array] = ()) -> Array:
        """Make the array on this host.

        Args:
            item: the input.
            sizes: of the model's dimensions.
            kept: the samples' arrays of this input.
        """
        return expand(self.described(item, sizes), kept)

    def __str__(self) -> str:
        random = f", seed {self.seed}" if self.kind not in ("constant", "ascending", "descending") else ""
        valued = f"value {self.value}" if self.kind in ("constant", "ends", "narrow", "near-equal") else ""
        sample = f"sample {self.base}, {self.changed:.3g} of it replaced" if self.kind == "sample" else ""
        special = "".join(f", element {value} at {place:.3g} of the array" for place, value in self.special)
        inner = f"{valued or sample}{random}{special}".removeprefix(", ")
        return f"{self.kind} ({inner})" if inner else self.kind

    def _elements(self, item: Input) -> dict[str, Any]:
        low, high = item.range
        if self.kind == "constant":
            return {"values": [bits_of(self.value, item)]}
        if self.kind == "ends":
            return {"values": [bits_of(value, item) for value in (low, high, self.value)]}
        if self.kind == "ties":
            spread = {"dtype": item.dtype, "shape": [TIED], "order": "random", "key": self.seed + 1, "set": []}
            three = expand(spread | evenly(low, high, item))
            return {"values": [int(bits) for bits in three.view(UNSIGNED[three.itemsize])]}
        if self.kind == "narrow":
            return evenly(*_within(self.value, item), item)
        if self.kind == "near-equal":
            return _near(self.value, item)
        if self.kind == "magnitudes":
            return _counted(place_of(low, item), place_of(high, item))
        if self.kind == "denormal":
            return _counted(*denormal_places(item))
        if self.kind == "coarse":
            return evenly(low, high, item, COARSE_BITS)
        return evenly(low, high, item)


def bits_of(value: float, item: Input) -> int:
    """Return the bits of the element nearest to a number, in the range; NaN and infinities are left as they are."""
    low, high = item.range
    if item.dtype not in FLOAT_TYPES:
        element = np.array(max(low, min(high, int(value))), item.dtype)
    elif not math.isfinite(value) or low <= value == 0 <= high:
        element = np.array(value, item.dtype)  # clipping takes −0 for 0
    else:
        element = as_dtype(np.array(value), item)
    return int(element.view(UNSIGNED[element.itemsize]))


def evenly(low: float, high: float, item: Input, bits: int | None = None) -> dict[str, Any]:
    """Describe numbers at equal distances from the one to the other, both of the input's type.

    Args:
        low: the first number.
        high: the last.
        item: the input.
        bits: of floats there are 2 to this power, or up to twice as many; None: as many as it can tell apart.
    """
    if item.dtype not in FLOAT_TYPES:
        return {"first": int(low), "last": int(high) - int(low), "scale": 0}
    info = np.finfo(item.dtype)
    _, exponent = math.frexp(max(abs(low), abs(high)))
    scale = max(exponent - info.nmant - 1, info.minexp - info.nmant)
    if bits is not None and high > low:
        scale = max(scale, math.frexp(high - low)[1] - 1 - bits)
    # A power of two away: exact, unless the lower end is far below the distance.
    first, last = math.ceil(math.ldexp(low, -scale)), math.floor(math.ldexp(high, -scale))
    return {"first": first, "last": last - first, "scale": scale}


def place_of(value: float, item: Input) -> int:
    """Count the numbers of the input's type between 0 and this one; negative below 0."""
    element = np.array(value, item.dtype)
    bits = int(np.abs(element).view(UNSIGNED[element.itemsize]))
    return -bits if value < 0 else bits


def denormal_places(item: Input) -> tuple[int, int]:
    """Return the first and the last place of denormal numbers in the range; in the wrong order where there are none."""
    most = (1 << np.finfo(item.dtype).nmant) - 1
    low, high = item.range
    return max(place_of(low, item), -most), min(place_of(high, item), most)


def _counted(first: int, last: int) -> dict[str, Any]:
    return {"first": first, "last": last - first, "scale": None}


def _within(value: float, item: Input) -> tuple[float, float]:
    """Return a thousandth of the range around a value of it."""
    low, high = item.range
    if item.dtype in FLOAT_TYPES:
        rest = value * (1 - NARROW)
        ends = as_dtype(np.array([rest + low * NARROW, rest + high * NARROW]), item)
        return float(ends[0]), float(ends[1])
    value, reach = max(low, min(high, int(value))), int((high - low) * NARROW)
    return max(low, value - reach), min(high, value + reach)


def _near(value: float, item: Input) -> dict[str, Any]:
    low, high = item.range
    if item.dtype not in FLOAT_TYPES:
        value = max(low, min(high, int(value)))
        return evenly(max(low, value - NEAR), min(high, value + NEAR), item)
    ends = place_of(low, item), place_of(high, item)
    at = place_of(max(low, min(high, value)), item)
    return _counted(max(ends[0], at - NEAR), min(ends[1], at + NEAR))
