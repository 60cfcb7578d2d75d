"""Indices as outputs: what argmax, topk and sort have picked is judged by the values that it points to.

Of two values that are equal, or as good as equal, either may be picked: then another index is no error. So the
operators that pick are watched while the model runs, and an output of indices is traced back to the values that they
were picked from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ..agent.structure import flatten
from ..model import Array

_aten = torch.ops.aten
# Which of an operator's results are indices, and which of its arguments is the axis, by position, with its default.
PICKING: dict[Any, tuple[int | None, int, int | None]] = {
    _aten.argmax.default: (None, 1, None),
    _aten.argmin.default: (None, 1, None),
    _aten.max.dim: (1, 1, None),
    _aten.min.dim: (1, 1, None),
    _aten.topk.default: (1, 2, -1),
    _aten.sort.default: (1, 1, -1),
    _aten.sort.stable: (1, 2, -1),
    _aten.argsort.default: (None, 1, -1),
    _aten.kthvalue.default: (1, 2, -1),
}


@dataclass(frozen=True)
class Picked:
    """The values that indices were picked from.

    Attributes:
        values: float64[…].
        axis: along which they were picked; None: of all of them, laid flat.
        shape: of the indices, as the operator gave them, the axis kept.
        scale: the error that counts as 1; see harness.parity.comparison.
    """

    values: Array
    axis: int | None
    shape: tuple[int, ...]
    scale: float = 0.0

    def at(self, indices: Array) -> Array | None:
        """The value of each index; None where one is none, or is there twice along the axis."""
        there = indices.reshape(self.shape).astype(np.int64)
        values, axis = (self.values.reshape(-1), 0) if self.axis is None else (self.values, self.axis)
        length = values.shape[axis] if values.ndim else 1
        if ((there < 0) | (there >= length)).any():
            return None
        if not values.ndim:
            return np.broadcast_to(values, indices.shape)
        ordered = np.sort(there, axis=axis)
        if (np.diff(ordered, axis=axis) == 0).any():
            return None
        return np.take_along_axis(values, there, axis).reshape(indices.shape)


class Picking(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Watches the operators that pick while a model runs."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # By where the indices are stored: a view of them, such as one without the axis, shares that. The tensors are
        # kept, so that it is not used again for others.
        self._found: dict[int, tuple[torch.Tensor, Picked]] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """As harness.parity.promotion.Promoted's."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called for every operator."""
        result = func(*args, **(kwargs or {}))
        if func in PICKING:
            place, at, default = PICKING[func]
            axis = args[at] if len(args) > at else (kwargs or {}).get("dim", default)
            self._note(args[0], axis, result if place is None else result[place])
        elif func is _aten._to_copy.default and (known := self.of(args[0])) is not None:
            self._found[_place(result)] = (result, known)  # the same indices in another type
        return result

    def of(self, indices: torch.Tensor) -> Picked | None:
        """What an output's indices were picked from; None where it has none, or was reckoned with since."""
        _, found = self._found.get(_place(indices), (None, None))
        fits = found is not None and not indices.dtype.is_floating_point
        return found if fits and int(np.prod(found.shape)) == indices.numel() else None  # type: ignore[union-attr]

    def _note(self, values: torch.Tensor, axis: int | None, indices: torch.Tensor) -> None:
        if values.dtype == torch.bool or values.is_complex() or not indices.numel():
            return
        shape = tuple(indices.shape)
        if axis is None:
            shape = (1,)
        elif values.dim():
            axis %= values.dim()
            if indices.dim() < values.dim():  # without keepdim
                shape = (*shape[:axis], 1, *shape[axis:])
        wide: Array = values.detach().to(torch.float64).numpy().copy()
        self._found[_place(indices)] = (indices, Picked(wide, axis, shape))


def picked(run: Callable[[], Any]) -> dict[str, Picked]:
    """By output, what its indices were picked from while a model ran.

    Args:
        run: runs it; gives its outputs in their own nesting.
    """
    with Picking() as watched:
        outputs = run()
    found = ((name, watched.of(leaf)) for name, leaf in flatten(outputs))
    return {name: one for name, one in found if one is not None}


def _place(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
