"""One array each way, as numpy saves one: for endpoints that know no names. application/x-npy, formats 1.0 to 3.0.

Nothing is unpickled: an array of objects is refused by its type. The head is bounded before it is read.
"""

from __future__ import annotations

import ast
import struct
from collections.abc import Sequence

import numpy as np

from ..frames import Array
from ..wire import Buffer
from .answer import PAGE, Answer, broken, is_page, shown
from .tensors import DTYPES, Spec, raw, size_of

CONTENT_TYPE = "application/x-npy"
MAGIC = b"\x93NUMPY"
# The head of any array of ours has some 100 bytes.
MOST_HEAD = 4096
MOST_DIMENSIONS = 64
ALIGNMENT = 64
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def npy_parts(spec: Spec, array: Array) -> list[Buffer]:
    """Return a file's head, and the bytes of its array."""
    head = f"{{'descr': {spec.dtype.str!r}, 'fortran_order': False, 'shape': {array.shape!r}, }}"
    size = len(MAGIC) + 4 + len(head) + 1
    head += " " * (-size % ALIGNMENT) + "\n"
    return [MAGIC + b"\1\0" + struct.pack("<H", len(head)) + head.encode("ascii"), raw(array, spec.dtype)]


class NpyReader:
    """Reads answers that are one array; in place of protocol.AnswerReader, for the one output."""

    def __init__(self, names: Sequence[str]) -> None:
        """Say the output's name, which no answer has."""
        self.names = list(names)
        self.expected: dict[str, Spec] = {}

    def read(self, answer: Answer, said: str | None) -> list[Array]:
        """Return the output, in the memory of the answer.

        Raises:
            CallFailed: it is no such array.
        """
        body = answer.body
        if is_page(answer.headers, body):
            raise broken(f"the answer is {PAGE}")
        begin, descr, fortran, shape = _read_head(body)
        dtype = _dtype_of(descr)
        little = dtype.newbyteorder("<")
        spec = Spec(self.names[0], _NAMES[little], shape)
        wanted = self.expected.get(spec.name)
        if wanted is not None and (spec.datatype != wanted.datatype or not wanted.fits(shape)):
            raise broken(f"the answer has the array {spec}; wanted {wanted}")
        size = size_of(shape, spec.datatype)
        if begin + size != len(body):
            raise broken(f"the answer has {len(body) - begin} bytes of an array; its head says {size}")
        flat: Array = np.frombuffer(body, dtype, offset=begin) if size else np.empty(0, dtype)
        try:
            array = flat.reshape(shape, order="F" if fortran else "C")
        except ValueError as error:  # numpy has bounds of its own: beside a size of 0, too, for all the others
            raise broken(f"the answer is no array: {shown(error)}") from None
        return [array if dtype == little else array.astype(little)]

    def learn(self, arrays: Sequence[Array]) -> None:
        """Expect what came in the last answer: its type, and its number of sizes."""
        for name, array in zip(self.names, arrays):
            self.expected.setdefault(name, Spec(name, _NAMES[array.dtype], (-1,) * array.ndim))


def _read_head(body: memoryview) -> tuple[int, object, bool, tuple[int, ...]]:
    """Return where the array begins, its type as it is written, whether by columns, and its sizes."""
    if bytes(body[:6]) != MAGIC or len(body) < 12 or body[6] not in (1, 2, 3):
        raise broken(f"the answer is no array as numpy saves one: {shown(bytes(body[:200]))}")
    width = 2 if body[6] == 1 else 4
    size, begin = int.from_bytes(body[8 : 8 + width], "little"), 8 + width
    if size > min(MOST_HEAD, len(body) - begin):
        raise broken(f"the answer is an array with a head of {size} bytes, of {len(body)} in all")
    text = bytes(body[begin : begin + size])
    try:
        head = ast.literal_eval(text.decode("utf-8").strip())
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):  # whatever ast says of a text
        head = None
    if not isinstance(head, dict) or head.keys() != {"descr", "fortran_order", "shape"}:
        raise broken(f"the answer is an array whose head is none: {shown(text)}")
    shape, fortran = head["shape"], head["fortran_order"]
    sizes = isinstance(shape, tuple) and len(shape) <= MOST_DIMENSIONS
    if not sizes or not all(type(one) is int and 0 <= one < 1 << 40 for one in shape) or type(fortran) is not bool:
        raise broken(f"the answer is an array whose head is none: {shown(text)}")
    return begin + size, head["descr"], fortran, shape


def _dtype_of(descr: object) -> np.dtype[np.generic]:
    try:
        dtype = np.dtype(descr) if isinstance(descr, str) and len(descr) < 8 else None
    except (TypeError, ValueError):
        dtype = None
    if dtype is None or dtype.newbyteorder("<") not in _NAMES:
        raise broken(f"the answer is an array of {shown(descr)}; wanted one of {', '.join(DTYPES)}")
    return dtype
