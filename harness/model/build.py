"""Building: from a model file to a checked module: eval mode, equal weights twice, outputs that are tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from ..agent.frames import ITEM_SIZES
from ..agent.structure import flatten
from ..errors import ModelError
from .eager import one_thread, rejection, run_eager
from .fingerprint import weight_hashes
from .identity import IDENTITY, identify
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
    "explain_rejection",
    "one_thread",
    "run_eager",
]

# A key of BuiltModel.kept, set in the model's own process: no other code has changed anything there.
OWN_PROCESS = "own process"
# A key of BuiltModel.kept: the hash of the model file as that process read it.
SOURCE = "source"

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True)
class BuiltModel:
    """A module that was built from a model file, and what one eager run of it showed.

    Whatever needs the module is a *question*: a function in a module of harness whose first argument is a BuiltModel,
    and whose other arguments and answer are plain data (numbers, texts, arrays, dataclasses of harness). Questions are
    put by ``ask``, because the module may be in another process; see harness.model.process.

    Attributes:
        file: The model file.
        module: The module.
        outputs: The names of its outputs, in order; see harness.agent.structure.
        structure: The outputs of that run, in the model's own nesting.
        weights: The hash of each parameter and buffer, by name; see harness.model.fingerprint.
        touched: The names of buffers and attributes that the run made or changed; see harness.model.module_state.
        kept: What one question keeps for later ones, such as the float64 module.
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
        """What the model file declares."""
        return self.file.model

    @property
    def search_path(self) -> tuple[str, ...]:
        """The path on which the file's code finds modules."""
        return search_path()

    @property
    def max_values(self) -> Mapping[str, float]:
        """The largest magnitudes that the model file declares, by output, in the outputs' own units."""
        return {find_output(item.name, self.outputs, "outputs"): item.max_value for item in self.model.outputs}

    def ask(
        self,
        question: Callable[Concatenate[BuiltModel, Arguments], Answer],
        /,
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Answer:
        """Put a question to the process that has the module, which is this one.

        Args:
            question: The function to call with the BuiltModel.
            args: Its further arguments.
            kwargs: Its keyword arguments.

        Raises:
            Exception: Whatever the question raises.
        """
        return question(self, *args, **kwargs)

    def cpu_s(self) -> float:
        """Return the CPU time of the process that has the module, in seconds; 0 if it is this process."""
        return 0.0


def build_model(file: ModelFile, *, identified: bool = False) -> BuiltModel:
    """Build a model twice, compare the two, and run the second one once.

    Args:
        file: The model file.
        identified: Whether to hash weights and code before that run, for ``model_identity``; every weight is read.

    Raises:
        ModelError: build() raises, returns no module, a module in training mode, or other weights at the second call;
            the module's parameters have another order than the inputs; the module rejects declared inputs; its outputs
            are not tensors; or ``unordered`` or ``outputs`` name an output that it does not have.
    """
    import_operators(file.model, where := str(file.path))
    first = call_build(file.model, where)
    weights = weight_hashes(first, where)
    check_input_order([item.name for item in file.model.inputs], parameter_names(first), where)
    _check_declared(file.model, first, where)
    del first  # running it may have changed it, and a large model must not be held twice
    module = call_build(file.model, where)
    check_same_weights(weights, weight_hashes(module, where), where, "two builds")
    kept = {IDENTITY: identify(file, module)} if identified else {}
    from .module_state import changed, marks  # imports torch, which only building needs

    before = marks(module)
    outputs, structure = _run_once(file.model, module, where)
    file.model.row_sets(outputs)
    for item in file.model.outputs:
        find_output(item.name, outputs, "outputs")
    return BuiltModel(
        file=file,
        module=module,
        outputs=outputs,
        structure=structure,
        weights=weights,
        touched=changed(before, marks(module)),
        kept=kept,
    )


def call_build(model: Model, where: str) -> torch.nn.Module:
    """Call build() once, and check what it returns.

    Raises:
        ModelError: It raises, returns no module, or one that is in training mode in some part.
    """
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
    ]  # a frozen ScriptModule has no attribute `training`
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
    """Refuse builds whose weights differ.

    Args:
        first: The hashes of one build, by name.
        second: The hashes of the other.
        where: The model file, for messages.
        what: What is compared, such as "two builds".

    Raises:
        ModelError: Weights differ; the message names the first of them.
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
    """Refuse declared inputs that the module rejects. Running it may change it, so another one is built afterwards."""
    import torch

    def prepare(arrays: Arrays) -> Arrays:
        return prepared_here(model, [arrays], where)[0]

    with torch.random.fork_rng(devices=[]):
        check_declared(model, lambda arrays: rejection(module, arrays), prepare, where)


def explain_rejection(built: BuiltModel, arrays: Arrays, said: str) -> ModelError:
    """Make the error about a module that rejects inputs, with what it accepts instead: a question."""
    where = str(built.file.path)

    def prepare(other: Arrays) -> Arrays:
        return prepared_here(built.model, [other], where)[0]

    return rejected(built.model, lambda other: rejection(built.module, other), prepare, arrays, said, where)


def _run_once(model: Model, module: torch.nn.Module, where: str) -> tuple[tuple[str, ...], Any]:
    """Run the module on the export's example; return its outputs' names, and the outputs in its own nesting."""
    (arrays,) = prepared_here(model, [uniform_set(model, traced_sizes(model), seed=0)], where)
    try:
        structure = run_eager(module, arrays)
    except (Exception, SystemExit) as error:  # the first build accepted them, or there was no time to try
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
