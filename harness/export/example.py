"""Helpers of the exporters: example inputs, modules with flat outputs, and scripted or compiled parts of modules."""

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
    """Make an example array for each input: values spread over its range, and prepared.

    Args:
        model: the model.
        sizes: the size of each named dimension; default, sizes that can be told apart.
        seed: of the random values.

    Raises:
        ModelError: the model file's ``prepare`` cannot be used.
    """
    (arrays,) = prepared_here(model, [uniform_set(model, sizes or traced_sizes(model), seed)], model.name)
    return arrays


def example_tensors(model: Model) -> tuple[torch.Tensor, ...]:
    """Make the example inputs as tensors, in the inputs' order; see example_arrays."""
    import torch

    return tuple(torch.from_numpy(array) for array in example_arrays(model).values())


def laid_flat(module: torch.nn.Module) -> torch.nn.Module:
    """Wrap a module so that it returns a flat tuple of tensors, whatever nesting it returns itself."""
    import torch

    class Flat(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = module

        def forward(self, *inputs: Any) -> Any:
            return tuple(leaf for _, leaf in flatten(self.model(*inputs)))

    return Flat().eval()


def scripted_parts(module: torch.nn.Module) -> list[str]:
    """List the names of the outermost submodules that are TorchScript already; "" is the module itself."""
    import torch

    return _outermost(module, lambda part: isinstance(part, torch.jit.ScriptModule))


def compiled_parts(module: torch.nn.Module) -> list[str]:
    """List the names of the outermost submodules that torch.compile made; "" is the module itself."""
    return _outermost(module, lambda part: "_orig_mod" in dict(part.named_children()))


def _outermost(module: torch.nn.Module, is_match: Callable[[torch.nn.Module], bool]) -> list[str]:
    names: list[str] = []
    for name, part in module.named_modules():
        inside = any(not outer or name.startswith(f"{outer}.") for outer in names)
        if is_match(part) and not inside:
            names.append(name)
    return names
