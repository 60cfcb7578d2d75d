"""One array each way, as numpy saves one: for a model with one input and one output. Nothing is unpickled."""

from __future__ import annotations

import io
import tokenize
from typing import Any

import numpy as np

from ..agent.frames import Array
from .interface import Interface
from .refused import Refused, quoted
from .tensors import from_bytes

CONTENT_TYPE = "application/x-npy"
HEADS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
MOST_HEAD = 4096


def read_npy(body: bytes, interface: Interface) -> dict[str, Array]:
    """Read a request: the model's input.

    Raises:
        Refused: the model has several inputs or outputs, or this is not an array that it takes.
    """
    if len(interface.inputs) != 1 or len(interface.outputs) != 1:
        why = f"{CONTENT_TYPE} is one array each way, and the model has several"
        raise Refused(415, f"{why}: {len(interface.inputs)} inputs, {len(interface.outputs)} outputs")
    (item,), stream = interface.inputs, io.BytesIO(body)
    shape, is_fortran, dtype = _read_head(stream)
    where = f"input {item.name}"
    if dtype.newbyteorder("=") != np.dtype(item.dtype):
        raise Refused(400, f"{where} is {item.dtype}; found {quoted(str(dtype))}")
    sizes = interface.checked_shape(item, list(shape), {})
    content = memoryview(body)[stream.tell() :]
    if dtype.byteorder == ">" or is_fortran:
        raise Refused(400, f"{where} must be little-endian and in C's order")
    return {item.name: from_bytes(content, item.dtype, sizes, where)}


def write_npy(array: Array) -> bytes:
    """Write an answer: the model's output."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.ascontiguousarray(array).reshape(array.shape), (1, 0), allow_pickle=False)
    return stream.getvalue()


def _read_head(stream: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(stream)
        if version not in HEADS:
            raise Refused(400, f"an array in numpy's format {version[0]}.{version[1]}; wanted 1.0 or 2.0")
        head: tuple[tuple[int, ...], bool, np.dtype[Any]] = HEADS[version](stream, max_header_size=MOST_HEAD)
    # What numpy passes on of the parsers that it asks: of a head that is no Python, for instance.
    except (ValueError, TypeError, SyntaxError, tokenize.TokenError, RecursionError, MemoryError) as error:
        raise Refused(400, f"not an array as numpy saves one: {str(error)[:200]}") from None
    return head
