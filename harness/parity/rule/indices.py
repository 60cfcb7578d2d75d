"""Indices as outputs: what argmax, topk and sort have picked is judged by the values that it points to.

Of two values that are equal, or as good as equal, either may be picked: then another index is no error. So the
operators that pick are watched while the model runs, and an output of indices is traced back to the values that they
were picked from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ...model.model import Array
from ...model.module_state import version_of
from .ulp import ulp

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
    _aten.median.dim: (1, 1, None),
    _aten.nanmedian.dim: (1, 1, None),
}
# torch's key of an operator that is made of others.
COMPOSITE = "CompositeImplicitAutograd"


@dataclass(frozen=True)
class Picked:
    """The values that indices were picked from.

    Attributes:
        values: […], of float64 or of whole numbers.
        axis: along which they were picked; None: of all of them, laid flat.
        shape: of the indices, as the operator gave them, the axis kept.
        scale: the error that counts as 1 between two values of such a magnitude, […] -> […]; whole numbers have none.
    """

    values: Array
    axis: int | None
    shape: tuple[int, ...]
    scale: Callable[[Array], Array] | None = None

    def at(self, indices: Array) -> Array | None:
        """Return the value of each index; None where one is out of range, or is there twice along the axis."""
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

    def ratios(self, found: Array, wanted: Array) -> Array:
        """Return how far values that were picked are from those that should have been, element by element."""
        if self.scale is None:
            return np.where(found == wanted, 0.0, np.inf)
        with np.errstate(all="ignore"):
            same = (found == wanted) | (np.isnan(found) & np.isnan(wanted))
            finite = np.isfinite(found) & np.isfinite(wanted)
            errors = np.abs(found - wanted) / self.scale(np.maximum(np.abs(found), np.abs(wanted)))
        return np.where(same, 0.0, np.where(finite, errors, np.inf))


def with_scale(near: Picked | None, exact: Picked | None) -> Picked | None:
    """Return what float64 picked from, with how far float32 is off there; None where they picked from other things.

    Of two values the error that counts as 1 is a unit in the last place of the larger, or float32's largest own error
    on any value up to twice that large. Larger ones do not count: scores are masked with numbers like −1e9.

    Args:
        near: what the same operator picked from in the model's own types.
        exact: what it picked from in float64.
    """
    if near is None or exact is None or near.values.shape != exact.values.shape:
        return None
    if exact.values.dtype.kind != "f":
        return exact
    finite = np.isfinite(near.values) & np.isfinite(exact.values)
    sizes = np.abs(exact.values[finite])
    order = np.argsort(sizes)
    sizes = sizes[order]
    worst = np.maximum.accumulate(np.abs(near.values[finite] - exact.values[finite])[order])

    def scale(magnitudes: Array) -> Array:
        places = np.searchsorted(sizes, 2 * magnitudes, side="right")
        own = np.where(places > 0, np.append(worst, 0.0)[places - 1], 0.0)
        return np.maximum(own, ulp(magnitudes, np.dtype(np.float32)))

    return replace(exact, scale=scale)


class Picking(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Watches the operators that pick while a model runs.

    Attributes:
        noted: what was kept under names.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # By the address of the indices' storage, which a view of them shares. The tensors are kept alive, so that the
        # address is not used again; and their versions, for a tensor that was written to holds other indices.
        self._found: dict[int, tuple[torch.Tensor, int | None, Picked]] = {}
        self.noted: dict[str, Picked] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Keep torch from importing torch._dynamo; see harness.parity.rule.float64."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator, and keep what it picked from."""
        if func not in PICKING and torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), COMPOSITE):
            with self:  # in inference mode, what is made of other operators comes whole
                return func.decompose(*args, **(kwargs or {}))
        result = self.answer(func, args, kwargs or {})
        if func in PICKING:
            place, at, default = PICKING[func]
            axis = args[at] if len(args) > at else (kwargs or {}).get("dim", default)
            self._keep(args[0], axis, result if place is None else result[place])
        elif func is _aten._to_copy.default and (known := self.of(args[0])) is not None:
            self._found[_place(result)] = (result, version_of(result), known)  # the same indices in another type
        return result

    def answer(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Return what an operator gives; here its own answer."""
        return func(*args, **kwargs)

    def of(self, indices: torch.Tensor) -> Picked | None:
        """Return what an output's indices were picked from; None where it has none, or has them in another order."""
        if (known := self._found.get(_place(indices))) is None or indices.dtype.is_floating_point:
            return None
        _, version, result = known
        whole = indices.is_contiguous() and indices.storage_offset() == 0 and version_of(indices) == version
        return result if whole and _without_ones(indices.shape) == _without_ones(result.shape) else None

    def note(self, name: str, tensor: torch.Tensor) -> None:
        """Keep under a name what a tensor of indices was picked from, if it is one now."""
        if (found := self.of(tensor)) is not None:
            self.noted[name] = found

    def _keep(self, values: torch.Tensor, axis: int | None, indices: torch.Tensor) -> None:
        if (found := self._source(values, axis, indices)) is not None:
            self._found[_place(indices)] = (indices, version_of(indices), found)

    def _source(self, values: torch.Tensor, axis: int | None, indices: torch.Tensor) -> Picked | None:
        return picked_from(values, axis, indices)


def picked_from(values: torch.Tensor, axis: int | None, indices: torch.Tensor) -> Picked | None:
    """Return what an operator picked indices from, along its axis; None if that has no order, or nothing was picked."""
    if values.dtype == torch.bool or values.is_complex() or not indices.numel():
        return None
    shape = tuple(indices.shape)
    if axis is None:
        shape = (1,)
    elif values.dim():
        axis %= values.dim()
        if indices.dim() < values.dim():  # without keepdim
            shape = (*shape[:axis], 1, *shape[axis:])
    wide = values.detach().to(torch.float64) if values.dtype.is_floating_point else values.detach()
    return Picked(wide.numpy().copy(), axis, shape)


def _without_ones(shape: Sequence[int]) -> list[int]:
    return [size for size in shape if size != 1]


def _place(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
