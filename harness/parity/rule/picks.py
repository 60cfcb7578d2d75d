"""Runs of a model in which the operators that pick (topk, sort, argmax, …) are watched, and their ties broken at will.

What an operator picked is kept call by call: the keys that it saw, the indices that it chose by itself, and those that
it gave. A run may be told other indices: then the operator gives those and the values there, and all that comes after
(gathered rows, integers, boxes that suppress each other) follows from them. So a run with ties broken another way is a
run of the model itself, and no rule about what may be permuted is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ...agent.structure import flatten
from ...model.model import Array
from .indices import PICKING, Picked, Picking, picked_from

LOWEST, HIGHEST = "lowest", "highest"
NMS = "nms"


class Unbreakable(Exception):
    """A tie cannot be broken so: the operator was called with other shapes, or not at all."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of an operator that picks.

    Attributes:
        operator: its name, as in "topk".
        module: the innermost module around it, as in named_modules; "" is the model itself.
        keys: what it picked from.
        natural: the indices that it chose by itself, the axis kept; of nms, all boxes in the order of their scores.
        indices: those that it gave.
        kept: of nms, the boxes that were left, in order; of others the indices.
    """

    operator: str
    module: str
    keys: Picked
    natural: Array
    indices: Array
    kept: Array

    def __str__(self) -> str:
        return f"{self.operator} of " + (f"module {self.module}" if self.module else "the model itself")


@dataclass(frozen=True)
class Breaks:
    """How ties are to be broken.

    Attributes:
        orders: by the number of a call, the indices that it gives.
        others: of equal keys in other calls the "lowest" index comes first, or the "highest"; "": as they come.
    """

    orders: Mapping[int, Array] = field(default_factory=dict)
    others: str = ""


@dataclass(frozen=True)
class Watched:
    """A run of a model in which picks were watched.

    Attributes:
        outputs: by name.
        calls: of operators that pick, in order.
        places: by output that is a call's indices, the number of that call.
        operators: how many ran, of whatever kind.
    """

    outputs: Mapping[str, Array]
    calls: tuple[Call, ...]
    places: Mapping[str, int]
    operators: int = 0


class Breaking(Picking):  # type: ignore[no-untyped-call]
    """Watches while a model runs, and breaks ties as it is told.

    Args:
        most: of more operators it is said that the run does not end; None where any number may run.
    """

    def __init__(self, breaks: Breaks, most: int | None = None) -> None:
        super().__init__()
        self.breaks = breaks
        self.most = most
        self.operators = 0
        self.calls: list[Call] = []
        self.within: list[str] = []
        self._last: Picked | None = None

    def answer(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Return an operator's own answer, or the one that it is told to give."""
        self.operators += 1
        if self.most is not None and self.operators > self.most:
            raise Unbreakable(f"with these picks forward does not end within {self.most} operators")
        if _is_nms(func) and len(args) >= 3:
            return self._nms(func, *args[:3])
        result = func(*args, **kwargs)
        if func not in PICKING:
            return result
        place, at, default = PICKING[func]
        axis = args[at] if len(args) > at else kwargs.get("dim", default)
        own = result if place is None else result[place]
        keys = self._last = picked_from(args[0], axis, own)
        if keys is None or not keys.values.ndim:
            return result
        chosen = self._note(func, keys, own.detach().numpy().reshape(keys.shape).copy())
        if chosen is None:
            return result
        indices = torch.from_numpy(chosen).to(own.dtype)
        values = args[0].reshape(-1) if keys.axis is None else args[0]
        there = torch.take_along_dim(values, indices.reshape(keys.shape), keys.axis or 0).reshape(own.shape)
        return indices.reshape(own.shape) if place is None else (there, indices.reshape(own.shape))

    def _source(self, values: torch.Tensor, axis: int | None, indices: torch.Tensor) -> Picked | None:
        return self._last

    def _nms(self, func: Any, boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> Any:
        """Run nms with boxes of one score in the order that is told: it decides which box suppresses which."""
        natural = scores.detach().sort(stable=True, descending=True)[1]
        keys = picked_from(scores, 0, natural)
        if keys is None:
            return func(boxes, scores, threshold)
        order = self._choose(keys, natural.numpy().copy())
        result = func(boxes, scores, threshold)
        if order is not None:
            ranks = torch.empty(len(order), dtype=scores.dtype)
            ranks[torch.from_numpy(order)] = -torch.arange(len(order), dtype=scores.dtype)
            result = func(boxes, ranks, threshold)
        given = natural.numpy() if order is None else order
        self.calls.append(
            Call(
                operator=NMS,
                module=self._module,
                keys=keys,
                natural=natural.numpy(),
                indices=given,
                kept=result.numpy().copy(),
            )
        )
        return result

    def _note(self, func: Any, keys: Picked, natural: Array) -> Array | None:
        chosen = self._choose(keys, natural)
        given = natural if chosen is None else chosen
        self.calls.append(
            Call(operator=_name(func), module=self._module, keys=keys, natural=natural, indices=given, kept=given)
        )
        return chosen

    def _choose(self, keys: Picked, natural: Array) -> Array | None:
        order = self.breaks.orders.get(len(self.calls))
        if order is not None:
            if order.shape != natural.shape:
                raise Unbreakable(f"wanted {order.shape}; found {natural.shape}")
            return order.astype(np.int64)
        return by_index(keys, natural, self.breaks.others) if self.breaks.others else None

    @property
    def _module(self) -> str:
        return self.within[-1] if self.within else ""


def watch(
    module: torch.nn.Module, run: Callable[[], Any], breaks: Breaks | None = None, most: int | None = None
) -> Watched:
    """Run a model while its ties are watched, and broken as one likes.

    Args:
        module: whose parts are named in the calls.
        run: runs it; gives its outputs in their own nesting.
        breaks: how ties are broken; as they come, without it.
        most: as Breaking's.

    Raises:
        Unbreakable: it did not call as many operators that pick, or with other shapes; or it does not end.
        Exception: whatever forward raises.
    """
    breaks = breaks or Breaks()
    with Breaking(breaks, most) as watched, _named(module, watched.within):
        leaves = list(flatten(run()))
    if breaks.orders and max(breaks.orders) >= len(watched.calls):
        raise Unbreakable(f"there are {len(watched.calls)} calls")
    numbers = {id(call.keys): number for number, call in enumerate(watched.calls)}
    places = {name: numbers[id(one)] for name, leaf in leaves if (one := watched.of(leaf)) and id(one) in numbers}
    outputs = {name: np.array(leaf.detach().resolve_neg().numpy(), order="C") for name, leaf in leaves}
    return Watched(outputs, tuple(watched.calls), places, watched.operators)


def by_index(keys: Picked, natural: Array, which: str) -> Array | None:
    """Return picks with equal keys in the order of their indices; None where no two are equal."""
    values, chosen = slices(keys, natural)
    result = chosen.copy()
    # All NaN are equal keys.
    ranked = np.where(np.isnan(values), np.finfo(np.float64).max, values) if values.dtype.kind == "f" else values
    for number, row in enumerate(ranked):
        ordered = np.sort(row)
        twice = ordered[1:][ordered[1:] == ordered[:-1]]
        here = row[chosen[number]]
        for value in np.intersect1d(twice, here):
            sources = np.flatnonzero(row == value)
            places = np.flatnonzero(here == value)
            result[number, places] = (sources if which == LOWEST else sources[::-1])[: len(places)]
    return None if (result == chosen).all() else unsliced(result, keys)


def slices(keys: Picked, indices: Array) -> tuple[Array, Array]:
    """Return (keys[m, n], indices[m, k]): one row for all that is picked together."""
    if keys.axis is None:
        return keys.values.reshape(1, -1), indices.reshape(1, -1)
    values, result = (np.moveaxis(each, keys.axis, -1) for each in (keys.values, indices.reshape(keys.shape)))
    return values.reshape(-1, values.shape[-1]), result.reshape(-1, result.shape[-1])


def unsliced(rows: Array, keys: Picked) -> Array:
    """Return indices[m, k] in the operator's own shape, the axis kept; the inverse of ``slices``."""
    if keys.axis is None:
        return rows.reshape(keys.shape)
    moved = [size for axis, size in enumerate(keys.shape) if axis != keys.axis]
    return np.ascontiguousarray(np.moveaxis(rows.reshape(*moved, rows.shape[-1]), -1, keys.axis))


@contextmanager
def _named(module: torch.nn.Module, within: list[str]) -> Iterator[None]:
    """Keep the names of the modules that are running in a list, within the block."""

    def enter(name: str) -> Any:
        return lambda *_: within.append(name)

    def leave(*_: Any) -> None:
        within.pop()

    with ExitStack() as stack:
        for name, part in module.named_modules():
            if not isinstance(part, torch.jit.ScriptModule):
                stack.callback(part.register_forward_pre_hook(enter(name)).remove)
                stack.callback(part.register_forward_hook(leave, always_call=True).remove)
        yield


def _is_nms(func: Any) -> bool:
    """Tell whether an operator is torchvision's nms; torchvision need not be installed."""
    return str(func) == "torchvision.nms.default"


def _name(func: Any) -> str:
    return str(func).removeprefix("aten.").partition(".")[0]
