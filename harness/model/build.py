"""From a model file to a module that has been looked at: eval mode, the same weights twice, outputs that are
tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from ..agent.frames import ITEM_SIZES
from ..agent.structure import flatten
from ..errors import ModelError
from .eager import one_thread, rejection, run_eager
from .fingerprint import weight_hashes
from .input_order import check_input_order, parameter_names
from .inputs import Arrays, describe, traced_sizes, uniform_set
from .model import Model
from .model_file import ModelFile
from .operators import import_operators
from .prepare import prepared_here
from .rejection import check_declared, rejected
from .unordered import find_output
from .user_code import missing_file_hint, parsed_arguments_hint, users_code, words
from .user_process import search_path

if TYPE_CHECKING:
    import torch

__all__ = [
    "OWN_PROCESS",
    "SOURCE",
    "BuiltModel",
    "build_model",
    "call_build",
    "check_same_weights",
    "one_thread",
    "run_eager",
    "told_rejection",
]

# Kept by a model that is in a process of its own: no other code has changed anything there.
OWN_PROCESS = "own process"
# So is the hash of the file that it read.
SOURCE = "source"

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class BuiltModel:
    """A module, and what one eager run of it showed.

    Whatever needs the module is a *question*: a function of a module of harness, whose first argument is a BuiltModel,
    and whose other arguments and answer are plain data (numbers, texts, arrays, dataclasses of harness's own). It is
    put by ``ask``, for the module may be in another process; see harness.model.process.

    Attributes:
        outputs: the names of its outputs, in order; see harness.agent.structure.
        structure: the outputs of that run, in the model's own nesting; the leaves are names.
        weights: hashes by name; see harness.model.fingerprint.
        touched: names of buffers and attributes that this first run made or changed; see harness.model.module_state.
        kept: what one question leaves for the next, such as the float64 module.
    """

    file: ModelFile
    module: torch.nn.Module
    outputs: tuple[str, ...]
    structure: Any
    weights: Mapping[str, str]
    touched: tuple[str, ...] = ()
    kept: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def model(self) -> Model:
        """What the model file says."""
        return self.file.model

    @property
    def search_path(self) -> tuple[str, ...]:
        """Where the code of its file finds modules."""
        return search_path()

    @property
    def max_values(self) -> Mapping[str, float]:
        """The largest magnitudes that the model file declares, by output."""
        return {find_output(item.name, self.outputs, "outputs"): item.max_value for item in self.model.outputs}

    def ask(
        self,
        question: Callable[Concatenate[BuiltModel, Arguments], Answer],
        /,
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Answer:
        """Put a question to the process that has the module: here, this one.

        Raises:
            Exception: whatever the question raises.
        """
        return question(self, *args, **kwargs)

    def cpu_s(self) -> float:
        """Tell how long the process that has the module has computed, in seconds, where that is not this process."""
        return 0.0


def build_model(file: ModelFile) -> BuiltModel:
    """Build a model twice, compare, and run it once.

    Raises:
        ModelError: build raises, makes no module, one in training mode or other weights at the second call; or the
            module has another order of inputs than the file declares, or rejects them, or its outputs are not tensors,
            or not those that it names as unordered.
    """
    import_operators(file.model, where := str(file.path))
    first = call_build(file.model, where)
    weights = weight_hashes(first, where)
    check_input_order([item.name for item in file.model.inputs], parameter_names(first), where)
    _check_declared(file.model, first, where)
    del first  # it has been run, and a large model is not held twice
    module = call_build(file.model, where)
    check_same_weights(weights, weight_hashes(module, where), where, "two builds")
    from .module_state import changed, marks  # torch is imported by whoever builds, not by whoever reads a file

    before = marks(module)
    outputs, structure = _run_once(file.model, module, where)
    file.model.row_sets(outputs)
    for item in file.model.outputs:
        find_output(item.name, outputs, "outputs")
    return BuiltModel(file, module, outputs, structure, weights, changed(before, marks(module)))


def call_build(model: Model, where: str) -> torch.nn.Module:
    """The module of one call of build."""
    import torch

    try:
        with users_code():
            module: Any = model.build()
    except (Exception, SystemExit) as error:
        hint = missing_file_hint(error) or parsed_arguments_hint(error)
        raise ModelError("build() raised", found=words(error), where=where, hint=hint) from error
    if not isinstance(module, torch.nn.Module):
        raise ModelError("build() made no module", wanted="a torch.nn.Module", found=type(module).__name__, where=where)
    training = [
        name or "the module itself" for name, part in module.named_modules() if getattr(part, "training", False)
    ]  # a frozen ScriptModule has none
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


def _check_declared(model: Model, module: torch.nn.Module, where: str) -> None:
    """Refuse inputs that the module rejects. It is not the module that is judged: running it may change it."""
    import torch

    def prepare(arrays: Arrays) -> Arrays:
        return prepared_here(model, [arrays], where)[0]

    with torch.random.fork_rng(devices=[]):
        check_declared(model, lambda arrays: rejection(module, arrays), prepare, where)


def told_rejection(built: BuiltModel, arrays: Arrays, said: str) -> ModelError:
    """Make the error of a module that rejects inputs, with what passes: a question."""
    where = str(built.file.path)

    def prepare(other: Arrays) -> Arrays:
        return prepared_here(built.model, [other], where)[0]

    return rejected(built.model, lambda other: rejection(built.module, other), prepare, arrays, said, where)


def _run_once(model: Model, module: torch.nn.Module, where: str) -> tuple[tuple[str, ...], Any]:
    (arrays,) = prepared_here(model, [uniform_set(model, traced_sizes(model), seed=0)], where)
    try:
        structure = run_eager(module, arrays)
    except (Exception, SystemExit) as error:  # it did not the first time, or there was no time
        what = "the model rejects inputs that its file declares"
        raise ModelError(what, wanted=describe(arrays), found=words(error), where=where) from error
    leaves = list(flatten(structure))
    for name, leaf in leaves:
        _check_output(name, leaf, where)
    names = tuple(name for name, _ in leaves)
    if not names or len(set(names)) < len(names):
        raise ModelError("the outputs cannot be told apart", wanted="one or more names", found=str(names), where=where)
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
