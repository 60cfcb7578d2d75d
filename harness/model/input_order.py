"""A check that inputs go to the parameters of ``forward`` that have their names."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..errors import ModelError

if TYPE_CHECKING:
    import torch


def parameter_names(module: torch.nn.Module) -> list[str]:
    """List the names of forward's positional parameters; return [] if they are unknown."""
    import torch

    inner = getattr(module, "_orig_mod", module)  # inside what torch.compile made
    while isinstance(inner, torch.nn.DataParallel):
        inner = inner.module
    forward: Any = inner.forward
    if isinstance(inner, torch.jit.ScriptModule):
        with suppress(AttributeError, RuntimeError):  # a module without a schema
            return [argument.name for argument in forward.schema.arguments[1:]]
    try:
        parameters = inspect.signature(forward).parameters.values()
    except (TypeError, ValueError):
        return []
    return [item.name for item in parameters if item.kind in (item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD)]


def check_input_order(inputs: Sequence[str], parameters: Sequence[str], where: str) -> None:
    """Refuse inputs that have the names of forward's parameters but not their places: they would be swapped silently.

    Args:
        inputs: The inputs' names, in the order in which they are passed to forward.
        parameters: The names of forward's parameters, see parameter_names. An input with none of these names may be
            passed to any of them.
        where: The model file, for messages.

    Raises:
        ModelError: Some are; the message names them, the parameters that they would go to, and the order to write.
    """
    swapped = [
        f"input {name} goes to forward's parameter {parameters[place]}"
        if place < len(parameters)
        else f"input {name} goes behind forward's parameters"
        for place, name in enumerate(inputs)
        if name in parameters and parameters.index(name) != place
    ]
    if not swapped:
        return
    free = iter(name for name in inputs if name not in parameters)
    last = max(parameters.index(name) for name in inputs if name in parameters)
    order = [name if name in inputs else next(free, f"({name})") for name in parameters[: last + 1]]
    missing = (
        "; the model needs an input for what stands in brackets, or a module around it whose forward leaves it out"
    )
    raise ModelError(
        "the inputs stand in another order than forward's parameters",
        wanted="inputs in the order " + ", ".join([*order, *free]),
        found=", ".join(swapped),
        where=where,
        hint="inputs go to forward by position: change their order"
        + (missing if any(name.startswith("(") for name in order) else ", or give them names that are none of its own"),
    )
