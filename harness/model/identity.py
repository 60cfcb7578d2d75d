"""Which model it is: one hash of weights and code, the same for all backends, and in every run where nothing changed.

The model is the module that build() returns. ``prepare`` and ``samples`` choose what it is tested with, ``canonical``,
``score`` and ``limits`` how it is judged, ``files`` and ``exporter`` how it is deployed: none of them is the model, and
what is deployed has a hash of its own, the artifact's.

Counted are the module's weights, buffers and attributes; the user's own code that it can reach, and that of the modules
which register its operators (``imports``); and the versions of installed packages whose classes are in it. torch's own
version is not: it is no part of the model, and stands in the fingerprint. Bytecode is what Python makes of the code, so
another minor version of Python makes another hash.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .fingerprint import code_sha256, module_sha256
from .imported import tree_of
from .user_code import users_code, words

if TYPE_CHECKING:
    import torch

    from .build import BuiltModel
    from .model_file import ModelFile

# A key of BuiltModel.kept: the Identity of the module as build() returned it.
IDENTITY = "identity"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """The hash of a model's weights and code.

    Attributes:
        sha256: it; None where it cannot be made.
        problem: why it cannot; "" if it can.
    """

    sha256: str | None = None
    problem: str = ""


def identify(file: ModelFile, module: torch.nn.Module) -> Identity:
    """Hash a module that has not run yet: running it may fill caches and write to buffers.

    Another module of the same model must have run, for what ``forward`` imports is only then known.
    """
    tree = tree_of(file.path) or file.path.resolve().parent
    try:
        with users_code("ignore"):  # attributes may pickle themselves
            parts = {
                "module": module_sha256(module, tree),
                "operators": {name: code_sha256(sys.modules[name], tree) for name in file.model.imports},
                "versions": _versions(module),
            }
    except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever the pickling of an attribute raises
        return Identity(problem=words(error).partition("\n")[0])
    return Identity(sha256=hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest())


def model_identity(built: BuiltModel) -> Identity:
    """Return a model's identity as it was found when it was built: a question."""
    identity = built.kept.get(IDENTITY)
    return identity if isinstance(identity, Identity) else identify(built.file, built.module)


def _versions(module: torch.nn.Module) -> dict[str, str]:
    """Return the versions of packages whose classes are in a module, by the package's name; torch's own left out."""
    names = {type(part).__module__.partition(".")[0] for part in module.modules()} - {"torch"}
    return {name: str(getattr(sys.modules.get(name), "__version__", "")) for name in names}
