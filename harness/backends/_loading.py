"""Finding backends by their files, checking a file, and reading it into a Backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import BackendError
from ..host.plugins import check_module, class_with, function, instance_of, load_module, module_names
from ..host.suggestion import did_you_mean
from ._backend import OPTION_KINDS, Backend, EngineType, Native

PACKAGE = "harness.backends"
ENDPOINT = "endpoint"
ENGINE_METHODS = [name for name in vars(EngineType) if not name.startswith("_")]


def backend_names() -> list[str]:
    """List the names of all backends, sorted. A file whose name begins with "_" is no backend."""
    return sorted(name.replace("_", "-") for name in module_names(PACKAGE))


def load_backend(name: str) -> Backend:
    """Load a backend by its name; the file of ``onnxruntime-cpp`` is ``onnxruntime_cpp.py``.

    Raises:
        BackendError: there is no backend of that name; or its file cannot be imported, or lacks what it must have.
    """
    names = backend_names()
    if name not in names:
        hint = did_you_mean(name, names)
        raise BackendError("no such backend", wanted="one of " + ", ".join(names), found=repr(name), hint=hint)
    module: Any = load_module(PACKAGE, name.replace("-", "_"), EVERY_BACKEND, "backend", BackendError)
    check_module(module, _further_contract(module), "backend", BackendError)
    return Backend(
        name=name,
        artifact=module.ARTIFACT,
        providers=tuple(tuple(alternatives.split("|")) for alternatives in module.PACKAGES),
        options=module.OPTIONS,
        source=Path(module.__file__),
        native=getattr(module, "NATIVE", None),
        operators=getattr(module, "OPERATORS", False),
        remote=getattr(module, "REMOTE", False) or getattr(module, "CLOUD", False),
        cloud=getattr(module, "CLOUD", False),
    )


def _text_problem(value: Any) -> str:
    return "" if isinstance(value, str) and value else f"it is {value!r}"


def _packages_problem(value: Any) -> str:
    if not isinstance(value, (tuple, list)) or not value:
        return f"it is {value!r}"
    return next((f"{item!r} is in it" for item in value if not isinstance(item, str) or not all(item.split("|"))), "")


def _options_problem(value: Any) -> str:
    if not isinstance(value, Mapping):
        return f"it is {value!r}"
    wrong = (f"it has {key!r}: {entry!r}" for key, entry in value.items() if not _is_option(key, entry))
    return next(wrong, "")


def _is_option(key: Any, entry: Any) -> bool:
    """Return whether an option is KEY: (KIND, DESCRIPTION); see OPTION_KINDS."""
    if not isinstance(key, str) or not isinstance(entry, tuple) or len(entry) != 2 or not isinstance(entry[1], str):
        return False
    kind = entry[0]
    is_choice = isinstance(kind, tuple) and bool(kind) and all(isinstance(value, str) for value in kind)
    return is_choice or (isinstance(kind, str) and kind in OPTION_KINDS)


Contract = dict[str, tuple[Callable[[Any], str], str]]
# What a backend's file must define, in Python and in C++.
EVERY_BACKEND: Contract = {
    "ARTIFACT": (_text_problem, 'the export format that it runs, such as ARTIFACT = "onnx"'),
    "PACKAGES": (_packages_problem, 'the packages that it needs on the device, such as PACKAGES = ("numpy",)'),
    "OPTIONS": (_options_problem, "KEY: (KIND, DESCRIPTION) of each option in the device file; OPTIONS = {} for none"),
}
PYTHON_BACKEND: Contract = {
    "preload": (function, "a function that imports the runtime, and does nothing else"),
    "Engine": (class_with(*ENGINE_METHODS), "a class with the methods of harness.backends.EngineType"),
}
NATIVE_BACKEND: Contract = {"NATIVE": (instance_of(Native), "a harness.backends.Native")}
OPTIONAL: Contract = {
    "OPERATORS": (instance_of(bool), "True or False: whether libraries register operators with it"),
    "REMOTE": (instance_of(bool), "True or False: whether the model runs on another computer, which it calls"),
    "CLOUD": (instance_of(bool), "True or False: whether that computer is in the cloud"),
}


def _endpoint_problem(value: Any) -> str:
    return "" if value == ENDPOINT else f"it is {value!r}"


def _no_endpoint_problem(value: Any) -> str:
    return "" if ENDPOINT in value else f"it has no {ENDPOINT!r}"


# What a backend that calls another computer must define, too; see harness.endpoint.
REMOTE_BACKEND: Contract = {
    "ARTIFACT": (_endpoint_problem, f'the description of what it calls: ARTIFACT = "{ENDPOINT}"'),
    "OPTIONS": (_no_endpoint_problem, f'"{ENDPOINT}": ("text", DESCRIPTION), which names what is called'),
}


def _further_contract(module: ModuleType) -> Contract:
    kind = NATIVE_BACKEND if hasattr(module, "NATIVE") else PYTHON_BACKEND
    if any(getattr(module, name, False) is True for name in ("REMOTE", "CLOUD")):
        kind = kind | REMOTE_BACKEND
    return kind | {name: rule for name, rule in OPTIONAL.items() if hasattr(module, name)}
