"""Fills to be drawn, and what must come of them: reckoned one element after another, in Python's own whole numbers."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.agent.frames import ITEM_SIZES, Array

Fill = dict[str, Any]
Drawn = list[tuple[int, int, int, int]]

WORD = (1 << 64) - 1
# As IEEE 754 has them: the bits of a fraction, the smallest exponent of a normal number, struct's letter.
FORMATS = {"float16": (10, -14, "e"), "float32": (23, -126, "f"), "float64": (52, -1022, "d")}


def philox(counter: Sequence[int], key: Sequence[int]) -> list[int]:
    """Compute a block of Philox4x64-10 (Salmon et al., SC 2011)."""
    a, b, c, d = counter
    low, high = key
    for _ in range(10):
        first, second = 0xD2E7470EE14C6C93 * a, 0xCA5A826395121157 * c
        a, b, c, d = second >> 64 ^ b ^ low, second & WORD, first >> 64 ^ d ^ high, first & WORD
        low, high = low + 0x9E3779B97F4A7C15 & WORD, high + 0xBB67AE8584CAA73B & WORD
    return [a, b, c, d]


def words(key: int, stream: int, count: int) -> list[int]:
    """So many of 64 bits."""
    blocks = (philox((block + 1, 0, 0, 0), (key, stream)) for block in range((count + 3) // 4))
    return [word for block in blocks for word in block][:count]


def half_words(key: int, stream: int, count: int) -> list[int]:
    """So many of 32 bits."""
    return [half for word in words(key, stream, (count + 1) // 2) for half in (word & 0xFFFFFFFF, word >> 32)][:count]


def expected(fill: Fill, kept: Sequence[Array] = ()) -> bytes:
    """Return the elements' bytes."""
    kind = fill["dtype"]
    size, width = math.prod(fill["shape"]), ITEM_SIZES[kind]
    last = len(fill["values"]) - 1 if "values" in fill else fill["last"]
    elements = [_element(fill, number) for number in _numbers(fill, last, size)]
    if "base" in fill:
        base = kept[fill["base"]].tobytes()
        for index, word in enumerate(half_words(fill["key"], 1, size)):
            if word >= fill["changed"]:
                elements[index] = base[index * width : (index + 1) * width]
    for index, bits in fill["set"]:
        elements[index] = bits.to_bytes(width, "little")
    return b"".join(elements)


def _numbers(fill: Fill, last: int, size: int) -> list[int]:
    if fill["order"] == "random":
        if last < 1 << 32:
            return [(last + 1) * word >> 32 for word in half_words(fill["key"], 0, size)]
        return [(last + 1) * word >> 64 for word in words(fill["key"], 0, size)]
    step, rest = divmod(last, max(size - 1, 1))
    rising = [index * step + min(index, rest) for index in range(size)]
    return rising if fill["order"] == "ascending" else [last - number for number in rising]


def _element(fill: Fill, number: int) -> bytes:
    kind = fill["dtype"]
    width = ITEM_SIZES[kind]
    if "values" in fill:
        bits: int = fill["values"][number]
        return bits.to_bytes(width, "little")
    found: int = fill["first"] + number
    if kind not in FORMATS:
        return found.to_bytes(width, "little", signed=found < 0)
    if fill["scale"] is not None:
        return struct.pack("<" + FORMATS[kind][2], math.ldexp(found, fill["scale"]))
    return (abs(found) | (found < 0) << (8 * width - 1)).to_bytes(width, "little")


def limits(kind: str) -> tuple[int, int]:
    """Return the smallest and the largest whole number that an element may be; for floats, that a fill may count."""
    if kind == "bool":
        return 0, 1
    if kind in FORMATS:
        fraction, lowest, _ = FORMATS[kind]
        infinity = (3 - 2 * lowest) << fraction
        return -infinity, infinity
    info = np.iinfo(kind)
    return int(info.min), int(info.max)


def _bits(kind: str) -> st.SearchStrategy[int]:
    return st.integers(0, 1 if kind == "bool" else (1 << 8 * ITEM_SIZES[kind]) - 1)


@st.composite
def fills(draw: st.DrawFn, kind: str, kept: Sequence[Array] = (), sizes: tuple[int, ...] = ()) -> Fill:
    """Draw fills of an element type, with its ends, its denormals, and its NaNs.

    Args:
        draw: Hypothesis's.
        kind: the element type, by numpy's name.
        kept: arrays that a base may be chosen from, all of one size.
        sizes: the shape; without it any of two dimensions.
    """
    has_base = bool(kept) and draw(st.booleans())
    shape = list(kept[0].shape if has_base else sizes or draw(st.tuples(st.integers(0, 12), st.integers(0, 12))))
    size = math.prod(shape)
    key = draw(st.integers(0, WORD) | st.sampled_from([0, WORD]))
    orders = st.sampled_from(["random", "ascending", "descending"])
    fill: Fill = {"dtype": kind, "shape": shape, "order": draw(orders), "key": key, "set": []}
    if draw(st.integers(0, 3)) == 0:
        fill["values"] = draw(st.lists(_bits(kind), min_size=1, max_size=5))
    else:
        fill.update(draw(_ranges(kind)))
    if size:
        fill["set"] = draw(st.lists(st.tuples(st.integers(0, size - 1), _bits(kind)).map(list), max_size=3))
    if has_base:
        fill["base"] = draw(st.integers(0, len(kept) - 1))
        fill["changed"] = draw(st.integers(0, 1 << 32) | st.sampled_from([0, 1 << 31, 1 << 32]))
    return fill


@st.composite
def _ranges(draw: st.DrawFn, kind: str) -> Fill:
    smallest, largest = limits(kind)
    scaled = kind in FORMATS and draw(st.booleans())
    if scaled:
        largest = 2 << FORMATS[kind][0]
        smallest = -largest
    wide = draw(st.integers(0, 4)) == 0
    ends = sorted(
        [smallest, largest] if wide else draw(st.lists(st.integers(smallest, largest), min_size=2, max_size=2))
    )
    made: Fill = {"first": ends[0], "last": ends[1] - ends[0]}
    if kind in FORMATS:
        made["scale"] = draw(_scales(kind, max(map(abs, ends)))) if scaled else None
    return made


def _scales(kind: str, size: int) -> st.SearchStrategy[int]:
    fraction, lowest, _ = FORMATS[kind]
    lowest_scale, highest_scale = lowest - fraction, 2 - lowest - max(size.bit_length(), 1)
    near = st.integers(lowest_scale, lowest + 2)  # some are denormal, or all
    return st.integers(lowest_scale, highest_scale) | near | st.sampled_from([lowest_scale, highest_scale])


def drawn(count: int, kept: Mapping[str, Sequence[Array]], sizes: tuple[int, ...] = ()) -> list[list[Fill]]:
    """Return sets of fills, each with one fill for every element type; the same at every call."""
    found: list[list[Fill]] = []

    @settings(derandomize=True, max_examples=count, database=None, deadline=None)
    @given(st.tuples(*(fills(kind, kept[kind], sizes) for kind in ITEM_SIZES)))
    def collect(each: tuple[Fill, ...]) -> None:
        found.append(list(each))

    collect()
    return found


def to_keep(count: int, shape: tuple[int, ...]) -> dict[str, list[Array]]:
    """Of each element type so many arrays of any bits."""
    random = np.random.default_rng(1)
    size = math.prod(shape)
    return {
        kind: [
            (random.integers(0, 2, size) if kind == "bool" else np.frombuffer(random.bytes(size * width), kind))
            .astype(kind)
            .reshape(shape)
            for _ in range(count)
        ]
        for kind, width in ITEM_SIZES.items()
    }


GOOD: Fill = {
    "dtype": "float32",
    "shape": [2, 3],
    "first": 0,
    "last": 9,
    "scale": 0,
    "order": "random",
    "key": 1,
    "set": [],
}
VALUES: Fill = {"dtype": "int8", "shape": [4], "values": [1, 2], "order": "ascending", "set": []}
ONE: Fill = {**VALUES, "values": [1]}
CHANGED: Fill = {**GOOD, "base": 0, "changed": 1}


def without(fill: Fill, name: str) -> Fill:
    """Return a copy with one key changed."""
    return {key: value for key, value in fill.items() if key != name}


# What is no fill, and what must be said of it. Of arrays one float32[2, 3] is kept.
BAD: dict[str, tuple[Any, str]] = {
    **{f"no-{name}": (without(GOOD, name), f"wanted a fill with '{name}'") for name in GOOD},
    "no-object": ([GOOD], "wanted a fill, an object"),
    "no-key-for-a-base": (without({**CHANGED, "order": "ascending"}, "key"), "wanted a fill with 'key'"),
    "no-changed": (without(CHANGED, "changed"), "wanted a fill with 'changed'"),
    "no-order-of-one-value": (without(ONE, "order"), "wanted a fill with 'order'"),
    "unknown-type": ({**GOOD, "dtype": "complex64"}, "'dtype'"),
    "another-name-of-a-type": ({**GOOD, "dtype": "f4"}, "'dtype'"),
    "type-that-is-no-text": ({**GOOD, "dtype": 4}, "'dtype'"),
    "unknown-order": ({**GOOD, "order": "sorted"}, "'order'"),
    "order-that-is-no-text": ({**GOOD, "order": []}, "'order'"),
    "shape-that-is-none": ({**GOOD, "shape": 6}, "'shape', a list"),
    "negative-size": ({**GOOD, "shape": [2, -3]}, "found -3"),
    "fractional-size": ({**GOOD, "shape": [2.0, 3]}, "found 2.0"),
    "size-that-is-a-truth": ({**GOOD, "shape": [True]}, "sizes"),
    "sizes-that-wrap-round": ({**GOOD, "shape": [1 << 32, 1 << 32]}, "sizes"),
    "sizes-that-wrap-round-to-none": ({**GOOD, "shape": [0, 1 << 62, 4]}, "sizes"),
    "more-than-a-frame-holds": ({**GOOD, "shape": [1 << 20, 1 << 15]}, "sizes"),
    "no-values": ({**VALUES, "values": []}, "at least one of a fill's 'values'"),
    "values-that-are-no-list": ({**VALUES, "values": 3}, "'values', a list"),
    "value-too-large": ({**VALUES, "values": [256]}, "a whole number 0 … 255; found 256"),
    "value-negative": ({**VALUES, "values": [-1]}, "found -1"),
    "value-fractional": ({**VALUES, "values": [1.0]}, "found 1.0"),
    "value-that-is-no-truth": ({**VALUES, "dtype": "bool"}, "a whole number 0 … 1; found 2"),
    "first-of-another-type": ({**GOOD, "first": "0"}, "'first'"),
    "first-too-small": ({**GOOD, "dtype": "uint8", "first": -1}, "'first', a whole number 0 … 255"),
    "first-beyond-a-word": ({**GOOD, "dtype": "int64", "first": -1 << 64}, "'first'"),
    "last-negative": ({**GOOD, "last": -1}, "'last'"),
    "last-beyond-the-type": ({**GOOD, "dtype": "int8", "first": 120, "last": 8}, "'last', a whole number 0 … 7"),
    "last-beyond-int64": ({**GOOD, "dtype": "int64", "first": 1, "last": (1 << 63) - 1}, "'last'"),
    "last-beyond-a-word": ({**GOOD, "dtype": "int64", "first": -1 << 63, "last": 1 << 64}, "'last'"),
    "more-than-a-significand": ({**GOOD, "last": (1 << 24) + 1}, "'last', a whole number 0 … 16777216"),
    "counted-beyond-infinity": ({**GOOD, "scale": None, "last": 0x7F800001}, "'last'"),
    "scale-too-small": ({**GOOD, "scale": -150}, "'scale', a whole number -149 … 124"),
    "scale-too-large": ({**GOOD, "scale": 125}, "'scale', a whole number -149 … 124"),
    "scale-fractional": ({**GOOD, "scale": 0.5}, "'scale'"),
    "key-negative": ({**GOOD, "key": -1}, "'key'"),
    "key-beyond-a-word": ({**GOOD, "key": 1 << 64}, "'key'"),
    "set-that-is-no-list": ({**GOOD, "set": {"0": 1}}, "'set', a list"),
    "set-of-no-pair": ({**GOOD, "set": [[0]]}, "[index, bits]"),
    "set-of-a-number": ({**GOOD, "set": [0]}, "[index, bits]"),
    "set-outside": ({**GOOD, "set": [[6, 0]]}, "an index of a fill's 'set', a whole number 0 … 5"),
    "set-before": ({**GOOD, "set": [[-1, 0]]}, "an index"),
    "set-of-none": ({**GOOD, "shape": [0], "set": [[0, 0]]}, "wanted an empty 'set'"),
    "bits-too-large": ({**GOOD, "set": [[0, 1 << 32]]}, "bits of a fill's 'set'"),
    "base-that-is-not-kept": ({**CHANGED, "base": 1}, "'base'"),
    "base-negative": ({**CHANGED, "base": -1}, "'base'"),
    "base-that-is-null": ({**CHANGED, "base": None}, "'base'"),
    "base-of-another-size": ({**CHANGED, "shape": [2, 4]}, "wanted a kept float32 array of 8 elements"),
    "base-of-another-type": ({**CHANGED, "dtype": "int32"}, "wanted a kept int32 array of 6 elements"),
    "changed-too-large": ({**CHANGED, "changed": (1 << 32) + 1}, "'changed'"),
}
KEPT = np.arange(6, dtype=np.float32).reshape(2, 3)
