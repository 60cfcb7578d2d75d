"""From a model file to a module that has been looked at: eval mode, the same weights twice, outputs that are
tensors."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from .agent.frames import ITEM_SIZES
from .agent.structure import flatten
from .errors import ModelError
from .fingerprint import weight_hashes
from .inputs import describe, traced_sizes, uniform_set
from .model import Array, Model
from .model_file import ModelFile

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class BuiltModel:
    """A module, and what one eager run of it showed.

    Attributes:
        outputs: the names of its outputs, in order; see harness.agent.structure.
        structure: the outputs of that run, in the model's own nesting; the leaves are names.
        weights: hashes by name; see harness.fingerprint.
    """

    file: ModelFile
    module: torch.nn.Module
    outputs: tuple[str, ...]
    structure: Any
    weights: Mapping[str, str]

    @property
    def model(self) -> Model:
        """What the model file says."""
        return self.file.model

    @property
    def max_values(self) -> Mapping[str, float]:
        """The largest magnitudes that the model file declares, by output."""
        declared = ((full_name(item.name, self.outputs), item.max_value) for item in self.model.outputs)
        return {name: value for name, value in declared if name is not None}


def full_name(name: str, names: Sequence[str]) -> str | None:
    """Find the output that a model file means: by its whole name, or by its key in the dict that forward returns."""
    return next((one for one in (name, f"output_{name}") if one in names), None)


def build_model(file: ModelFile) -> BuiltModel:
    """Build a model twice, compare, and run it once.

    Raises:
        ModelError: build raises, makes no module, one in training mode or other weights at the second call; or the
            module rejects the inputs that the file declares, or its outputs are not tensors.
    """
    weights = weight_hashes(call_build(file.model, where := str(file.path)))
    module = call_build(file.model, where)
    check_same_weights(weights, weight_hashes(module), where, "two builds")
    outputs, structure = _run_once(file.model, module, where)
    return BuiltModel(file, module, outputs, structure, weights)


def call_build(model: Model, where: str) -> torch.nn.Module:
    """The module of one call of build."""
    import torch

    try:
        with warnings_only("default"):
            module: Any = model.build()
    except (Exception, SystemExit) as error:
        raise ModelError("build() raised", found=f"{type(error).__name__}: {error}", where=where) from error
    if not isinstance(module, torch.nn.Module):
        raise ModelError("build() made no module", wanted="a torch.nn.Module", found=type(module).__name__, where=where)
    training = [name or "the module itself" for name, part in module.named_modules() if part.training]
    if training:
        raise ModelError(
            "the module is in training mode",
            wanted="eval mode, in every part",
            found="training: " + ", ".join(training[:5]) + (" …" if len(training) > 5 else ""),
            where=where,
            hint="return module.eval() from build()",
        )
    return module


def check_same_weights(first: Mapping[str, str], second: Mapping[str, str], where: str, what: str) -> None:
    """Refuse a build that is not the same every time.

    Raises:
        ModelError: naming the first weights that differ.
    """
    differing = [name for name in {**first, **second} if first.get(name) != second.get(name)]
    if differing:
        raise ModelError(
            f"{what} have different weights",
            wanted="the same weights at every call of build()",
            found=f"{len(differing)} of {len(first)} differ: " + ", ".join(differing[:5]),
            where=where,
            hint="load trained weights, or seed them: torch.manual_seed(0) at the start of build()",
        )


def _run_once(model: Model, module: torch.nn.Module, where: str) -> tuple[tuple[str, ...], Any]:
    arrays = uniform_set(model, traced_sizes(model), seed=0)
    try:
        structure = run_eager(module, arrays)
    except Exception as error:
        raise ModelError(
            "the model rejects inputs that its file declares",
            wanted=describe(arrays),
            found=f"{type(error).__name__}: {error}",
            where=where,
            hint="correct shape, dtype, dims, the range or the order of `inputs`: they go to forward by position",
        ) from error
    leaves = list(flatten(structure))
    for name, leaf in leaves:
        _check_output(name, leaf, where)
    names = tuple(name for name, _ in leaves)
    if not names or len(set(names)) < len(names):
        raise ModelError("the outputs cannot be told apart", wanted="one or more names", found=str(names), where=where)
    for item in model.outputs:
        if full_name(item.name, names) is None:
            what, wanted = f"outputs names an unknown output {item.name!r}", "one of " + ", ".join(names)
            raise ModelError(what, wanted=wanted, found=repr(item.name), where=where)
    return names, structure


def _check_output(name: str, leaf: Any, where: str) -> None:
    import torch

    if not isinstance(leaf, torch.Tensor):
        raise ModelError(
            "an output is not a tensor",
            wanted="a tensor, or tuples, lists and dicts of tensors",
            found=f"{name}: {type(leaf).__name__}",
            where=where,
            hint="wrap the model in a module whose forward returns tensors only",
        )
    dtype = str(leaf.dtype).removeprefix("torch.")
    if dtype not in ITEM_SIZES:
        wanted = "one of " + ", ".join(ITEM_SIZES)
        hint = "convert it at the end of forward, such as .float()"
        raise ModelError(
            "an output's dtype is not usable", wanted=wanted, found=f"{name}: {dtype}", where=where, hint=hint
        )


@contextmanager
def warnings_only(action: Literal["default", "ignore"]) -> Iterator[None]:
    """A block in which a warning of the model's is no error, whatever the filters of the pytest that runs it are."""
    with warnings.catch_warnings():
        warnings.simplefilter(action)
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """A block in which torch computes on one thread.

    The last bits of a reference must not depend on how many cores the host has; and where another process keeps a core
    busy, two threads waiting for each other made a digits inference 40 times slower than one (measured).
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def run_eager(module: torch.nn.Module, arrays: Mapping[str, Array]) -> Any:
    """The module's own answer, without gradients, on one thread: a structure of tensors."""
    import torch

    with torch.no_grad(), one_thread(), warnings_only("ignore"):
        return module(*(torch.from_numpy(array.copy()) for array in arrays.values()))
