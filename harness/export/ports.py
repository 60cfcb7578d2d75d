"""Matching a given file's inputs, or its outputs, with a model's: by name, else by order, type and shape."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ModelError
from ..model.model import Input
from .shapes import Size

# What structure names an output that has no key of its own.
PLACED = re.compile(r"output(_\d+)*")
# So many inputs or outputs without a name of the model's are tried in other orders.
MOST_UNNAMED = 6


@dataclass(frozen=True)
class Port:
    """An input or output of a file, or of the module.

    Attributes:
        dtype: numpy's name of the element type; "" where nothing is said.
        sizes: None where nothing is said; see Declared.
        placed: whether its name only says its place, as in a tuple that TorchScript returns: then no name decides.
    """

    name: str
    dtype: str = ""
    sizes: Sequence[Size] | None = None
    placed: bool = False

    def __str__(self) -> str:
        sizes = (
            "" if self.sizes is None else f"[{', '.join('?' if size is None else str(size) for size in self.sizes)}]"
        )
        return f"{self.name}: {self.dtype}{sizes}" if self.dtype or sizes else self.name


def misfit(port: Port, item: Input) -> str:
    """Say why a file's input cannot be a model's; "" where it can."""
    if port.dtype and port.dtype != item.dtype:
        return f"the file's {port} is no {item.dtype}"
    if port.sizes is None:
        return ""
    if len(port.sizes) != len(item.shape):
        return f"the file's {port} has {len(port.sizes)} dimensions, and {item.name} {len(item.shape)}"
    for axis, (size, wanted) in enumerate(zip(port.sizes, item.shape, strict=True)):
        if isinstance(size, int) and isinstance(wanted, int) and size != wanted:
            return f"the file's {port} has {size} as dimension {axis}, and {item.name} {wanted}"
    return ""


def output_misfit(port: Port, wanted: Port, *, strict: bool) -> str:
    """Say why a file's output cannot be a module's; "" where it can.

    Args:
        strict: sizes count too; else the number of dimensions alone.
    """
    if port.dtype and _kind(port.dtype) != _kind(wanted.dtype):
        return f"the file's {port} is no {wanted.dtype}"
    if port.sizes is None or wanted.sizes is None:
        return ""
    if len(port.sizes) != len(wanted.sizes):
        return f"the file's {port} has {len(port.sizes)} dimensions, and {wanted.name} {len(wanted.sizes)}"
    pairs = zip(port.sizes, wanted.sizes, strict=True)
    differs = any(isinstance(size, int) and size != real for size, real in pairs)
    return f"the file's {port} is not of the shape {wanted}" if strict and differs else ""


def _kind(dtype: str) -> str:
    """Of a type: floats of any width are one kind, and so are integers."""
    try:
        return {"u": "i"}.get(np.dtype(dtype).kind, np.dtype(dtype).kind)
    except TypeError:  # bfloat16 and the like
        return "f" if "float" in dtype else dtype


Misfit = Callable[[Port, int], str]


@dataclass(frozen=True)
class Matching:
    """Of the inputs, or the outputs, of one file."""

    what: str
    ports: Sequence[Port]
    wanted: Sequence[Port]
    where: str
    may_lack: bool = False
    may_exceed: bool = False

    def pairs(self, misfit: Misfit, loose: Misfit | None = None) -> tuple[dict[int, int], str]:
        """Pair them: the file's places with the model's, and how that was done.

        Args:
            misfit: says why one of the file's cannot be one of the model's.
            loose: the same, for what is in order; less strict. None: as strict.

        Raises:
            ModelError: there is no way, or there are several.
        """
        names = [port.name for port in self.wanted]
        named = {
            place: names.index(port.name)
            for place, port in enumerate(self.ports)
            if port.name in names and not port.placed
        }
        if self.what == "input" and (wrong := [text for pair in named.items() if (text := self._said(misfit, *pair))]):
            raise self._unfit(wrong[0])
        rest = [place for place in range(len(self.ports)) if place not in named]
        missing = [index for index in range(len(names)) if index not in named.values()]
        if not rest and (not missing or (self.may_lack and named)):
            unread = ", ".join(names[index] for index in missing)
            return named, f"{self.what}s matched by name" + (f"; the file does not read {unread}" if unread else "")
        if not missing and self.may_exceed:
            return named, f"{self.what}s matched by name; left out: " + ", ".join(self.ports[p].name for p in rest)
        if len(rest) != len(missing):
            raise self._unfit(f"{len(self.ports)} {self.what}s in the file, {len(self.wanted)} in the model")
        order, how = self._assigned(rest, missing, misfit, loose)
        pairs = named | dict(zip(rest, order, strict=True))
        told = ", ".join(f"{self.ports[place].name} is {names[pairs[place]]}" for place in rest)
        return pairs, f"{self.what}s matched {'by name, the others ' if named else ''}{how}: the file's {told}"

    def _said(self, misfit: Misfit, place: int, index: int) -> str:
        return misfit(self.ports[place], index)

    def _assigned(
        self, rest: Sequence[int], missing: Sequence[int], misfit: Misfit, loose: Misfit | None
    ) -> tuple[Sequence[int], str]:
        def fits(order: Sequence[int], by: Misfit) -> bool:
            return not any(self._said(by, place, index) for place, index in zip(rest, order, strict=True))

        if fits(missing, misfit):
            return missing, "by order"
        orders = itertools.permutations(missing) if len(rest) <= MOST_UNNAMED else ()
        fitting = [order for order in orders if fits(order, misfit)]
        if len(fitting) == 1:
            return fitting[0], "by type and shape"
        if loose is not None and fits(missing, loose):
            return missing, "by order"
        if fitting:
            raise self._unfit("they fit in several ways")
        wrong = (self._said(misfit, place, index) for place, index in zip(rest, missing, strict=True))
        raise self._unfit(next(text for text in wrong if text))

    def _unfit(self, why: str) -> ModelError:
        listed = ("; ".join(map(str, ports)) or "none" for ports in (self.wanted, self.ports))
        wanted, found = listed
        return ModelError(
            "the given file is not one of this model: " + why,
            wanted=f"{self.what}s {wanted}",
            found=f"{self.what}s {found}",
            where=self.where,
            hint=f"declare {self.what}s as the file has them, or give the file's the model's names"
            if self.what == "input"
            else "give another file, or a module around the model whose forward returns what the file does",
        )


def seen_ports(names: Sequence[str], leaves: Sequence[Any]) -> list[Port]:
    """Describe outputs of torch's that were seen; see harness.agent.structure for the names that tuples give."""
    return [
        Port(name, str(leaf.dtype).removeprefix("torch."), tuple(leaf.shape), bool(PLACED.fullmatch(name)))
        for name, leaf in zip(names, leaves, strict=True)
    ]
