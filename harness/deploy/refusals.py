"""Recognizes why a runtime refuses an artifact, and says what to do next."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ..backends import Backend
from ..export import load_format

# ONNX Runtime's message; it does not name the types.
NO_KERNEL = re.compile(r"Could not find an implementation for (\w+)\(\d+\) node with name '([^']*)'")
# TorchScript's: "Unknown builtin op: torchvision::nms.", "Unknown type name '__torch__.torch.classes.name.Kind'".
UNKNOWN_OPERATOR = re.compile(r"Unknown builtin op: (\w+)::(\w+)")
UNKNOWN_CLASS = re.compile(r"__torch__\.torch\.classes\.(\w+)\.(\w+)")


def next_step(found: str, backend: Backend, artifact: Path | None, imports: Sequence[str], given: str) -> str:
    """Say what to do about a refusal; "" where its message is not known.

    Args:
        found: the runtime's message.
        backend: the backend that refused.
        artifact: the file that it refused.
        imports: the modules that the model file imports for their operators.
        given: the file that the model file gives in place of an export; "" where it gives none.
    """
    if (no_kernel := NO_KERNEL.search(found)) is not None:
        return _no_kernel(no_kernel[1], no_kernel[2], backend, artifact)
    if (unknown := UNKNOWN_OPERATOR.search(found) or UNKNOWN_CLASS.search(found)) is not None:
        return _unknown_operator(unknown[1], backend, imports)
    if imports and backend.operators and _is_about_import(found, imports):
        return (
            f"Model(imports={[*imports]!r}) is imported there for its operators: put the package into the device's "
            "runtime, in the version that was built for its torch"
        )
    return load_format(backend.artifact).refusal_hint(found, given)


def _no_kernel(operator: str, node: str, backend: Backend, artifact: Path | None) -> str:
    types = _types(operator, node, backend, artifact)
    of = f"{operator} of {', '.join(types)}" if types else f"{operator} for the types in the file"
    return (
        f"the runtime has no kernel of {of}, as ONNX Runtime's CPU has none for bfloat16: build the module in float32 "
        "(.float()), or leave the backend out"
    )


def _types(operator: str, node: str, backend: Backend, artifact: Path | None) -> Sequence[str]:
    if artifact is None:
        return []
    try:
        return load_format(backend.artifact).node_types(artifact, operator, node)
    except Exception:  # noqa: BLE001  # whatever reading the file raises: the runtime's words are there
        return []


def _unknown_operator(library: str, backend: Backend, imports: Sequence[str]) -> str:
    if library in ("aten", "prim"):
        return "the runtime there is older than the torch that exported the model: pin the same version for both"
    if not imports:
        return (
            f"the operators of {library} come from a library of their own: name the module whose import registers "
            f'them, Model(imports=["{library}"]), and put its package into the device\'s runtime'
        )
    opened = "opened" if backend.native is not None else "imported"
    return (
        f"{', '.join(imports)} was {opened} there, and does not register it: name the module that does, "
        f'Model(imports=["{library}"])'
    )


def _is_about_import(found: str, imports: Sequence[str]) -> bool:
    tops = [name.partition(".")[0] for name in imports]
    is_import = "ModuleNotFoundError" in found or "ImportError" in found or "OSError" in found
    is_library = "cannot open shared object" in found or "undefined symbol" in found
    return is_library or (is_import and any(top in found for top in tops))
