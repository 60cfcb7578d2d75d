"""The protocol's datatypes, and tensors in its two forms: JSON's numbers, and raw little-endian elements in C order."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..agent.frames import Array
from ..agent.remote.tensors import NAMES as DATATYPES
from .refused import Refused, quoted

# What JSON's elements of a kind of dtype may be. True is an int to Python, but no number to JSON.
ELEMENTS: dict[str, set[type]] = {"b": {bool}, "u": {int}, "i": {int}, "f": {int, float}}


def from_bytes(content: memoryview, dtype: str, shape: Sequence[int], where: str) -> Array:
    """Read a tensor's raw elements; they stay in the memory that they came in.

    Raises:
        Refused: there are more or fewer bytes than the shape has, or a BOOL is neither 0 nor 1.
    """
    wanted = math.prod(shape) * np.dtype(dtype).itemsize
    if len(content) != wanted:
        raise Refused(400, f"{where} has {len(content)} bytes; its shape {list(shape)} takes {wanted}")
    kind = np.dtype(dtype).newbyteorder("<")
    if kind.kind == "b" and np.any(np.frombuffer(content, np.uint8) > 1):
        raise Refused(400, f"{where} has a byte that is no BOOL: 0 or 1")
    return np.frombuffer(content, kind).reshape(shape).astype(dtype, copy=False)


def from_json(data: Any, dtype: str, shape: Sequence[int], where: str) -> Array:
    """Read a tensor's elements from JSON: one flat list, or lists nested as its shape is.

    Raises:
        Refused: they are not as many, not nested so, or not of the datatype.
    """
    elements = _flat(data, shape, where)
    kind = np.dtype(dtype).kind
    if not set(map(type, elements)) <= ELEMENTS[kind]:
        wanted = {"b": "true and false", "f": "numbers"}.get(kind, "whole numbers")
        raise Refused(400, f"{where} has an element of another type; wanted {wanted}")
    try:
        with np.errstate(over="ignore"):  # told below
            array = np.array(elements, dtype).reshape(shape)
    except (OverflowError, ValueError):
        raise Refused(400, f"{where} has an element that {DATATYPES[dtype]} cannot hold") from None
    if kind == "f" and not np.all(np.isfinite(array)):
        raise Refused(400, f"{where} has an element that {DATATYPES[dtype]} cannot hold")
    return array


def _flat(data: Any, shape: Sequence[int], where: str) -> list[Any]:
    """Take the elements out of their nesting, level by level, none deeper than the shape."""
    if not isinstance(data, list):
        raise Refused(400, f"{where}'s data must be a list; found {quoted(data)}")
    count = math.prod(shape)
    if not any(isinstance(each, list) for each in data[:1]):
        if len(data) != count:
            raise Refused(400, f"{where} has {len(data)} elements; its shape {list(shape)} has {count}")
        return data
    level = [data]
    for size in shape:
        if not all(type(each) is list and len(each) == size for each in level):
            raise Refused(400, f"{where}'s lists are not nested as its shape {list(shape)}")
        level = list(itertools.chain.from_iterable(level))
    return level


def to_bytes(array: Array) -> bytes:
    """Write a tensor's raw elements."""
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def datatype(array: Array) -> str:
    """Name an array's type as the protocol does."""
    return DATATYPES[array.dtype.newbyteorder("=").name]
