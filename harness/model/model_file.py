"""Model files: running one, taking its ``model``, and validating its limits. harness.model.model says what is in it."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import ModuleType
from typing import Concatenate, ParamSpec, TypeVar

from ..checks.limits import Limit, Metric, parse_limits
from ..errors import ModelError
from ..host.suggestion import did_you_mean
from .model import Closeness, Input, Model, Output
from .unordered import Unordered
from .user_code import (
    forget_source,
    import_from_source,
    missing_file_hint,
    parsed_arguments_hint,
    raised_at,
    source_sha256,
    users_code,
    words,
)

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")

# What a model file may declare, by name; and Python's message about an argument that one of them does not have.
DECLARATIONS = {kind.__name__: kind for kind in (Closeness, Input, Model, Output, Unordered)}
UNKNOWN_ARGUMENT = re.compile(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'")

# The folders of the model files read so far: Python cannot tell modules of one name in two of them apart.
_folders: list[Path] = []


@dataclass(frozen=True)
class ModelFile:
    """A model, the file that it comes from, and its validated limits.

    Attributes:
        sha256: The hash of the file as it was read; "" of one that was made by hand. No part of what the file
            declares: a comment that changes during a run changes nothing.
    """

    path: Path
    model: Model
    limits: tuple[Limit, ...]
    sha256: str = field(default="", kw_only=True, compare=False)

    @property
    def name(self) -> str:
        """The model's name in test ids, tables and evidence."""
        return self.model.name

    def ask(
        self,
        question: Callable[Concatenate[ModelFile, Arguments], Answer],
        /,
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Answer:
        """Put a question that needs the file's code, but no module, to the process that has it, which is this one.

        Args:
            question: The function to call with the ModelFile; see BuiltModel for what it may take and return.
            args: Its further arguments.
            kwargs: Its keyword arguments.

        Raises:
            Exception: Whatever the question raises.
        """
        return question(self, *args, **kwargs)


def read_model(path: Path) -> Model:
    """Run a model file and take its ``model``.

    The file's folder comes first on ``sys.path``, as it does for a script, so that it can import what lies beside it.
    The file runs as a module named after it, never after its path: the name goes into artifacts, whose hash must not
    depend on a folder.

    Raises:
        ModelError: There is no such file, it raises, or it has no usable ``model``.
    """
    where = str(path)
    if not path.is_file():
        hint = "name a Python file with a `model` in it: --model=FILE.py, or hil_model in pytest.ini"
        raise ModelError(
            "no such model file",
            wanted="a file",
            found="a folder" if path.is_dir() else "nothing",
            where=where,
            hint=hint,
        )
    module = _run(path)
    model = getattr(module, "model", None)
    if not isinstance(model, Model):
        found = "no `model`" if model is None else f"model of type {type(model).__name__}"
        raise ModelError("the file has no usable `model`", wanted="model = harness.Model(…)", found=found, where=where)
    named = replace(model, name=model.name or path.stem)
    if not re.fullmatch(r"[\w.-]+", named.name):
        fitting = re.sub(r"[^\w.-]+", "-", named.name).strip("-") or "…"
        wanted, found, hint = "letters, digits, _ . -", repr(named.name), f'give the model one: Model(name="{fitting}")'
        raise ModelError("the model's name is not usable", wanted=wanted, found=found, where=where, hint=hint)
    return named


def load_model(path: Path, metrics: Iterable[Metric]) -> ModelFile:
    """Read a model file, and validate its limits against the metrics that exist.

    Raises:
        ModelError: As read_model; or a limit is not usable.
    """
    model = read_model(path)
    return ModelFile(path.resolve(), model, checked_limits(path, model, metrics), sha256=source_sha256(path))


def checked_limits(path: Path, model: Model, metrics: Iterable[Metric]) -> tuple[Limit, ...]:
    """Validate a model's limits.

    Args:
        path: The model file, for messages.
        model: The model.
        metrics: The metrics that exist.

    Raises:
        ModelError: A limit is not usable, or could never be broken.
    """
    where = f"{path.name}: limits"
    limits = parse_limits(model.limits, metrics=metrics, owner="model", where=where, error=ModelError)
    _refuse_unreachable_share(model, where)
    _refuse_idle_limits(model, where)
    return limits


def _refuse_unreachable_share(model: Model, where: str) -> None:
    """Refuse a limit above 1 where a share is meant (95 for 0.95), and a miss rate of 1, which nothing can break."""
    shares = {
        "deadline_miss_rate": "the share of deadlines missed",
        "availability_min": "the share of calls that are answered",
    }
    if model.score is None:  # a score of the user's own may have any unit
        shares["accuracy_min"] = "top-1, the share that is right"
    for key, what in shares.items():
        limit = model.limits.get(key, 0.0)
        if limit > 1 or (limit == 1 and key == "deadline_miss_rate"):
            hint = f"{limit / 100:g}?" if limit > 1 else "a limit of 1 cannot be broken: take it out, or lower it"
            wanted = f"a share from 0 to 1 ({what})"
            raise ModelError(f"{key} is no share", wanted=wanted, found=f"{limit:g}", where=where, hint=hint)


def _refuse_idle_limits(model: Model, where: str) -> None:
    """Refuse limits that no measurement could break or keep: a gate must not look closed and be open."""
    if "accuracy_min" in model.limits and model.samples is None:
        hint = "give the model samples=…, or take the limit out"
        raise ModelError("accuracy_min without samples", wanted="labelled samples", where=where, hint=hint)
    if "start_jitter_p99_ms" in model.limits and model.clock is None:
        hint = "give the model rate_hz=…, or take the limit out"
        raise ModelError("start_jitter_p99_ms without rate_hz", wanted="a sensor's clock", where=where, hint=hint)
    if model.limits.get("availability_min") == 1:
        hint = "0.999 takes 4603 calls of which none fails, 0.99 takes 459"
        raise ModelError("no measurement can show an availability of 1", wanted="< 1", where=where, hint=hint)
    if "deadline_miss_rate" in model.limits:
        if "deadline_ms" not in model.limits:
            hint = "add deadline_ms, or take the limit out"
            raise ModelError("deadline_miss_rate without a deadline", wanted="deadline_ms", where=where, hint=hint)
        if model.limits["deadline_miss_rate"] == 0:
            hint = "0.001 takes 4603 samples without a miss, 0.01 takes 459"
            raise ModelError("no measurement can show a deadline_miss_rate of 0", wanted="> 0", where=where, hint=hint)


def _run(path: Path) -> ModuleType:
    """Run a model file as a module, with its folder first on ``sys.path``."""
    name = "hilgate_model_" + re.sub(r"\W", "_", path.stem)
    folder = path.resolve().parent
    _refuse_twins(folder, path)
    if sys.path[:1] != [str(folder)]:
        sys.path.insert(0, str(folder))
    import_from_source(folder)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModelError(
            "the model file is not Python", wanted="a name that ends in .py", found=path.name, where=str(path)
        )
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    found_before = list(sys.path)
    forget_source(path)
    try:
        with users_code():
            spec.loader.exec_module(module)
        # A file may put folders first; those that it removes are appended again, for hilgate itself imports from them.
        sys.path += [entry for entry in found_before if entry not in sys.path]
    except ModelError as error:
        where = f"{path}: {error.where}" if error.where else str(path)
        error.where = "\n".join(filter(None, [where, raised_at(error)]))
        raise
    except (Exception, SystemExit) as error:
        hint = missing_file_hint(error) or parsed_arguments_hint(error) or _misspelled_hint(error)
        raise ModelError("the model file cannot be run", found=words(error), where=str(path), hint=hint) from error
    return module


def _misspelled_hint(error: BaseException) -> str:
    """Suggest an argument, if the error is about one that a declaration does not have; else return ""."""
    match = UNKNOWN_ARGUMENT.match(str(error)) if isinstance(error, TypeError) else None
    kind = DECLARATIONS.get(match[1]) if match else None
    if match is None or kind is None:
        return ""
    names = [field.name for field in fields(kind)]
    return f"{did_you_mean(match[2], names)} {match[1]} has: {', '.join(names)}".strip()


def _refuse_twins(folder: Path, path: Path) -> None:
    """Refuse a model file beside which lie modules with the names of modules beside another model file of this process.

    Python would silently give it the other model's code. This happens only in a process that reads several model files:
    in a test of the user's own that takes the modules of two models.
    """
    for other in _folders:
        for neighbour in folder.iterdir():
            module = sys.modules.get(neighbour.stem)
            source = Path(getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), "/"))
            if other != folder and source.is_relative_to(other) and not source.is_relative_to(folder):
                raise ModelError(
                    f"two models bring a module {neighbour.stem!r} each",
                    wanted="one module of a name in a process",
                    found=f"{source} and {neighbour}",
                    where=str(path),
                    hint="give one of them another name, or run the models one by one",
                )
    if folder not in _folders:
        _folders.append(folder)
