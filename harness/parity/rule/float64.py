"""A float64 run of a model that was written for float32, also where its forward makes float32 tensors itself."""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from ...agent.structure import transform
from ...model.build import one_thread
from ...model.user_code import users_code

WIDE = {
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.float32: torch.float64,
    torch.complex32: torch.complex128,
    torch.complex64: torch.complex128,
}


class Promoted(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A mode in which every narrower float is a float64: tensors that operators get, and dtypes that are asked for.

    A tensor from outside (a constant that a module keeps as a plain attribute) is promoted once and then stands for the
    original in every later operator, so that writing to it is not lost.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # The originals are kept alive: an id must not be used again for another tensor.
        self._promoted: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Keep torch from importing torch._dynamo with the first operator, which takes seconds.

        Torch asks for this when the class is made.
        """
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator on promoted tensors."""
        if func is torch.ops.aten.view.dtype and _is_number(args[0].dtype) != _is_number(args[1]):
            raise TypeError(f"forward reads the bits of a number: it views {args[0].dtype} as {args[1]}")
        return func(*tree_map(self.promote, args), **tree_map(self.promote, kwargs or {}))

    def promote(self, value: Any) -> Any:
        """Return what stands for a tensor or a dtype; anything else as it is."""
        if isinstance(value, torch.dtype):
            return WIDE.get(value, value)
        if not isinstance(value, torch.Tensor) or value.dtype not in WIDE:
            return value
        known = self._promoted.get(id(value))
        if known is None:
            known = self._promoted[id(value)] = (value, value.detach().to(WIDE[value.dtype]))
        return known[1]


class _NoNumpy(TorchFunctionMode):
    """Refuses what leaves torch: there numbers may be rounded to float32 unseen."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function of torch that forward calls, unless it leaves torch."""
        if func in (torch.Tensor.numpy, torch.Tensor.__array__):
            raise TypeError("forward turns a tensor into a numpy array")
        return func(*args, **(kwargs or {}))


def _is_number(dtype: torch.dtype) -> bool:
    return dtype.is_floating_point or dtype.is_complex


def run_in_float64(module: torch.nn.Module, tensors: list[torch.Tensor]) -> Any:
    """Run a module whose own parameters are float64 already (module.double()): its answer in its own nesting.

    Raises:
        TypeError: forward does what has no meaning in float64.
        Exception: whatever forward raises.
    """
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad(), one_thread(), users_code("ignore"), _NoNumpy(), Promoted() as promoted:
            answer = module(*(promoted.promote(tensor) for tensor in tensors))
        # A constant may be an answer itself, and have been written to.
        return transform(promoted.promote, answer)
    finally:
        torch.set_default_dtype(default)
