"""Frames with tensors: the wire format of ``wire``, with the tensors' elements as its payload.

The header's key "tensors" lists [dtype, [size, …]] for each tensor. The payload holds their elements in C order, each
tensor starting at a multiple of 64 bytes from the payload's start, the gaps filled with zeros.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .wire import MAX_PAYLOAD, OF_HOST, Buffer, FrameError, Limits, pack_head, read_head

ALIGNMENT = 64
# A frame below this size is joined in one buffer: a copy costs less than a system call for each tensor.
JOIN_BELOW = 1 << 20
COPY_BELOW = 1 << 14
# numpy's limit (NPY_MAXDIMS).
MOST_DIMENSIONS = 64

ITEM_SIZES = {
    "bool": 1,
    "uint8": 1,
    "int8": 1,
    "int16": 2,
    "int32": 4,
    "int64": 8,
    "float16": 2,
    "float32": 4,
    "float64": 8,
}

_LITTLE: dict[str, np.dtype[Any]] = {name: np.dtype(name).newbyteorder("<") for name in ITEM_SIZES}
# Of both byte orders, keyed by dtype: computing a dtype's name costs more than sending a small tensor.
_NAMES: dict[np.dtype[Any], tuple[str, Any]] = {
    either: (name, dtype) for name, dtype in _LITTLE.items() for either in (dtype, dtype.newbyteorder(">"))
}

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Frame:
    """A header, its tensors, and the bytes that were skipped before it."""

    header: dict[str, Any]
    tensors: list[Array] = field(default_factory=list)
    skipped: bytes = b""


def encode(header: dict[str, Any], tensors: Sequence[Array] = ()) -> list[Buffer]:
    """Encode a frame as buffers that are to be written one after another.

    Args:
        header: JSON's own types; "tensors" is added.
        tensors: their elements are the payload.

    Raises:
        FrameError: a tensor's element type is not one of ITEM_SIZES.
    """
    shapes = []
    parts: list[Buffer] = []
    size = 0
    for tensor in tensors:
        name, little = _NAMES.get(tensor.dtype, ("", None))
        if little is None:
            raise FrameError(f"wanted a tensor of {', '.join(ITEM_SIZES)}; found {tensor.dtype.name}")
        gap = -size % ALIGNMENT
        if gap:
            parts.append(bytes(gap))
        parts.append(_bytes(tensor, little))
        shapes.append([name, tensor.shape])
        size += gap + tensor.nbytes
    head = pack_head({**header, "tensors": shapes}, size)
    if size < JOIN_BELOW:
        return [b"".join([head, *parts])]
    return [head, *parts]


def _bytes(tensor: Array, little: np.dtype[Any]) -> Buffer:
    """Return the elements in C order, little-endian; a small tensor is copied, which costs less than a view."""
    if tensor.dtype != little:
        tensor = tensor.astype(little)
    if tensor.nbytes <= COPY_BELOW:
        return tensor.tobytes()
    return np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data


def read_frame(read: Callable[[int], Buffer], *, skip: int = 0, limits: Limits = OF_HOST) -> Frame:
    """Read one frame, tensors and all; arguments and errors are those of wire.read_head."""
    head = read_head(read, skip=skip, limits=limits)
    shapes = head.header.pop("tensors", None)
    if isinstance(shapes, list) and len(shapes) > limits.tensors:  # before a byte of them is read
        raise FrameError(f"wanted at most {limits.tensors} tensors; found {len(shapes)}")
    return Frame(head.header, _tensors(shapes, read(head.payload_size), head.payload_size), head.skipped)


def _tensors(shapes: Any, payload: Buffer, size: int) -> list[Array]:
    tensors = []
    offset = 0
    try:
        for dtype, shape in shapes:
            if dtype not in _LITTLE or not _is_shape(shape):
                raise FrameError(f"no tensor of ours: {str(dtype)[:40]!r} {str(shape)[:80]}")
            offset += -offset % ALIGNMENT
            count = math.prod(shape)
            flat: Array = np.frombuffer(payload, _LITTLE[dtype], count, offset)
            tensors.append(flat.reshape(shape))
            offset += flat.nbytes
    except (TypeError, ValueError, OverflowError) as error:
        raise FrameError(f"the header's tensors do not fit its payload of {size} bytes: {error}") from error
    if offset != size:
        raise FrameError(f"the header's tensors take {offset} bytes; the payload has {size}")
    return tensors


def _is_shape(shape: Any) -> bool:
    if not isinstance(shape, list) or len(shape) > MOST_DIMENSIONS:
        return False
    # The sizes are bounded, too: multiplying numbers of thousands of digits takes minutes.
    for size in shape:  # noqa: SIM110  # a generator for each of a thousand tensors costs more than their bytes
        if type(size) is not int or not 0 <= size <= MAX_PAYLOAD:
            return False
    return True
