"""``Input``: what a model file declares of one input: name, shape, element type and range."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..checks.limits import is_finite_number
from ..errors import ModelError
from ..host.suggestion import did_you_mean
from .dimension import number_at, read_tied

FLOAT_TYPES = ("float16", "float32", "float64")
INTEGER_TYPES = ("int8", "int16", "int32", "int64", "uint8")
DTYPES = (*FLOAT_TYPES, *INTEGER_TYPES, "bool")

# How far from the other end, and from 0, a missing end of a float's range lies: a convention, and no measurement.
UNBOUNDED = 1000.0

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


@dataclass(frozen=True)
class Input:
    """One input tensor of the model: its name, shape, element type and the range of its values.

    hilgate draws inputs from what is declared here, for parity, timing and memory. Its verdicts hold for such inputs
    and say nothing about others, so declare the range that the sensor delivers.

    Args:
        name: An identifier such as ``"image"``. Inputs are passed to ``forward`` by position; the name identifies the
            input in ``samples``, in ``prepare`` and in messages.
        shape: One entry per axis: a size (an int ≥ 0), or the name of a dimension whose sizes ``Model(dims=…)``
            gives. ``()`` is a scalar.
        dtype: The element type, by numpy's name: ``"float16"``, ``"float32"``, ``"float64"``, ``"int8"``,
            ``"int16"``, ``"int32"``, ``"int64"``, ``"uint8"`` or ``"bool"``. Default: ``"float32"``.
        min_value: The smallest finite value that occurs, included, in the unit that the model expects. A number, or
            a text that stands for the size of a dimension, whichever size is drawn: ``"t"``, ``"t - 1"``,
            ``"t + 2"``. Integers must have both ends; for ``bool`` neither end is looked at. Default for floats: 1000
            below ``max_value``, but not above −1000.
        max_value: The largest finite value that occurs, included; written like ``min_value``. Default for floats:
            1000 above ``min_value``, but not below 1000. (The 1000 is hilgate's convention and measures nothing;
            float16's and float32's own limits still apply.)
        allow_nan: Whether NaN may occur too. Floats only. Default: no.
        allow_infinity: Whether −∞ and +∞ may occur too, outside of the range. Floats only. Default: no.

    Raises:
        ModelError: The name is no identifier; the shape, a size or the dtype is not one of those above; the range is
            empty, not finite, or more than the dtype can hold; an end of an integer's range is missing or is no whole
            number; or NaN or infinity is allowed for integers. The message says which, and what was wanted.

    Example:
        >>> from harness import Input
        >>> image = Input("image", shape=("batch", 3, 224, 224), min_value=0.0, max_value=1.0)
        >>> image.sizes({"batch": 4})
        (4, 3, 224, 224)
        >>> Input("speed", shape=("batch",), min_value=0.0).range  # m/s, say; without a max_value
        (0.0, 1000.0)
        >>> position = Input("position", shape=("batch",), dtype="int64", min_value=0, max_value="t - 1")
        >>> position.at({"t": 16}).range  # an index into a sequence of 16 steps
        (0, 15)
        >>> Input("token", shape=("batch", "t"), dtype="int64")
        Traceback (most recent call last):
        harness.errors.ModelError: an integer input needs its range
          wanted: min_value and max_value
          where:  Input('token')
    """

    name: str
    shape: Sequence[int | str]
    dtype: str = "float32"
    min_value: float | str | None = None
    max_value: float | str | None = None
    allow_nan: bool = False
    allow_infinity: bool = False

    def __post_init__(self) -> None:
        where = f"Input({self.name!r})"
        if not isinstance(self.shape, Sequence) or isinstance(self.shape, str):
            wanted = "a tuple of sizes and names of dimensions"
            raise ModelError("a shape is not usable", wanted=wanted, found=repr(self.shape), where=where)
        object.__setattr__(self, "shape", tuple(self.shape))
        if not (isinstance(self.name, str) and NAME.match(self.name)):
            raise ModelError("an input's name is not usable", wanted="an identifier", found=repr(self.name))
        if self.dtype not in DTYPES:
            wanted, hint = "one of " + ", ".join(DTYPES), did_you_mean(_plain_dtype(self.dtype), DTYPES)
            raise ModelError("unknown dtype", wanted=wanted, found=repr(self.dtype), where=where, hint=hint)
        for size in self.shape:
            if isinstance(size, bool) or not ((isinstance(size, int) and size >= 0) or isinstance(size, str)):
                raise ModelError("a size is not usable", wanted="an int ≥ 0 or a name", found=repr(size), where=where)
        self._check_range(where)

    def _check_range(self, where: str) -> None:
        floating = self.dtype in FLOAT_TYPES
        for end in ("min_value", "max_value"):
            if isinstance(value := getattr(self, end), np.generic):  # a number of numpy's, as Python has it
                object.__setattr__(self, end, value.item())
        if not floating and (self.allow_nan or self.allow_infinity):
            raise ModelError("only floats have NaN and infinity", found=f"dtype {self.dtype!r}", where=where)
        if self.dtype in INTEGER_TYPES and (self.min_value is None or self.max_value is None):
            raise ModelError("an integer input needs its range", wanted="min_value and max_value", where=where)
        if not self._is_tied(where):  # else the range depends on the model's dims, which check it
            self._check_ends(where)

    def _check_ends(self, where: str) -> None:
        floating = self.dtype in FLOAT_TYPES
        found = f"min_value={self.min_value!r}, max_value={self.max_value!r}"
        usable = all(value is None or is_finite_number(value) for value in (self.min_value, self.max_value))
        low, high = self._ends if usable else (0, -1)
        if low > high:
            raise ModelError("the range is empty", wanted="finite, min_value ≤ max_value", found=found, where=where)
        if self.dtype in INTEGER_TYPES and (low % 1 or high % 1):
            raise ModelError("an integer range needs whole ends", wanted="whole numbers", found=found, where=where)
        if self.dtype != "bool":
            info = np.finfo(self.dtype) if floating else np.iinfo(self.dtype)
            smallest, largest = (float(info.min), float(info.max)) if floating else (int(info.min), int(info.max))
            if low < smallest or high > largest:
                wanted = f"within {smallest} … {largest}"
                raise ModelError(f"{self.dtype} cannot hold the range", wanted=wanted, found=found, where=where)
            if self.range[0] > self.range[1]:
                raise ModelError(f"{self.dtype} has no number in the range", found=found, where=where)

    def _is_tied(self, where: str) -> bool:
        ends = [end for end in (self.min_value, self.max_value) if isinstance(end, str)]
        for end in ends:
            if read_tied(end) is None:
                wanted = 'a number, or a dimension such as "t" or "t - 1"'
                raise ModelError("an end of the range is not usable", wanted=wanted, found=repr(end), where=where)
        return bool(ends)

    @property
    def tied_to(self) -> tuple[str, ...]:
        """The names of the dimensions on whose sizes the range depends."""
        ends = (read_tied(end) for end in (self.min_value, self.max_value) if isinstance(end, str))
        return tuple(dict.fromkeys(end[0] for end in ends if end is not None))

    def at(self, sizes: Mapping[str, int]) -> Input:
        """Return the input with its range as numbers, at given sizes of the dimensions.

        Raises:
            ModelError: The range is empty at these sizes, or the type does not hold it.
        """
        if not self.tied_to:
            return self
        return replace(self, min_value=number_at(self.min_value, sizes), max_value=number_at(self.max_value, sizes))

    def widest(self, dims: Mapping[str, Sequence[int]]) -> Input:
        """Return the input with the union of the ranges that it has at all sizes of the dimensions."""
        low = number_at(self.min_value, {name: sizes[0] for name, sizes in dims.items()})
        high = number_at(self.max_value, {name: sizes[-1] for name, sizes in dims.items()})
        return replace(self, min_value=low, max_value=high) if self.tied_to else self

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest finite value that may occur, in the input's own type.

        If the type cannot hold an end, it is the next value inside of the range. An input whose range depends on a
        dimension has one only ``at`` its sizes.
        """
        low, high = self._ends
        if self.dtype not in FLOAT_TYPES:
            return low, high
        kind = np.dtype(self.dtype).type
        start, stop = kind(low), kind(high)
        if low < high:  # a single value may be rounded either way
            start = np.nextafter(start, kind(np.inf)) if float(start) < low else start
            stop = np.nextafter(stop, kind(-np.inf)) if float(stop) > high else stop
        return float(start), float(stop)

    @property
    def _ends(self) -> tuple[float, float]:
        if self.dtype == "bool":
            return 0, 1
        low, high = self.min_value, self.max_value
        if isinstance(low, str) or isinstance(high, str):
            raise TypeError(f"the range of {self.name} depends on the size of {', '.join(self.tied_to)}")
        if low is None:
            low = max(min(-UNBOUNDED, (high or 0) - UNBOUNDED), float(np.finfo(self.dtype).min))
        if high is None:
            high = min(max(UNBOUNDED, low + UNBOUNDED), float(np.finfo(self.dtype).max))
        return low, high

    def sizes(self, dims: Mapping[str, int]) -> tuple[int, ...]:
        """Return the shape with a size for every named dimension."""
        return tuple(dims[size] if isinstance(size, str) else size for size in self.shape)


def _plain_dtype(dtype: Any) -> str:
    """Return numpy's name of whatever was given as a dtype: torch.float32, np.float32, float."""
    return str(getattr(dtype, "__name__", dtype)).removeprefix("torch.")
