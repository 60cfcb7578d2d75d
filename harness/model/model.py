"""Model files: what is to be deployed, what goes in, how good it must be.

A model file is Python with a ``model`` in it (see ``examples/digits.py``). This module knows its shape and nothing of
torch, so that importing it costs nothing; what is built from it is in ``harness.model.build``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

from ..agent.frames import Array
from ..checks.limits import is_finite_number
from ..errors import ModelError
from ..host.suggestion import did_you_mean, nearest
from .artifacts import check_export, read_files, read_imports
from .dimension import Sizes, describe_dimension, read_sizes
from .input_spec import FLOAT_TYPES, Input
from .output_spec import Closeness, Output
from .unordered import RowSet, Unordered, read_unordered, row_sets

if TYPE_CHECKING:
    import torch

__all__ = ["FLOAT_TYPES", "Array", "Closeness", "Input", "Model", "Output", "Samples"]

Samples = tuple[Mapping[str, Array], Array]


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
