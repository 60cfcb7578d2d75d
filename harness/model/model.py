"""Model files: what is to be deployed, what goes in, how good it must be.

A model file is Python with a ``model`` in it (see ``examples/digits.py``). This module knows its shape and nothing of
torch, so that importing it costs nothing; what is built from it is in ``harness.model.build``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks.limits import is_finite_number
from ..errors import ModelError
from ..host.suggestion import did_you_mean, nearest
from .artifacts import check_export, read_files, read_imports
from .dimension import describe_dimension, number_at, read_sizes, read_tied
from .unordered import RowSet, Unordered, read_unordered, row_sets

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, np.dtype[Any]]
Samples = tuple[Mapping[str, Array], Array]

FLOAT_TYPES = ("float16", "float32", "float64")
INTEGER_TYPES = ("int8", "int16", "int32", "int64", "uint8")
DTYPES = (*FLOAT_TYPES, *INTEGER_TYPES, "bool")

# Where an end of a range is not given.
UNBOUNDED = 1000.0

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


@dataclass(frozen=True)
class Input:
    """One input tensor of the model.

    Args:
        name: an identifier; inputs go to ``forward`` by position.
        shape: sizes, and names of dimensions whose range is in the model's ``dims``.
        dtype: numpy's name of the element type.
        min_value, max_value: the range of finite values, ends included. A float's missing end lies
            1000 beyond the other, and at ±1000 at least; integers need both: an index out of range is no fair test.
            A name of a dimension stands for its size, whichever is drawn: max_value="t" of lengths, "t - 1" of indices.
            (A text, and no function: it can be compared, hashed and shown, and the device makes such inputs itself.)
        allow_nan, allow_infinity: whether these may occur too, beside the range.

    Raises:
        ModelError: any of these is not as said.
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
        if not self._is_tied(where):  # else how large it is only the model's dims say
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
        """The dimensions that the range depends on."""
        ends = (read_tied(end) for end in (self.min_value, self.max_value) if isinstance(end, str))
        return tuple(dict.fromkeys(end[0] for end in ends if end is not None))

    def at(self, sizes: Mapping[str, int]) -> Input:
        """The same input with a range of numbers, for dimensions of such sizes.

        Raises:
            ModelError: the range is empty there, or the type does not hold it.
        """
        if not self.tied_to:
            return self
        return replace(self, min_value=number_at(self.min_value, sizes), max_value=number_at(self.max_value, sizes))

    def widest(self, dims: Mapping[str, Sequence[int]]) -> Input:
        """The same input with all numbers in its range that it has at any sizes of the dimensions."""
        low = number_at(self.min_value, {name: sizes[0] for name, sizes in dims.items()})
        high = number_at(self.max_value, {name: sizes[-1] for name, sizes in dims.items()})
        return replace(self, min_value=low, max_value=high) if self.tied_to else self

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest finite value that may occur; where floats cannot hold an end, the next one
        within. Of one that is tied to a dimension, see ``at``."""
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
        """The shape with every named dimension filled in."""
        return tuple(dims[size] if isinstance(size, str) else size for size in self.shape)


@dataclass(frozen=True)
class Output:
    """What is known of one output of the model.

    Args:
        name: as messages have it: ``output``, ``output_0``, …; of a dict that forward returns, the key is enough.
        max_value: how large its elements may be, in either direction: an error of one unit in the last place of it
            counts as 1 for parity, also where all elements are small. A probability's is 1.

    Raises:
        ModelError: any of these is not as said.
    """

    name: str
    max_value: float

    def __post_init__(self) -> None:
        if not (isinstance(self.name, str) and self.name):
            raise ModelError("an output's name is not usable", wanted="a text", found=repr(self.name))
        if isinstance(self.max_value, np.generic):  # a number of numpy's, as Python has it
            object.__setattr__(self, "max_value", self.max_value.item())
        if not is_finite_number(self.max_value) or self.max_value <= 0:
            where = f"Output({self.name!r})"
            raise ModelError("max_value is not usable", wanted="a number > 0", found=repr(self.max_value), where=where)


@dataclass(frozen=True)
class Closeness:
    """How close a backend must come to eager PyTorch, said outright: |found − eager| ≤ atol + rtol · |eager|.

    For each element, as numpy.isclose has it. For what computes in a narrower type by intent, and for models that have
    no float64 run, such as quantized ones.

    Args:
        rtol: as a fraction of eager's element.
        atol: in the output's own unit.

    Raises:
        ModelError: one of them is no number ≥ 0, or both are 0.
    """

    rtol: float = 0.0
    atol: float = 0.0

    def __post_init__(self) -> None:
        usable = all(is_finite_number(value) and value >= 0 for value in (self.rtol, self.atol))
        if not usable or self.rtol == self.atol == 0:
            found = f"rtol={self.rtol!r}, atol={self.atol!r}"
            raise ModelError("a closeness is not usable", wanted="finite numbers ≥ 0, not both 0", found=found)

    def allowed(self, eager: Array) -> Array:
        """The error of each element that counts as 1: float64[…]."""
        largest: Array = self.atol + self.rtol * np.abs(eager.astype(np.float64))
        return largest


class Sizes(dict[str, int]):
    """A size for each dimension; ``said`` has those that the model file gives itself."""

    said: Mapping[str, int] = {}

    @classmethod
    def of(cls, said: Mapping[str, int], dims: Mapping[str, Sequence[int]]) -> Sizes:
        """The largest of each dimension that the model file gives no size."""
        made = cls({name: sizes[-1] for name, sizes in dims.items()} | dict(said))
        made.said = said.said if isinstance(said, Sizes) else dict(said)  # also of a model that was copied
        return made


@dataclass(frozen=True)
class Model:
    """A model to deploy: how to build it, what goes in, how good it must be.

    Args:
        build: makes the module, in eval mode, with the same weights at every call.
        inputs: in the order of ``forward``'s parameters.
        dims: the sizes of every named dimension: (smallest, largest), (smallest, largest, step), a range, or a list of
            all of them. Here they stand as a range or a list, ascending.
        measure: the sizes at which it is timed, and its memory taken; of a dimension that it does not name, the
            largest: limits must hold for all that is declared.
        limits: metric name (with ``_min`` behind it for a lower bound) to number; also ``deadline_ms``.
        samples: returns real inputs by name, and their labels; the first axis of all counts the samples. Where these
            have different sizes, a list with an array for each.
        score: (outputs, labels) → accuracy, larger is better; outputs have the model's own structure, as numpy arrays,
            the first axis counting the samples; an output whose size differs from sample to sample is a list with an
            array for each. Default: top-1 over the last axis of the first output.
        prepare: inputs → inputs: makes drawn inputs valid (a mask that is not all zero, x1 < x2, unit quaternions). A
            dict of arrays by input name, which it may write to, to another of the same names, shapes and dtypes; the
            same for the same. For whatever is drawn, never for the samples as they come.
        name: default, the file's.
        tolerance: how many times float32's own error a backend may be off (see docs/parity.md); or a Closeness.
        unordered: groups of outputs whose rows are sets, such as [("boxes", "scores", "labels")]: rows are compared in
            whatever order they come; see Unordered.
        canonical: outputs → outputs in a form in which two right answers are alike, for what no rule covers: parity
            compares what it returns, for PyTorch's outputs and the backend's. They have the model's own structure, as
            numpy arrays; so has what it returns, or another structure of arrays.
        outputs: what is known of outputs; those of which nothing is known are left out. Not beside canonical.
        files: artifacts of the team's own, by format ("onnx", "torchscript"), relative to the model file: they are
            judged in place of an export.
        exporter: the only one to be tried, by the label that the evidence has; default, each that there is in turn.
        opset: of ONNX exports; default, the exporter's own.
        imports: modules whose import registers operators, such as ["torchvision"]: imported on the device, too.

    Raises:
        ModelError: any of these is not as said.
    """

    build: Callable[[], torch.nn.Module]
    inputs: Sequence[Input]
    dims: Mapping[str, Sequence[int]] = field(default_factory=dict)
    measure: Mapping[str, int] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)
    samples: Callable[[], Samples] | None = None
    score: Callable[[Any, Array], float] | None = None
    name: str = ""
    tolerance: float | Closeness = 30.0
    unordered: Sequence[Unordered | Sequence[str | int]] = ()
    canonical: Callable[[Any], Any] | None = None
    outputs: Sequence[Output] = ()
    files: Mapping[str, str | os.PathLike[str]] = field(default_factory=dict)
    exporter: str = ""
    opset: int | None = None
    imports: Sequence[str] = ()
    prepare: Callable[[dict[str, Array]], Mapping[str, Array]] | None = None

    @property
    def parity_limit(self) -> float:
        """The largest error ratio that is allowed: the tolerance; of a Closeness 1, for it is measured by itself."""
        return 1.0 if isinstance(self.tolerance, Closeness) else self.tolerance

    def __post_init__(self) -> None:
        self._check_types()
        object.__setattr__(self, "inputs", tuple(self.inputs))
        object.__setattr__(self, "unordered", read_unordered(self.unordered))
        for what in ("build", "samples", "score", "prepare", "canonical"):
            value = getattr(self, what)
            if not callable(value) and (value is not None or what == "build"):
                raise ModelError(f"{what} cannot be called", wanted="a function", found=repr(value), where="Model(…)")
        if not self.inputs or not all(isinstance(item, Input) for item in self.inputs):
            raise ModelError("a model needs inputs", wanted="a list of Input(…)", found=repr(self.inputs))
        object.__setattr__(self, "outputs", tuple(self.outputs))
        if not all(isinstance(item, Output) for item in self.outputs):
            raise ModelError("outputs is not usable", wanted="a list of Output(…)", found=repr(self.outputs))
        if self.outputs and self.canonical is not None:
            raise ModelError(
                "outputs cannot be told beside canonical, which makes others of them",
                wanted="one of the two",
                found=", ".join(item.name for item in self.outputs),
                where="Model(outputs=…, canonical=…)",
                hint="leave outputs out; samples= shows how large what canonical returns is in use",
            )
        for what, items in (("inputs", self.inputs), ("outputs", self.outputs)):
            names = [item.name for item in items]
            if len(set(names)) < len(names):
                raise ModelError(f"two {what} have one name", found=", ".join(names), where=f"Model({what}=…)")
        if not is_finite_number(self.parity_limit) or self.parity_limit <= 0:
            wanted = "a finite number > 0, or Closeness(rtol=…, atol=…)"
            raise ModelError("tolerance is not usable", wanted=wanted, found=repr(self.tolerance))
        object.__setattr__(self, "files", read_files(self.files))
        object.__setattr__(self, "imports", read_imports(self.imports))
        check_export(self.exporter, self.opset, read_files(self.files))
        self._check_dims()
        object.__setattr__(self, "measure", Sizes.of(self.measure, self.dims))

    @property
    def usual_sizes(self) -> dict[str, int]:
        """The sizes of most inputs that parity tries: as in ``measure``, and the smallest where that names none.

        The largest are tried, too, but a list of nothing else would be a short one.
        """
        said = self.measure.said if isinstance(self.measure, Sizes) else self.measure
        return {name: said.get(name, sizes[0]) for name, sizes in self.dims.items()}

    def row_sets(self, outputs: Sequence[str]) -> tuple[RowSet, ...]:
        """What is unordered, by the names that the outputs have.

        Raises:
            ModelError: a name is none's, or that of several.
        """
        return row_sets(read_unordered(self.unordered), outputs)

    def _check_types(self) -> None:
        mapping = ("a dict", Mapping)
        kinds: dict[str, tuple[str, Any]] = {
            "inputs": ("a list", Sequence),
            "outputs": ("a list", Sequence),
            "name": ("a text", str),
        }
        for key, (wanted, kind) in (kinds | dict.fromkeys(("dims", "measure", "limits"), mapping)).items():
            if not isinstance(value := getattr(self, key), kind):
                raise ModelError(f"{key} is not usable", wanted=wanted, found=repr(value), where=f"Model({key}=…)")

    def _check_dims(self) -> None:
        used = {size for item in self.inputs for size in item.shape if isinstance(size, str)}
        for name in sorted(used ^ set(self.dims), key=str):
            hint = f'dims={{"{name}": (1, 8)}}' if name in used else "remove it, or use it in an input's shape"
            if (near := nearest(name, {*self.dims} - used if name in used else used - {*self.dims})) is not None:
                said, shaped = (near, name) if name in used else (name, near)
                hint = f"one of the two is misspelled: dims has {said!r}, an input's shape {shaped!r}"
            what = "has no range" if name in used else "is in no input's shape"
            raise ModelError(f"dimension {name!r} {what}", where="Model(dims=…)", hint=hint)
        object.__setattr__(self, "dims", {name: read_sizes(name, said) for name, said in self.dims.items()})
        for name, size in self.measure.items():
            if name not in self.dims:
                what, wanted = f"measure names an unknown dimension {name!r}", ", ".join(self.dims) or "none"
                raise ModelError(what, wanted=wanted, where="Model(measure=…)", hint=did_you_mean(name, self.dims))
            if type(size) is not int or size not in self.dims[name]:
                what, wanted = f"measure[{name!r}] is out of range", describe_dimension(self.dims[name])
                raise ModelError(what, wanted=wanted, found=repr(size))
        for item in self.inputs:
            self._check_tied(item)

    def _check_tied(self, item: Input) -> None:
        """Refuse a range that is empty, or too large for its type, at some sizes: it moves one way with each."""
        where = f"Input({item.name!r})"
        for name in item.tied_to:
            if name not in self.dims:
                what, wanted = "a range is tied to an unknown dimension", ", ".join(self.dims) or "one of dims"
                hint = did_you_mean(name, self.dims)
                raise ModelError(what, wanted=wanted, found=repr(name), where=where, hint=hint)
        for sizes in product(*((self.dims[name][0], self.dims[name][-1]) for name in item.tied_to)):
            here = dict(zip(item.tied_to, sizes, strict=True))
            try:
                item.at(here)
            except ModelError as error:
                error.where = f"{where}, with {', '.join(f'{name} = {size}' for name, size in here.items())}"
                raise


def _plain_dtype(said: Any) -> str:
    """A dtype as numpy names it, of whatever stands in its place: torch.float32, np.float32, float."""
    return str(getattr(said, "__name__", said)).removeprefix("torch.")
