"""The model file's own function of the outputs, applied to PyTorch's and to the backend's before they are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...agent.structure import flatten, rebuild
from ...errors import ModelError
from ...model.model import Array
from ...model.user_code import missing_file_hint, users_code, words

KINDS = "fiub"


def canonical(
    function: Callable[[Any], Any], structure: Any, outputs: Mapping[str, Array], where: str
) -> dict[str, Array]:
    """Apply the model file's ``canonical`` to outputs given by name.

    Args:
        function: the model file's ``canonical``.
        structure: the model's own nesting.
        outputs: by name, in the model's order. The function gets copies: it may write to them.
        where: the model file.

    Raises:
        ModelError: it raises, or returns something else than arrays of numbers.
    """
    given = ", ".join(f"{name}: {array.dtype}{list(array.shape)}" for name, array in outputs.items())
    try:
        with users_code():
            made = function(rebuild(structure, iter([array.copy() for array in outputs.values()])))
            leaves = {name: np.asarray(leaf) for name, leaf in flatten(made)}
    except (Exception, SystemExit) as error:
        wanted, found, hint = f"for {given}: outputs", words(error), missing_file_hint(error)
        raise ModelError("canonical() raised", wanted=wanted, found=found, where=where, hint=hint) from error
    wrong = [f"{name}: {leaf.dtype}" for name, leaf in leaves.items() if leaf.dtype.kind not in KINDS]
    if wrong or not leaves:
        wanted = f"for {given}: arrays of numbers, or tuples, lists and dicts of them"
        found = ", ".join(wrong) or "nothing"
        raise ModelError("canonical() returned no outputs", wanted=wanted, found=found, where=where)
    return {name: np.array(leaf, order="C") for name, leaf in leaves.items()}
