"""What every exporter needs: inputs to trace with, a module whose outputs are laid flat, what of it is scripted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..agent.structure import flatten
from ..model.inputs import Arrays, traced_sizes, uniform_set
from ..model.model import Model
from ..model.prepare import prepared_here

if TYPE_CHECKING:
    import torch


def example_arrays(model: Model, sizes: Mapping[str, int] | None = None, seed: int = 0) -> Arrays:
    """Give an array per input, spread over its range and prepared.

    Args:
        sizes: of its dimensions; such as can be told apart, where they are not given.

    Raises:
        ModelError: prepare cannot be used.
    """
    (arrays,) = prepared_here(model, [uniform_set(model, sizes or traced_sizes(model), seed)], model.name)
    return arrays


def example_tensors(model: Model) -> tuple[torch.Tensor, ...]:
    """Give the same as tensors, in the inputs' order."""
    import torch

    return tuple(torch.from_numpy(array) for array in example_arrays(model).values())


def laid_flat(module: torch.nn.Module) -> torch.nn.Module:
    """The module with a tuple of tensors as its output, whatever its own nesting."""
    import torch

    class Flat(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = module

        def forward(self, *inputs: Any) -> Any:
            return tuple(leaf for _, leaf in flatten(self.model(*inputs)))

    return Flat().eval()


def scripted_parts(module: torch.nn.Module) -> list[str]:
    """Name the outermost parts of a module that are TorchScript already; "" is the module itself."""
    import torch

    return _outermost(module, lambda part: isinstance(part, torch.jit.ScriptModule))


def compiled_parts(module: torch.nn.Module) -> list[str]:
    """Name the outermost parts of a module that torch.compile made."""
    return _outermost(module, lambda part: "_orig_mod" in dict(part.named_children()))


def _outermost(module: torch.nn.Module, is_it: Callable[[torch.nn.Module], bool]) -> list[str]:
    found: list[str] = []
    for name, part in module.named_modules():
        inside = any(not outer or name.startswith(f"{outer}.") for outer in found)
        if is_it(part) and not inside:
            found.append(name)
    return found
