"""A model file and its module as a run sees them, while the code of both is in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from ...checks.limits import Metric
from ...errors import ModelError
from ..build import SOURCE, BuiltModel, build_model
from ..dimension import Sizes
from ..model import Model
from ..model_file import ModelFile, checked_limits, read_model
from ..user_code import words
from .process import ModelProcess
from .wire import Raised

# The fields of a Model that can be called, and so stay in the file's process.
CODE = ("build", "samples", "score", "prepare", "canonical")

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class HostedFile(ModelFile):
    """A model file, and the process that runs it. What can be called in its model is a StandIn here."""

    process: ModelProcess = field(compare=False, repr=False)

    def ask(
        self,
        question: Callable[Concatenate[ModelFile, Arguments], Answer],
        /,
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Answer:
        """Put a question about the file to the process that has it.

        Args:
            question: The function to call with the ModelFile; see BuiltModel for what it may take and return.
            args: Its further arguments.
            kwargs: Its keyword arguments.

        Raises:
            HilgateError: As ModelProcess.ask_file.
        """
        return self.process.ask_file(question, *args, **kwargs)


@dataclass(frozen=True)
class StandIn:
    """A placeholder in pytest's process for something in a model file that can be called, such as ``build``.

    hilgate itself never calls it, but asks the process. A test of the user's own may call it; only then is the file
    read in pytest's process too.
    """

    path: Path
    name: str

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Read the file in this process, and call what this stands for."""
        return getattr(_read_here(self.path), self.name)(*args, **kwargs)


_here: dict[Path, Model] = {}


def _read_here(path: Path) -> Model:
    if path not in _here:
        _here[path] = read_model(path)
    return _here[path]


class HostedModel(BuiltModel):
    """A BuiltModel whose module is in a process of its own.

    ``module`` and ``structure`` are built in pytest's process if a test of the user's own asks for them.
    """

    def __init__(self, file: HostedFile, outputs: tuple[str, ...], weights: Mapping[str, str]) -> None:
        vars(self).update(file=file, outputs=outputs, weights=weights, kept={}, process=file.process)

    def __repr__(self) -> str:
        """Show file and outputs: a dataclass's own repr, which pytest's tracebacks print, would build the module."""
        return f"HostedModel({str(self.file.path)!r}, outputs={self.outputs!r})"

    def ask(
        self,
        question: Callable[Concatenate[BuiltModel, Arguments], Answer],
        /,
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Answer:
        """Put a question to the process that has the module.

        Args:
            question: The function to call with the BuiltModel there.
            args: Its further arguments.
            kwargs: Its keyword arguments.

        Raises:
            HilgateError: As ModelProcess.ask.
        """
        process: ModelProcess = vars(self)["process"]
        return process.ask(question, *args, **kwargs)

    @property
    def search_path(self) -> tuple[str, ...]:
        """The path on which the file's code finds modules, as it was when the run was planned."""
        process: ModelProcess = vars(self)["process"]
        return process.search_path

    def cpu_s(self) -> float:
        """Return the CPU time of the module's process, in seconds."""
        process: ModelProcess = vars(self)["process"]
        return process.cpu_s()

    @cached_property
    def _here(self) -> BuiltModel:
        return build_model(self.file)

    @property
    def module(self) -> Any:
        """The module, built once more in this process."""
        return self._here.module

    @property
    def structure(self) -> Any:
        """The module's outputs in its own nesting."""
        return self._here.structure


def read_hosted(path: Path, metrics: Sequence[Metric]) -> HostedFile:
    """Read a model file in a process of its own, and validate its limits against the metrics that exist.

    Raises:
        ModelError: As harness.model.model_file.load_model; or its process died.
    """
    process = ModelProcess(path)
    try:
        declared, sizes = process.ask_file(declaration, list(metrics))
        process.expect("file", declaration, (list(metrics),), (declared, sizes))
    except BaseException as error:
        process.close()
        if not isinstance(error, Raised):
            raise
        raise ModelError("the model file cannot be read", found=words(error), where=str(path)) from error
    return HostedFile(declared.path, declared.model, declared.limits, process, sha256=declared.sha256)


def build_hosted(file: ModelFile) -> BuiltModel:
    """Build a file's model in the process of its code.

    Raises:
        ModelError: As build_model; or its process died.
    """
    if not isinstance(file, HostedFile):
        return build_model(file)
    outputs, weights, source = file.process.ask(built_facts)
    file.process.expect("built", built_facts, (), (outputs, weights, source))
    return HostedModel(file, outputs, weights)


def declaration(file: ModelFile, metrics: Sequence[Metric]) -> tuple[ModelFile, dict[str, int]]:
    """Return what a model file declares, without its code, and the sizes that parity uses most: a question.

    Raises:
        ModelError: A limit is not usable.
    """
    limits = checked_limits(file.path, file.model, metrics)
    declared: Model = _without_code(file.path, file.model, Model)
    return ModelFile(file.path, declared, limits, sha256=file.sha256), dict(declared.usual_sizes)


def built_facts(built: BuiltModel) -> tuple[tuple[str, ...], dict[str, str], str]:
    """Return a module's output names, its weights' hashes, and the hash of its file as it was read: a question."""
    return built.outputs, dict(built.weights), built.kept.get(SOURCE, "")


def _without_code(path: Path, value: Any, kind: type[Any]) -> Any:
    """Copy a declaration to one of harness's own classes, with StandIns for code.

    The constructor is not called: what it has filled in would be taken for the user's.
    """
    copy = object.__new__(kind)
    for item in fields(kind):
        content = getattr(value, item.name)
        is_code = kind is Model and item.name in CODE and content is not None
        object.__setattr__(copy, item.name, StandIn(path, item.name) if is_code else _plain(path, item.name, content))
    return copy


def _plain(path: Path, name: str, value: Any) -> Any:
    """Convert a declared value to Python's and harness's own types."""
    if isinstance(value, Sizes):  # keep which sizes the file itself gives: they decide what parity tries most
        sizes = Sizes.of(
            _plain(path, name, value.declared), _plain(path, name, {size: (0, value[size]) for size in value})
        )
        sizes.drawn = value.drawn
        return sizes
    if isinstance(value, Mapping):
        return {_plain(path, name, key): _plain(path, name, item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [_plain(path, name, item) for item in value]
        return items if isinstance(value, list) else tuple(items)
    if is_dataclass(value) and not isinstance(value, type):
        kind = next((kind for kind in type(value).__mro__ if kind.__module__.startswith("harness.")), type(value))
        return _without_code(path, value, kind)
    if isinstance(value, np.generic):
        return value.item()
    for base in (bool, int, float, str):
        if isinstance(value, base):
            return base(value)
    return value
