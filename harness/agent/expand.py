"""Arrays that host and device generate identically, bit for bit, from a few numbers: a search sends no tensors.

A fill is the recipe of one array. As JSON, all numbers in it integers:

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
   from 0 upwards and downwards, to the infinities: 1 is the smallest denormal one, −1 its negative. All sums between
   F and F + L must be the type's.
3. "base", which may be missing, names a set of inputs that was kept before (see Operations.op_keep): of its array only
   those elements are replaced whose word of 32 bits is below C, of the same generator with the key (K, 1).
4. Last, the elements of "set" are set, each by its place in C order.

Only whole numbers are reckoned with, and powers of two multiplied by: what a processor does with denormal numbers, or
whether it fuses a multiplication with an addition, makes no difference. harness/runners/src/expand.cpp does the same.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .frames import ITEM_SIZES
from .wire import MAX_PAYLOAD

Array = np.ndarray[Any, np.dtype[Any]]

ORDERS = ("random", "ascending", "descending")
UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
# The bits of a fraction, and the exponent of the smallest normal number: np.finfo reckons with denormal ones.
FORMATS = {"float16": (10, -14), "float32": (23, -126), "float64": (52, -1022)}
HALF = 1 << 32
LARGEST_WORD = (1 << 64) - 1
# How many random elements are made at a time; an even number. The intermediate arrays take several times the elements'
# memory, which would count in the peak of a process that is measured; and a small chunk stays in the CPU's cache.
CHUNK = 1 << 14
# The exponent that moves a power of two away from numbers that a processor may flush to zero.
AWAY = 64


def expand(fill: Mapping[str, Any], kept: Sequence[Array] = ()) -> Array:
    """Make the array that a fill describes.

    Args:
        fill: the recipe; see the module.
        kept: the arrays of this input that "base" chooses from.

    Returns:
        An array of the fill's dtype and shape.

    Raises:
        ValueError: the fill is not valid, or does not fit what was kept.
    """
    if not isinstance(fill, Mapping):
        raise ValueError(f"wanted a fill, an object; found {reprlib.repr(fill)}")  # noqa: TRY004  # as for all others
    dtype, shape, size = _read_header(fill)
    array = _fill(fill, dtype, size)
    if "base" in fill:
        array = _mix_base(array, fill, kept)
    _set(array, _list(_member(fill, "set"), "a fill's 'set', a list of [index, bits]"))
    return array.reshape(shape)


def _member(fill: Mapping[str, Any], name: str) -> Any:
    if name not in fill:
        raise ValueError(f"wanted a fill with {name!r}; found none")
    return fill[name]


def _list(found: Any, wanted: str) -> Sequence[Any]:
    if not isinstance(found, (list, tuple)):
        raise ValueError(f"wanted {wanted}; found {reprlib.repr(found)}")  # noqa: TRY004  # as for all others
    return found


def _whole(number: Any, smallest: int, largest: int, what: str) -> int:
    if type(number) is not int or not smallest <= number <= largest:
        raise ValueError(f"wanted {what}, a whole number {smallest} … {largest}; found {reprlib.repr(number)}")
    return number


def _read_header(fill: Mapping[str, Any]) -> tuple[np.dtype[Any], list[int], int]:
    """Return element type, shape and number of elements; a frame must hold them, even where a size of 0 leaves none."""
    name = _member(fill, "dtype")
    if not isinstance(name, str) or name not in ITEM_SIZES:
        raise ValueError(f"wanted a fill's 'dtype', {', '.join(ITEM_SIZES)}; found {reprlib.repr(name)}")
    shape = []
    size, room = 1, MAX_PAYLOAD // ITEM_SIZES[name]
    for found in _list(_member(fill, "shape"), "a fill's 'shape', a list of sizes"):
        shape.append(_whole(found, 0, room, "one of a fill's sizes, all of them together no more"))
        room //= max(found, 1)
        size *= found
    return np.dtype(name), shape, size


def _largest_bits(dtype: np.dtype[Any]) -> int:
    return 1 if dtype.kind == "b" else LARGEST_WORD >> (64 - 8 * dtype.itemsize)


def _fill(fill: Mapping[str, Any], dtype: np.dtype[Any], size: int) -> Array:
    if "values" in fill:
        values = _values(fill["values"], dtype)
        numbers = _numbers(fill, len(values) - 1, size)
        if numbers is None:
            return np.full(size, values[0], dtype)
        # mode="clip" skips the check of every index; all are in range by construction.
        return _join(numbers, size, dtype, lambda part: values.take(part.view(np.int64), mode="clip"))
    first, last, exponent = _range(fill, dtype)
    numbers = _numbers(fill, last, size)
    if numbers is None:
        numbers = iter([np.zeros(size, np.uint64)])

    def elements(part: Array) -> Array:
        part += np.uint64(first % (1 << 64))
        found = part.view(np.int64)
        if dtype.kind != "f":
            return found.astype(dtype)
        return _nth_floats(found, dtype) if exponent is None else _scale(found, dtype, exponent)

    return _join(numbers, size, dtype, elements)


def _join(parts: Iterator[Array], size: int, dtype: np.dtype[Any], elements: Callable[[Array], Array]) -> Array:
    """Turn the parts of the numbers into elements, and join them."""
    first = elements(next(parts))
    if len(first) == size:
        return first
    made = np.empty(size, dtype)
    made[: len(first)] = first
    start = len(first)
    for part in parts:
        made[start : start + len(part)] = elements(part)
        start += len(part)
    return made


def _values(found: Any, dtype: np.dtype[Any]) -> Array:
    largest = _largest_bits(dtype)
    values = [
        _whole(bits, 0, largest, "one of a fill's 'values'") for bits in _list(found, "a fill's 'values', a list")
    ]
    if not values:
        raise ValueError("wanted at least one of a fill's 'values'; found none")
    return np.array(values, UNSIGNED[dtype.itemsize]).view(dtype)


def _range(fill: Mapping[str, Any], dtype: np.dtype[Any]) -> tuple[int, int, int | None]:
    """Return F, L and E, such that every number F … F + L is one of the type's."""
    smallest, largest = 0, _largest_bits(dtype)
    exponent = None
    if dtype.kind == "f":
        fraction, lowest = FORMATS[dtype.name]
        exponent = _member(fill, "scale")
        largest = (3 - 2 * lowest) << fraction if exponent is None else 2 << fraction
        smallest = -largest
    elif dtype.kind == "i":
        largest >>= 1
        smallest = -largest - 1
    first = _whole(_member(fill, "first"), smallest, largest, "a fill's 'first'")
    last = _whole(_member(fill, "last"), 0, largest - first, "a fill's 'last'")
    if exponent is not None:
        length = max(first.bit_length(), (first + last).bit_length(), 1)
        _whole(exponent, lowest - fraction, 2 - lowest - length, "a fill's 'scale'")
    return first, last, exponent


def _numbers(fill: Mapping[str, Any], last: int, size: int) -> Iterator[Array] | None:
    """Return each element's number, 0 … last, as parts of a uint64[size]; None where all are 0."""
    order = _member(fill, "order")
    if not isinstance(order, str) or order not in ORDERS:
        raise ValueError(f"wanted a fill's 'order', {', '.join(ORDERS)}; found {reprlib.repr(order)}")
    key = _key(fill) if order == "random" else 0
    if last == 0:
        return None
    if order == "random":
        return _random(key, last, size)
    step, rest = divmod(last, max(size - 1, 1))
    rising = np.arange(size, dtype=np.uint64)
    over = np.minimum(rising, np.uint64(rest))
    rising *= np.uint64(step)
    rising += over
    return iter([rising if order == "ascending" else np.subtract(np.uint64(last), rising, out=rising)])


def _random(key: int, last: int, size: int) -> Iterator[Array]:
    generator = _generator(key, 0)
    for start in range(0, max(size, 1), CHUNK):
        count = min(CHUNK, size - start)
        if last < HALF:
            numbers = np.multiply(_half_words(generator, count), np.uint64(last + 1), dtype=np.uint64)
            numbers >>= np.uint64(32)
            yield numbers
        else:
            yield _high_product(generator.random_raw(count), last)


def _key(fill: Mapping[str, Any]) -> int:
    return _whole(_member(fill, "key"), 0, LARGEST_WORD, "a fill's 'key'")


def _generator(key: int, stream: int) -> np.random.Philox:
    # numpy increments the counter before each block, the first included. Only the raw words are used: numpy promises
    # their stability, and not that of its distributions.
    return np.random.Philox(key=key + (stream << 64))


def _half_words(generator: np.random.Philox, count: int) -> Array:
    return generator.random_raw((count + 1) // 2).astype("<u8", copy=False).view("<u4")[:count]


def _high_product(words: Array, last: int) -> Array:
    """Return (last + 1)·word ÷ 2⁶⁴, rounded down, of each word; last ≥ 2³²."""
    if last + 1 == 1 << 64:
        return words
    half, mask = np.uint64(32), np.uint64(HALF - 1)
    high, low = np.uint64((last + 1) >> 32), np.uint64((last + 1) & (HALF - 1))
    upper, lower = words >> half, words & mask
    middle = upper * low + (lower * low >> half)
    other = lower * high + (middle & mask)
    product: Array = upper * high + (middle >> half) + (other >> half)
    return product


def _scale(numbers: Array, dtype: np.dtype[Any], exponent: int) -> Array:
    """Return number·2^exponent, exactly, of each number."""
    fraction, lowest = FORMATS[dtype.name]
    if exponent >= lowest:
        scaled: Array = numbers.astype(dtype)
        scaled *= dtype.type(2.0**exponent)
        return scaled
    # Some results may be denormal: a processor that flushes those would multiply to zero, and would take 2^exponent
    # itself for zero. The bits of a denormal result are its multiple of the smallest number.
    away = numbers.astype(np.float64 if dtype.itemsize < 8 else dtype) * 2.0 ** (exponent + AWAY)
    normal = (away * 2.0**-AWAY).astype(dtype)
    sizes = np.abs(numbers).view(np.uint64)
    tiny = sizes < np.uint64(1 << (lowest - exponent))
    bits = np.where(numbers < 0, _sign(dtype), np.uint64(0)) | sizes << np.uint64(exponent - lowest + fraction)
    return np.where(tiny, bits, normal.view(UNSIGNED[dtype.itemsize])).astype(UNSIGNED[dtype.itemsize]).view(dtype)


def _nth_floats(numbers: Array, dtype: np.dtype[Any]) -> Array:
    """Return for each number n the n-th float from 0, upwards, or downwards for a negative one."""
    narrow = numbers.astype(f"i{dtype.itemsize}")
    bits = narrow.view(UNSIGNED[dtype.itemsize]) & _sign(dtype).astype(UNSIGNED[dtype.itemsize])
    bits |= np.abs(narrow, out=narrow).view(bits.dtype)
    found: Array = bits.view(dtype)
    return found


def _sign(dtype: np.dtype[Any]) -> np.uint64:
    return np.uint64(1 << (8 * dtype.itemsize - 1))


def _mix_base(array: Array, fill: Mapping[str, Any], kept: Sequence[Array]) -> Array:
    if not kept:
        raise ValueError(f"wanted a fill without a 'base', for nothing was kept; found {reprlib.repr(fill['base'])}")
    base = kept[_whole(fill["base"], 0, len(kept) - 1, "a fill's 'base'")]
    if base.dtype != array.dtype or base.size != array.size:
        raise ValueError(f"wanted a kept {array.dtype} array of {array.size} elements; found {base.dtype}[{base.size}]")
    chosen = _half_words(_generator(_key(fill), 1), array.size) < _whole(
        _member(fill, "changed"), 0, HALF, "a fill's 'changed'"
    )
    mixed: Array = np.where(chosen, array, base.reshape(-1))
    return mixed


def _set(array: Array, pairs: Sequence[Any]) -> None:
    if not pairs:
        return
    if not array.size:
        raise ValueError("wanted an empty 'set', for a fill has no elements; found some")
    bits, largest = array.view(UNSIGNED[array.dtype.itemsize]), _largest_bits(array.dtype)
    for pair in pairs:
        if len(_list(pair, "one of a fill's 'set', [index, bits]")) != 2:
            raise ValueError(f"wanted one of a fill's 'set', [index, bits]; found {reprlib.repr(pair)}")
        index = _whole(pair[0], 0, array.size - 1, "an index of a fill's 'set'")
        bits[index] = _whole(pair[1], 0, largest, "bits of a fill's 'set'")
