"""``Model``: what a model file declares: what is to be deployed, what goes in, and how good it must be.

A model file is Python with a ``model`` in it (see ``examples/digits.py``). This module does not import torch, so that
reading a declaration costs nothing; ``harness.model.build`` builds the module.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any, SupportsFloat

from ..agent.frames import Array
from ..checks.limits import is_finite_number
from ..errors import ModelError
from ..host.suggestion import did_you_mean, nearest
from .artifacts import check_export, read_files, read_imports
from .dimension import DRAWN, Sizes, describe_dimension, read_sizes, span_of
from .input_spec import FLOAT_TYPES, Input
from .output_spec import Closeness, Output
from .sensor_clock import SensorClock, read_clock
from .unordered import RowSet, Unordered, read_unordered, row_sets

if TYPE_CHECKING:
    import torch

__all__ = ["FLOAT_TYPES", "Array", "Closeness", "Input", "Model", "Output", "Samples"]

# What a user's functions take and return. Outputs have the user's own nesting, so their type is Any.
Samples = tuple[Mapping[str, Array | Sequence[Array]], Array | Sequence[Any]]
Score = Callable[[Any, Array], SupportsFloat]  # numpy's and torch's scalars too: float() is called on it
Prepare = Callable[[dict[str, Array]], Mapping[str, Array]]


@dataclass(frozen=True)
class Model:
    """A model to deploy: how to build it, what goes in, and how good it must be.

    A model file is a Python file with a ``model = Model(…)`` in it; ``pytest -m hil --model=FILE.py`` runs it.
    docs/model-file.md has all arguments in a table.

    Args:
        build: A function without arguments that returns the module: a torch.nn.Module in eval mode, with the same
            weights at every call. It is called several times, in a process of the file's own.
        inputs: One ``Input`` per tensor, in the order of ``forward``'s parameters; at least one.
        dims: The sizes of each named dimension of the inputs' shapes: ``(smallest, largest)``,
            ``(smallest, largest, step)``, a ``range``, or a list of all sizes; ints ≥ 0. Default: none.
        measure: The size of each dimension at which the model is timed and its memory taken. Default, also for a
            dimension that is not named: the largest, for limits must hold for all that is declared
            (docs/decisions/0011-largest-sizes.md). ``"drawn"``: each timed inference has sizes of its own, drawn evenly
            from ``dims``, as a robot's crops and detections have (docs/measuring.md, "At which sizes").
        limits: What the robot needs: a metric's name, which includes its unit, to the number that it may not exceed;
            with ``_min`` behind the name, that it may not fall below. Also ``deadline_ms``, from which on an answer is
            late. docs/metrics.md lists the keys. Default: none, and metrics are MEASURED only.
        samples: A function without arguments that returns real inputs and their labels,
            ``({input name: array[N, …]}, labels[N])``. Where samples have different sizes, an input is a list of N
            arrays. Labels are whatever ``score`` understands. Default: none, and ``accuracy`` is not measured.
        score: A function ``(outputs, labels)`` that returns the accuracy as one number, larger is better. ``outputs``
            has the nesting of ``forward``'s result, with numpy arrays array[N, …] for tensors; an output whose shape
            differs from sample to sample is a list of N arrays (docs/scores.md). Default: top-1, the share of samples,
            0 to 1, whose largest element of the first output, [N, classes], is at the place that the label names.
        name: The model's name in tables and evidence: letters, digits, ``_``, ``.``, ``-``. Default: the file's name.
        tolerance: How large parity's error ratio may be: the backend's distance to a float64 run of the module,
            divided by eager PyTorch's own distance to it (no unit); a finite number > 0, or a ``Closeness``. Default:
            30, from measurements: correct backends reach up to 20 on the worst inputs that the search finds, the least
            wrong one of the corpus 75 (docs/parity.md, "The rule").
        unordered: Groups of outputs whose rows are sets, in any order: ``[("boxes", "scores", "labels")]``; an
            ``Unordered`` says along which axis. Default: none.
        canonical: A function of the outputs that returns them in a form in which two right answers are alike, for what
            ``unordered`` cannot say. It gets the nesting of ``forward``'s result with numpy arrays for tensors, and
            returns the same or another nesting of arrays. Parity compares what it returns. Default: none.
        outputs: What is known of outputs, one ``Output`` each; outputs of which nothing is known are left out. Not
            together with ``canonical``. Default: none.
        files: Artifacts of your own by format, to be judged in place of an export: ``{"onnx": "net.onnx"}`` or
            ``{"torchscript": "net.pt"}``; paths relative to the model file. Default: none, the module is exported.
        exporter: The only exporter to try, by the label that the evidence shows, such as
            ``"torch.onnx.export(dynamo=False)"``. Default: all, one after the other, until one succeeds.
        opset: The version of the ONNX operator set to export for, an int ≥ 1. Default: the exporter's own.
        imports: Modules whose import registers operators, such as ``["torchvision"]``; imported on the device too.
            Default: none.
        prepare: A function that makes drawn inputs valid where no range can say it (a mask that is not all zero,
            x1 < x2, unit quaternions): it takes a dict of arrays by input name, to which it may write, and returns a
            dict with the same names, shapes and dtypes, and the same elements for the same inputs. It is applied to all
            that hilgate draws, and never to ``samples`` (docs/inputs.md). Default: none.
        rate_hz: How many inputs the sensor delivers in a second, 0.01 to 10 000. Latencies are then response times,
            from an input's arrival to its answer (docs/measuring.md), and ``deadline_ms`` is the sensor's period if
            ``limits`` has none. Default: none, and one inference follows the other.
        late: What becomes of an input that finds the model busy: ``"drop"``, it is never answered; ``"queue"``, it
            waits its turn. Only with ``rate_hz``. Default: ``"drop"``.

    Raises:
        ModelError: An argument is not as described, two inputs or outputs have one name, a dimension has no sizes or is
            in no shape, or a range that depends on a dimension is empty at one of its sizes. What takes the module,
            such as training mode or an input in the wrong place, is refused when the model is built.

    Example:
        >>> import torch
        >>> from harness import Input, Model
        >>> def build() -> torch.nn.Module:
        ...     torch.manual_seed(0)  # or load trained weights: the same at every call
        ...     return torch.nn.Linear(16, 4).eval()
        >>> model = Model(
        ...     build=build,
        ...     inputs=[Input("state", shape=("batch", 16), min_value=-1.0, max_value=1.0)],
        ...     dims={"batch": (1, 8)},
        ...     measure={"batch": 1},
        ...     limits={"deadline_ms": 5, "latency_p99_ms": 5},
        ... )
        >>> model.dims["batch"], model.measure["batch"], model.tolerance
        (range(1, 9), 1, 30.0)
        >>> Model(build=build, inputs=[Input("state", shape=("batch", 16))])
        Traceback (most recent call last):
        harness.errors.ModelError: dimension 'batch' has no range
          where:  Model(dims=…)
          next:   dims={"batch": (1, 8)}
    """

    build: Callable[[], torch.nn.Module]
    inputs: Sequence[Input]
    dims: Mapping[str, Sequence[int]] = field(default_factory=dict)
    measure: Mapping[str, int] | str = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)
    samples: Callable[[], Samples] | None = None
    score: Score | None = None
    name: str = ""
    tolerance: float | Closeness = 30.0
    unordered: Sequence[Unordered | Sequence[str | int]] = ()
    canonical: Callable[[Any], Any] | None = None
    outputs: Sequence[Output] = ()
    files: Mapping[str, str | os.PathLike[str]] = field(default_factory=dict)
    exporter: str = ""
    opset: int | None = None
    imports: Sequence[str] = ()
    prepare: Prepare | None = None
    rate_hz: float | None = None
    late: str | None = None

    @property
    def clock(self) -> SensorClock | None:
        """The sensor's clock; None where one inference follows the other."""
        return read_clock(self.rate_hz, self.late)

    @property
    def parity_limit(self) -> float:
        """The largest error ratio that parity allows: the tolerance; 1 for a Closeness, which is its own unit."""
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
        self._check_clock()
        self._check_dims()
        object.__setattr__(self, "measure", Sizes.of(self.measure, self.dims))

    @property
    def measured_sizes(self) -> Sizes:
        """The sizes that are measured; where they are drawn, the largest, at which a model is loaded and counted."""
        return self.measure if isinstance(self.measure, Sizes) else Sizes.of(self.measure, self.dims)

    @property
    def described_sizes(self) -> dict[str, int | str]:
        """The sizes that are measured, for people and the evidence: of those that are drawn "SMALLEST…LARGEST"."""
        sizes = self.measured_sizes
        return {name: span_of(self.dims[name]) if sizes.drawn else size for name, size in sizes.items()}

    @property
    def usual_sizes(self) -> dict[str, int]:
        """The sizes of most inputs that parity tries: as in ``measure``, and the smallest of each dimension not named.

        The largest are tried too, but inputs of the largest sizes alone would be few in the same time.
        """
        declared = self.measured_sizes.declared
        return {name: declared.get(name, sizes[0]) for name, sizes in self.dims.items()}

    def row_sets(self, outputs: Sequence[str]) -> tuple[RowSet, ...]:
        """Resolve ``unordered`` to the full names of the model's outputs.

        Raises:
            ModelError: A name fits no output, or several.
        """
        return row_sets(read_unordered(self.unordered), outputs)

    def _check_clock(self) -> None:
        clock = self.clock
        if clock is not None:
            object.__setattr__(self, "late", clock.late)
            object.__setattr__(self, "limits", {"deadline_ms": clock.period_ms, **self.limits})

    def _check_types(self) -> None:
        mapping = ("a dict", Mapping)
        kinds: dict[str, tuple[str, Any]] = {
            "inputs": ("a list", Sequence),
            "outputs": ("a list", Sequence),
            "name": ("a text", str),
        }
        for key, (wanted, kind) in (kinds | dict.fromkeys(("dims", "limits"), mapping)).items():
            if not isinstance(value := getattr(self, key), kind):
                raise ModelError(f"{key} is not usable", wanted=wanted, found=repr(value), where=f"Model({key}=…)")

    def _check_dims(self) -> None:
        used = {size for item in self.inputs for size in item.shape if isinstance(size, str)}
        for name in sorted(used ^ set(self.dims), key=str):
            hint = f'dims={{"{name}": (1, 8)}}' if name in used else "remove it, or use it in an input's shape"
            if (near := nearest(name, {*self.dims} - used if name in used else used - {*self.dims})) is not None:
                declared, shaped = (near, name) if name in used else (name, near)
                hint = f"one of the two is misspelled: dims has {declared!r}, an input's shape {shaped!r}"
            what = "has no range" if name in used else "is in no input's shape"
            raise ModelError(f"dimension {name!r} {what}", where="Model(dims=…)", hint=hint)
        object.__setattr__(self, "dims", {name: read_sizes(name, declared) for name, declared in self.dims.items()})
        self._check_measure()
        for item in self.inputs:
            self._check_tied(item)

    def _check_measure(self) -> None:
        where = "Model(measure=…)"
        if self.measure == DRAWN:
            if all(len(sizes) == 1 for sizes in self.dims.values()):
                what, wanted = f"measure={DRAWN!r} has nothing to draw", "a dimension of several sizes in dims"
                found = ", ".join(f"{name} = {sizes[0]}" for name, sizes in self.dims.items()) or "no dims"
                hint = "leave measure out: the sizes are always the same"
                raise ModelError(what, wanted=wanted, found=found, where=where, hint=hint)
            return
        if not isinstance(self.measure, Mapping):
            wanted, hint = f"a dict of sizes, or {DRAWN!r}", ""
            if isinstance(self.measure, str):
                hint = did_you_mean(self.measure, [DRAWN, *self.dims])
            raise ModelError("measure is not usable", wanted=wanted, found=repr(self.measure), where=where, hint=hint)
        for name, size in self.measure.items():
            if name not in self.dims:
                what, wanted = f"measure names an unknown dimension {name!r}", ", ".join(self.dims) or "none"
                raise ModelError(what, wanted=wanted, where="Model(measure=…)", hint=did_you_mean(name, self.dims))
            if type(size) is not int or size not in self.dims[name]:
                what, wanted = f"measure[{name!r}] is out of range", describe_dimension(self.dims[name])
                raise ModelError(what, wanted=wanted, found=repr(size))

    def _check_tied(self, item: Input) -> None:
        """Refuse a range that is empty or too large for its type at some sizes.

        Its ends grow with the sizes, so only the smallest and the largest need a check.
        """
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
