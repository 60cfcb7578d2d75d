"""Libraries of operators that a model file names (``Model(imports=…)``): importing one registers its operators."""

from __future__ import annotations

import importlib

from ..errors import ModelError
from .model import Model
from .user_code import users_code, words


def import_operators(model: Model, where: str) -> None:
    """Import the libraries of operators that a model file names, in this process.

    Raises:
        ModelError: One of them cannot be imported on this host.
    """
    for name in model.imports:
        try:
            with users_code():
                importlib.import_module(name)
        except (Exception, SystemExit) as error:
            raise ModelError(
                f"{name}, which the model file imports for its operators, cannot be imported on this host",
                wanted=f"import {name}",
                found=words(error),
                where=where,
                hint="install it beside torch, in the version that fits it; Model(imports=…) has names as `import` "
                "takes them",
            ) from error
