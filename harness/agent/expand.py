"""Arrays that host and device make alike, bit for bit, from a few numbers: for a search no tensor has to travel.

A fill says how one array is made. As JSON, all numbers in it integers:

    {"dtype": "float32", "shape": [1, 3, 224, 224],
     "values": [BITS, …]  or  "first": F, "last": L, "scale": E or null,
     "order": "random" | "ascending" | "descending", "key": K,
     "set": [[INDEX, BITS], …], "base": B, "changed": C}

BITS is an element's bit pattern as an unsigned number: so NaN, −0 and every last bit survive JSON.

1. Each of the n elements, in C order, gets a whole number. "random" ones come of the words of Philox4x64-10 (Salmon et
   al., Parallel random numbers: as easy as 1, 2, 3, SC 2011) with the key (K, 0): its block b, counted from 0, is that
   of the counter (b + 1, 0, 0, 0). Where L < 2³², a word w is half of one of these, the lower half first, and the
   number is (L + 1)·w ÷ 2³², rounded down; else it is all of one, and (L + 1)·w ÷ 2⁶⁴. "ascending" ones are
   i·q + min(i, r) with q, r = L ÷ max(n − 1, 1) and its remainder: 0 … L, as evenly as whole numbers can be;
   "descending" ones are L less that.
2. It becomes an element. With "values" it is an index into them (L is their count − 1). Else F is added, and the sum x
   is the element itself, for integers and booleans; for floats x·2ᴱ, where |x| is at most 2 to the number of bits of
   the type's significand (11, 24, 53), so that nothing is rounded; or, where E is null, x counts the type's numbers
   from 0 upwards and downwards: 1 is the smallest denormal one, −1 its negative.
3. "base", which may be missing, names a set of inputs that was kept before (see Operations.op_keep): of its array only
   those elements are replaced whose word of 32 bits is below C, of the same generator with the key (K, 1).
4. Last, the elements of "set" are set.

Only whole numbers are reckoned with, and powers of two multiplied by: what a processor does with denormal numbers, or
whether it fuses a multiplication with an addition, makes no difference. harness/runners/src/expand.cpp does the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

ORDERS = ("random", "ascending", "descending")
UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
HALF = 1 << 32
# So far a power of two is moved from a number that a processor may take for zero.
AWAY = 64


def expand(fill: Mapping[str, Any], kept: Sequence[Array] = ()) -> Array:
    """The array of one fill.

    Args:
        kept: what "base" chooses from: this input's arrays.

    Raises:
        ValueError, TypeError, KeyError, IndexError: it is no fill.
    """
    dtype = np.dtype(fill["dtype"])
    shape = tuple(fill["shape"])
    size = int(np.prod(shape, dtype=np.int64))
    array = _filled(fill, dtype, size)
    if "base" in fill:
        array = _changed(array, fill, kept[fill["base"]])
    for index, bits in fill["set"]:
        array.view(UNSIGNED[dtype.itemsize])[index] = bits
    return array.reshape(shape)


def _filled(fill: Mapping[str, Any], dtype: np.dtype[Any], size: int) -> Array:
    if "values" in fill:
        values = np.array(fill["values"], UNSIGNED[dtype.itemsize]).view(dtype)
        if len(values) == 1:
            return np.full(size, values[0], dtype)
        return values[_numbers(fill, len(values) - 1, size).astype(np.intp)]
    numbers = _numbers(fill, fill["last"], size)
    numbers += np.uint64(fill["first"] % (1 << 64))
    found = numbers.view(np.int64)
    if dtype.kind != "f":
        return found.astype(dtype)
    return _counted(found, dtype) if fill["scale"] is None else _scaled(found, dtype, fill["scale"])


def _numbers(fill: Mapping[str, Any], last: int, size: int) -> Array:
    """For each element its number among 0 … last: uint64[size]."""
    order = fill["order"]
    if order not in ORDERS:
        raise ValueError(f"wanted an order, {', '.join(ORDERS)}; found {order!r}")
    if order == "random":
        key = fill["key"]
        if last < HALF:
            numbers = np.multiply(_half_words(key, 0, size), np.uint64(last + 1), dtype=np.uint64)
            numbers >>= np.uint64(32)
            return numbers
        return _high_product(_words(key, 0, size), last)
    step, rest = divmod(last, max(size - 1, 1))
    places = np.arange(size, dtype=np.uint64)
    rising: Array = places * np.uint64(step) + np.minimum(places, np.uint64(rest))
    return rising if order == "ascending" else np.uint64(last) - rising


def _words(key: int, stream: int, count: int) -> Array:
    # numpy counts one on before each block, its first as well. Of its generators only the raw words are used: those
    # are promised to stay as they are.
    return np.random.Philox(key=key + (stream << 64)).random_raw(count)


def _half_words(key: int, stream: int, count: int) -> Array:
    return _words(key, stream, (count + 1) // 2).astype("<u8", copy=False).view("<u4")[:count]


def _high_product(words: Array, last: int) -> Array:
    """(last + 1)·word ÷ 2⁶⁴, rounded down; last ≥ 2³²."""
    if last + 1 == 1 << 64:
        return words
    half, mask = np.uint64(32), np.uint64(HALF - 1)
    high, low = np.uint64((last + 1) >> 32), np.uint64((last + 1) & (HALF - 1))
    upper, lower = words >> half, words & mask
    middle = upper * low + (lower * low >> half)
    other = lower * high + (middle & mask)
    product: Array = upper * high + (middle >> half) + (other >> half)
    return product


def _scaled(numbers: Array, dtype: np.dtype[Any], exponent: int) -> Array:
    """number·2^exponent, exactly."""
    info = np.finfo(dtype)
    if exponent >= info.minexp:
        scaled: Array = numbers.astype(dtype)
        scaled *= dtype.type(2.0**exponent)
        return scaled
    # Some may be denormal: a processor that is told to flush those would multiply to zero, and takes 2^exponent itself
    # for zero. Their bits are the multiple of the smallest number.
    away = numbers.astype(np.float64 if dtype.itemsize < 8 else dtype) * 2.0 ** (exponent + AWAY)
    normal = (away * 2.0**-AWAY).astype(dtype)
    sizes = np.abs(numbers).view(np.uint64)
    tiny = sizes < np.uint64(1 << (info.minexp - exponent))
    bits = np.where(numbers < 0, _sign(dtype), np.uint64(0)) | sizes << np.uint64(exponent - info.minexp + info.nmant)
    return np.where(tiny, bits, normal.view(UNSIGNED[dtype.itemsize])).astype(UNSIGNED[dtype.itemsize]).view(dtype)


def _counted(numbers: Array, dtype: np.dtype[Any]) -> Array:
    """The floats of which so many lie between them and 0."""
    bits = np.where(numbers < 0, _sign(dtype), np.uint64(0)) | np.abs(numbers).view(np.uint64)
    return bits.astype(UNSIGNED[dtype.itemsize]).view(dtype)


def _sign(dtype: np.dtype[Any]) -> np.uint64:
    return np.uint64(1 << (8 * dtype.itemsize - 1))


def _changed(array: Array, fill: Mapping[str, Any], base: Array) -> Array:
    if base.dtype != array.dtype or base.size != array.size:
        raise ValueError(f"wanted a kept {array.dtype} array of {array.size} elements; found {base.dtype}[{base.size}]")
    chosen = _half_words(fill["key"], 1, array.size) < fill["changed"]
    mixed: Array = np.where(chosen, array, base.reshape(-1))
    return mixed
