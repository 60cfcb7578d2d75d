"""Backends: the ways to run an artifact. One file each, found by its name.

A backend of Python's has a file with ``ARTIFACT``, the format that it runs; ``PACKAGES``, what must be installed on the
device, by name, with "|" between names that will do as well (``"onnxruntime|onnxruntime-gpu"``); ``OPTIONS``, the keys
that ``[options.NAME]`` of a device file may have, each with what is expected; ``preload()``, which imports the runtime
and does nothing else; and a class ``Engine`` (see ``EngineType``).
It is shipped to the device as it is, so it imports the standard library and, inside ``Engine``, its runtime: nothing of
harness.

One of C++ has ``NATIVE``, what its engine in harness/runners is built from, in place of ``preload`` and ``Engine``.

One with ``OPERATORS = True`` runs operators that a library registers: what ``Model(imports=…)`` names is imported, or
its library opened, before the artifact is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..errors import BackendError
from ..host.plugins import check_module, class_with, function, instance_of, load_module, module_names
from ..host.suggestion import did_you_mean


class EngineType(Protocol):
    """What the agent asks of a backend's ``Engine``."""

    # "threads", "interop_threads", "flush_denormals", which it must set; and what it has options for
    def __init__(self, settings: Mapping[str, Any], options: Mapping[str, Any]) -> None: ...
    def load(self, artifact: str) -> None: ...
    # in the arrays' own memory: the agent sees by them whether the model writes into its inputs
    def prepare(self, inputs: Mapping[str, Any]) -> Any: ...
    def run(self, prepared: Any) -> Any: ...
    def arrays(self, raw: Any) -> Any: ...
    # (operator, its name or "", nanoseconds of each of its calls in so many inferences, in their order); what is run is
    # taken anew each time
    def profile(self, take: Callable[[], Any], count: int) -> list[tuple[str, str, list[float]]]: ...
    def output_names(self) -> list[str]: ...  # empty: the artifact does not know them, their nesting names them
    def versions(self) -> dict[str, str]: ...
    def settings(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Native:
    """What a C++ backend's runner is built from. Paths are those in the package's folder, as in its wheel.

    Attributes:
        engine: the source in harness/runners/engines.
        library: the runtime's own, which the runner opens; "{version}" stands for the package's.
        linked: what the engine is linked with beside it.
        includes: folders of headers; none where the package has none, and Debian's do.
        opened: how the paths begin of libraries that the runtime opens by name.
    """

    engine: str
    library: str
    linked: tuple[str, ...] = ()
    includes: tuple[str, ...] = ()
    opened: str = ""

    def library_in(self, version: str) -> str:
        """The runtime's own library, of one version of the package."""
        return self.library.format(version=version.partition("+")[0])

    def linked_in(self, version: str) -> tuple[str, ...]:
        """All that the engine is linked with."""
        return (self.library_in(version), *self.linked)


# What a backend may ask of an option's value. In place of such a name it may list the values, the default first.
OPTION_KINDS: Mapping[str, Callable[[Any], bool]] = {
    "texts": lambda value: isinstance(value, list) and bool(value) and all(isinstance(one, str) for one in value),
}


@dataclass(frozen=True)
class Backend:
    """The host's view of a backend's file."""

    name: str
    artifact: str
    providers: tuple[tuple[str, ...], ...]
    options: Mapping[str, tuple[str | tuple[str, ...], str]]
    source: Path
    native: Native | None = None
    operators: bool = False

    @property
    def packages(self) -> tuple[str, ...]:
        """What it needs, each by its first name."""
        return tuple(names[0] for names in self.providers)

    @property
    def defaults(self) -> dict[str, str]:
        """What an option is that the device file does not name."""
        return {key: kind[0] for key, (kind, _) in self.options.items() if isinstance(kind, tuple)}

    def check_options(self, options: Mapping[str, Any], where: str) -> None:
        """Refuse a key that this backend does not know.

        Raises:
            BackendError: naming the key, and what may stand there.
        """
        for key in options:
            if key not in self.options:
                known = "; ".join(f"{name} = {what}" for name, (_, what) in self.options.items()) or "no options"
                raise BackendError(
                    f"unknown option {key!r} of backend {self.name}", wanted=known, found=repr(key), where=where
                )
            kind, what = self.options[key]
            if not (options[key] in kind if isinstance(kind, tuple) else OPTION_KINDS[kind](options[key])):
                raise BackendError(
                    f"option {key!r} of backend {self.name} is not usable",
                    wanted=what,
                    found=repr(options[key]),
                    where=where,
                )


# What a backend's file must have, and what one of Python's, and of C++'s, must have beside it.
BACKEND = {
    "ARTIFACT": (instance_of(str), 'the export format that it runs, such as ARTIFACT = "onnx"'),
    "PACKAGES": (instance_of(tuple, list), 'packages that it needs on the device, such as PACKAGES = ("numpy",)'),
    "OPTIONS": (instance_of(dict), "options of the device file, key to (kind, description); OPTIONS = {} for none"),
}
METHODS = ("load", "prepare", "run", "arrays", "profile", "output_names", "versions", "settings")
PYTHON = {
    "preload": (function, "a function that imports the runtime"),
    "Engine": (class_with(*METHODS), "a class with the methods of harness.backends.EngineType"),
}
CPP = {"NATIVE": (instance_of(Native), "a harness.backends.Native")}


def backend_names() -> list[str]:
    """List every backend that exists, plug-ins among them."""
    return sorted(name.replace("_", "-") for name in module_names(__name__))


def load_backend(name: str) -> Backend:
    """Load a backend by its name; ``onnxruntime-cpp`` is in ``onnxruntime_cpp.py``.

    Raises:
        BackendError: there is none of that name; or its file cannot be imported, or lacks something.
    """
    names = backend_names()
    if name not in names:
        hint = did_you_mean(name, names)
        raise BackendError("no such backend", wanted="one of " + ", ".join(names), found=repr(name), hint=hint)
    module: Any = load_module(__name__, name.replace("-", "_"), BACKEND, "backend", BackendError)
    check_module(module, CPP if hasattr(module, "NATIVE") else PYTHON, "backend", BackendError)
    providers = tuple(tuple(names.split("|")) for names in module.PACKAGES)
    native: Native | None = getattr(module, "NATIVE", None)
    operators = getattr(module, "OPERATORS", False)
    return Backend(name, module.ARTIFACT, providers, module.OPTIONS, Path(module.__file__ or ""), native, operators)
