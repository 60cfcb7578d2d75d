"""Messages between a run and a model's process: plain data, framed.

A message is pickled; arrays travel beside the pickle and are not copied into it. Only classes of Python, numpy and
harness may be in one: to read one of the user's, its code would have to be imported, which must stay in the model's
process. A function among a question's arguments stays in the asking process, and is called from the other one; a
function of harness in an answer is pickled like the rest of it.

A frame: the count of parts, then each part's size in bytes, as unsigned 64-bit integers in network order; then the
parts, the pickle first.
"""

from __future__ import annotations

import importlib
import io
import pickle
import struct
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import cloudpickle
import numpy as np

from ...errors import HilgateError
from ..user_code import words

FUNCTIONS = (FunctionType, MethodType, BuiltinFunctionType, partial)
# Packages whose classes may be in a message.
PLAIN = ("builtins", "cloudpickle", "collections", "copyreg", "harness", "numpy", "pathlib")
# The builtins that may be in a message: others are functions that could do anything.
BUILTINS = ("bytearray", "complex", "frozenset", "getattr", "range", "set", "slice")


# Parts of a frame that are smaller than this are joined, in bytes.
PIECE_BYTES = 1 << 16


class Raised(Exception):
    """An error of the user's code or of a library in the model's process; its class has the original's name."""


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    def __init__(self, sink: io.BytesIO, parts: list[memoryview], functions: list[Any] | None) -> None:
        super().__init__(sink, protocol=5, buffer_callback=lambda buffer: parts.append(buffer.raw()))
        self.functions = functions

    def persistent_id(self, obj: Any) -> Any:
        """Replace a function that stays in this process by its number."""
        if self.functions is None or not isinstance(obj, FUNCTIONS) or _makes_arrays(obj):
            return None
        self.functions.append(obj)
        return len(self.functions) - 1

    def reducer_override(self, obj: Any) -> Any:
        """Refuse objects of classes that the other process may not import."""
        kind = obj if isinstance(obj, (type, FunctionType)) else type(obj)
        if str(kind.__module__).partition(".")[0] not in PLAIN:
            name = f"{kind.__module__}.{kind.__qualname__}"
            raise TypeError(f"an object of {name} cannot leave the model's process: numbers, texts and arrays can")
        return super().reducer_override(obj)


class _Unpickler(pickle.Unpickler):
    def __init__(self, source: io.BytesIO, parts: Sequence[memoryview], call: Callable[..., Any] | None) -> None:
        super().__init__(source, buffers=parts)
        self.call = call

    def persistent_load(self, pid: Any) -> Any:
        """Return a stand-in that calls a function of the other process."""
        if self.call is None:
            raise pickle.UnpicklingError("a function cannot leave the model's process")
        return partial(self.call, pid)

    def find_class(self, module: str, name: str) -> Any:
        """Find a class in one of the packages that may be in a message."""
        top = module.partition(".")[0]
        if top not in PLAIN or (top == "builtins" and name not in BUILTINS):
            raise pickle.UnpicklingError(f"{module}.{name} is no plain data")
        return super().find_class(module, name)


def _makes_arrays(function: Any) -> bool:
    """Tell whether a function is one by which pickle restores arrays, and so belongs to the data."""
    owner = getattr(function, "__self__", None)
    if owner is not None and not isinstance(owner, ModuleType):
        return False
    return str(getattr(function, "__module__", None)).partition(".")[0] in ("numpy", "copyreg")


def encode(message: Any, functions: list[Any] | None = None) -> list[memoryview]:
    """Make a frame of a message.

    Args:
        message: Plain data.
        functions: Gains the functions that are in the message; None if there may be none.

    Returns:
        The pieces to send, one after the other.

    Raises:
        TypeError: Something in the message is no plain data.
    """
    sink, parts = io.BytesIO(), list[memoryview]()
    _Pickler(sink, parts, functions).dump(message)
    parts.insert(0, memoryview(sink.getvalue()))
    sizes = [len(parts), *(part.nbytes for part in parts)]
    return _in_few_pieces([memoryview(struct.pack(f"!{len(sizes)}Q", *sizes)), *parts])


def _in_few_pieces(parts: Sequence[memoryview]) -> list[memoryview]:
    """Join small parts: each piece may wake the other process, which on a busy machine waits for its turn each time."""
    pieces: list[memoryview] = []
    small: list[memoryview] = []
    for part in parts:
        if part.nbytes > PIECE_BYTES:
            pieces += [memoryview(b"".join(small)), part]
            small = []
        else:
            small.append(part)
    return [piece for piece in (*pieces, memoryview(b"".join(small))) if piece.nbytes]


def receive(fill: Callable[[memoryview], None], call: Callable[..., Any] | None = None) -> Any:
    """Read one frame.

    Args:
        fill: Fills a buffer with the next bytes.
        call: Calls a function of the other process by its number; None if there may be none.
    """
    (count,) = struct.unpack("!Q", _read(fill, 8))
    sizes = struct.unpack(f"!{count}Q", _read(fill, 8 * count))
    first, *parts = [_read(fill, size) for size in sizes]
    return _Unpickler(io.BytesIO(first), parts, call).load()


def _read(fill: Callable[[memoryview], None], size: int) -> memoryview:
    buffer = np.empty(size, np.uint8).data  # not zeroed first
    if size:
        fill(buffer)
    return buffer


def encode_error(error: BaseException) -> dict[str, Any]:
    """Describe an error as plain data: hilgate's own by class and fields, any other by its name and text."""
    if isinstance(error, HilgateError):
        kind = type(error)
        error_fields = {name: str(getattr(error, name)) for name in ("what", "wanted", "found", "where", "hint")}
        notes = [str(note) for note in getattr(error, "__notes__", [])]
        return {"kind": (kind.__module__, kind.__qualname__), "fields": error_fields, "notes": notes}
    name, _, text = words(error).partition(": ")
    return {"name": name, "text": text, "notes": [_trace(error)]}


def _trace(error: BaseException) -> str:
    try:
        return "in the model's process:\n" + "".join(traceback.format_tb(error.__traceback__))
    except Exception:  # noqa: BLE001  # the traceback of whatever a user's loader made
        return "in the model's process"


def decode_error(described: dict[str, Any]) -> Exception:
    """Make an error from its description."""
    error: Exception
    if "kind" in described:
        module, name = described["kind"]
        kind: Any = getattr(importlib.import_module(module), name) if module.startswith("harness.") else HilgateError
        error = kind.__new__(kind)
        HilgateError.__init__(error, **described["fields"])  # type: ignore[arg-type]
    else:
        error = type(described["name"], (Raised,), {})(described["text"])
    for note in described["notes"]:
        error.add_note(note)
    return error
