"""Finding backends by their files, and reading a file into a Backend."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from pathlib import Path

from ..errors import BackendError
from ..host.suggestion import did_you_mean
from ._backend import Backend, Native


def _folders() -> Sequence[str]:
    return importlib.import_module(__package__).__path__


def backend_names() -> list[str]:
    """List the names of all backends, sorted. A file whose name begins with "_" is no backend."""
    modules = pkgutil.iter_modules(_folders())
    return sorted(module.name.replace("_", "-") for module in modules if not module.name.startswith("_"))


def load_backend(name: str) -> Backend:
    """Load a backend by its name; the file of ``onnxruntime-cpp`` is ``onnxruntime_cpp.py``.

    Raises:
        BackendError: there is no backend of that name.
    """
    names = backend_names()
    if name not in names:
        hint = did_you_mean(name, names)
        raise BackendError("no such backend", wanted="one of " + ", ".join(names), found=repr(name), hint=hint)
    module = importlib.import_module(f"{__package__}.{name.replace('-', '_')}")
    native: Native | None = getattr(module, "NATIVE", None)
    return Backend(
        name=name,
        artifact=module.ARTIFACT,
        providers=tuple(tuple(alternatives.split("|")) for alternatives in module.PACKAGES),
        options=module.OPTIONS,
        source=Path(module.__file__ or ""),
        native=native,
        operators=getattr(module, "OPERATORS", False),
    )
