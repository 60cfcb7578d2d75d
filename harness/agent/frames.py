"""The wire format between host and agent, version 1.

A frame, all numbers little-endian:

    offset  size
         0     4  magic: byte 0x89, then "HIL"
         4     2  version: 1
         6     2  reserved: 0
         8     4  H, the header's length in bytes
        12     8  P, the payload's length in bytes
        20     H  header: a JSON object in UTF-8; its key "tensors" lists [dtype, [size, …]] for each tensor
      20+H     P  payload: the tensors' elements in C order, each tensor starting at a multiple of 64 bytes from the
                  payload's start, the gaps filled with zeros

Nothing in a frame is code: no pickle, no torch.load.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

MAGIC = b"\x89HIL"  # the first byte is no text: a greeting never looks like a frame
VERSION = 1
PREAMBLE = struct.Struct("<4sHHIQ")
ALIGNMENT = 64
MAX_HEADER = 1 << 26
MAX_PAYLOAD = 1 << 36
# One buffer for a frame below this size: a copy costs less than a system call for each tensor.
JOIN_BELOW = 1 << 20
COPY_BELOW = 1 << 14

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
# Both byte orders by their dtype: looking a name up costs more than sending a small tensor.
_NAMES: dict[np.dtype[Any], tuple[str, Any]] = {
    either: (name, dtype) for name, dtype in _LITTLE.items() for either in (dtype, dtype.newbyteorder(">"))
}

Array = np.ndarray[Any, np.dtype[Any]]
Buffer = Any  # bytes, bytearray or memoryview: what os.write and numpy.frombuffer take


class FrameError(ValueError):
    """The bytes are not a frame."""


@dataclass(frozen=True)
class Frame:
    """A header, its tensors, and the bytes that were skipped before it."""

    header: dict[str, Any]
    tensors: list[Array] = field(default_factory=list)
    skipped: bytes = b""


def encode(header: dict[str, Any], tensors: Sequence[Array] = ()) -> list[Buffer]:
    """A frame as buffers to be written one after another.

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
    text = json.dumps({**header, "tensors": shapes}, separators=(",", ":")).encode()
    head = PREAMBLE.pack(MAGIC, VERSION, 0, len(text), size) + text
    if size < JOIN_BELOW:
        return [b"".join([head, *parts])]
    return [head, *parts]


def _bytes(tensor: Array, little: np.dtype[Any]) -> Buffer:
    """The elements in C order, little-endian; of a small tensor a copy, which costs less than a view."""
    if tensor.dtype != little:
        tensor = tensor.astype(little)
    if tensor.nbytes <= COPY_BELOW:
        return tensor.tobytes()
    return np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data


def read_frame(read: Callable[[int], Buffer], *, skip: int = 0) -> Frame:
    """Read one frame.

    Args:
        read: returns exactly so many bytes, or raises.
        skip: how many bytes of something else may stand before the magic (a chatty login shell, before the first
            frame).

    Raises:
        FrameError: these bytes are not a frame, or not of our version.
    """
    skipped, preamble = _preamble(read, skip)
    _, version, _, header_size, payload_size = PREAMBLE.unpack(preamble)
    if version != VERSION:
        raise FrameError(f"wanted frames of version {VERSION}; found version {version}")
    if header_size > MAX_HEADER or payload_size > MAX_PAYLOAD:
        raise FrameError(f"a frame of {header_size} + {payload_size} bytes is larger than any of ours")
    text = bytes(read(header_size))
    try:
        header = json.loads(text)
        shapes = header.pop("tensors")
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise FrameError(f"wanted a header in JSON with a list of tensors; found {error!r}") from error
    return Frame(header, _tensors(shapes, read(payload_size), payload_size), skipped)


def _preamble(read: Callable[[int], Buffer], skip: int) -> tuple[bytes, bytes]:
    seen = bytearray(read(len(MAGIC)))
    while seen[-len(MAGIC) :] != MAGIC:
        if len(seen) - len(MAGIC) >= skip:
            raise FrameError(f"wanted a frame that starts with {MAGIC!r}; found {bytes(seen[:80])!r}")
        seen += read(1)
    return bytes(seen[: -len(MAGIC)]), MAGIC + bytes(read(PREAMBLE.size - len(MAGIC)))


def _tensors(shapes: Any, payload: Buffer, size: int) -> list[Array]:
    tensors = []
    offset = 0
    try:
        for dtype, shape in shapes:
            if dtype not in _LITTLE or not _is_shape(shape):
                raise FrameError(f"no tensor of ours: {dtype!r} {shape!r}")
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
    if not isinstance(shape, list):
        return False
    for size in shape:  # noqa: SIM110  # a generator for each of a thousand tensors costs more than their bytes
        if type(size) is not int or size < 0:
            return False
    return True
