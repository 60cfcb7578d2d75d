"""A float64 run of a model that was written for float32, also where its forward makes float32 tensors itself."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

NARROW = {torch.float16, torch.bfloat16, torch.float32}


class Promoted(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within it every narrower float is a float64: tensors that operators meet, and dtypes that they are asked for.

    A tensor from outside (a constant that a module keeps as a plain attribute) is promoted once and then stands for the
    original in every later operator, so that writing to it is not lost.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # The originals are kept alive: an id must not be used again for another tensor.
        self._promoted: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called for every operator."""
        return func(*tree_map(self._promote, args), **tree_map(self._promote, kwargs or {}))

    def _promote(self, value: Any) -> Any:
        if isinstance(value, torch.dtype):
            return torch.float64 if value in NARROW else value
        if not isinstance(value, torch.Tensor) or value.dtype not in NARROW:
            return value
        known = self._promoted.get(id(value))
        if known is None:
            known = self._promoted[id(value)] = (value, value.detach().to(torch.float64))
        return known[1]


def run_in_float64(module: torch.nn.Module, tensors: list[torch.Tensor]) -> Any:
    """The answer of a module whose own parameters are float64 already (module.double())."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad(), Promoted():
            return module(*(tensor.double() if tensor.dtype in NARROW else tensor for tensor in tensors))
    finally:
        torch.set_default_dtype(default)
