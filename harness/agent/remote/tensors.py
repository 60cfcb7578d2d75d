"""Element types of the Open Inference Protocol, and the bytes of tensors: little-endian, in C order, without gaps."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..frames import Array
from ..wire import Buffer

# The protocol's name of each of numpy's types that the agent knows; all others (BYTES, BF16, …) are refused.
NAMES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}
DTYPES: dict[str, np.dtype[Any]] = {name: np.dtype(numpy).newbyteorder("<") for numpy, name in NAMES.items()}
# Below this size a copy costs less than a view.
COPY_BELOW = 1 << 14


class Spec(NamedTuple):
    """A tensor as it is agreed: its name, the protocol's name of its type, and its sizes, -1 where any will do.

    A shape of None: any.
    """

    name: str
    datatype: str
    shape: tuple[int, ...] | None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Its type as numpy's."""
        return DTYPES[self.datatype]

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of these sizes is one."""
        if self.shape is None:
            return True
        return len(shape) == len(self.shape) and all(size in (-1, found) for size, found in zip(self.shape, shape))

    def __str__(self) -> str:
        sizes = "…" if self.shape is None else ", ".join("any" if size == -1 else str(size) for size in self.shape)
        return f"{self.name} {self.datatype}[{sizes}]"


def size_of(shape: tuple[int, ...], datatype: str) -> int:
    """Return how many bytes a tensor has."""
    return math.prod(shape) * DTYPES[datatype].itemsize


def raw(array: Array, dtype: np.dtype[Any]) -> Buffer:
    """Return a tensor's bytes; of a large one a view, where it lies in memory as it is sent."""
    if array.dtype != dtype:
        array = array.astype(dtype)
    if array.nbytes <= COPY_BELOW:
        return array.tobytes()
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def from_raw(buffer: Buffer, offset: int, shape: tuple[int, ...], datatype: str) -> Array:
    """Return the tensor whose bytes begin there, in the same memory."""
    flat: Array = np.frombuffer(buffer, DTYPES[datatype], math.prod(shape), offset)
    return flat.reshape(shape)
