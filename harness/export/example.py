"""What every exporter needs: inputs to trace with, a module whose outputs are laid flat, what of it is scripted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..agent.structure import flatten
from ..inputs import traced_sizes, uniform_set
from ..model import Model
from ..prepare import prepared_here

if TYPE_CHECKING:
    import torch


def example_tensors(model: Model) -> tuple[torch.Tensor, ...]:
    """One tensor per input, at sizes that can be told apart."""
    import torch

    (arrays,) = prepared_here(model, [uniform_set(model, traced_sizes(model), seed=0)], model.name)
    return tuple(torch.from_numpy(array) for array in arrays.values())


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
