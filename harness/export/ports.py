"""Matching the inputs or the outputs of a given file with a model's: by name, otherwise by order, type and shape."""

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

# The names that agent.structure gives to outputs without a key of their own.
PLACED = re.compile(r"output(_\d+)*")
# With more inputs or outputs that no name matches, other orders are not tried: their number grows as n!.
MOST_UNNAMED = 6


@dataclass(frozen=True)
class Port:
    """An input or output of a file or of the module.

    Attributes:
        dtype: numpy's name of the element type; "" where it is not declared.
        sizes: None where they are not declared; see Declared.
        placed: whether its name only states its position, as in a tuple that TorchScript returns; such a name is not
            matched.
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
    """Return why a file's input cannot be a model's input; "" where it can."""
    if port.dtype and port.dtype != item.dtype:
        return f"the file's {port} is no {item.dtype}"
    if port.sizes is None:
        return ""
    if len(port.sizes) != len(item.shape):
        return f"the file's {port} has {len(port.sizes)} dimensions, and {item.name} {len(item.shape)}"
    for axis, (size, expected) in enumerate(zip(port.sizes, item.shape, strict=True)):
        if isinstance(size, int) and isinstance(expected, int) and size != expected:
            return f"the file's {port} has {size} as dimension {axis}, and {item.name} {expected}"
    return ""


def output_misfit(port: Port, expected: Port, *, strict: bool) -> str:
    """Return why a file's output cannot be a module's output; "" where it can.

    Args:
        port: the file's output.
        expected: the module's output.
        strict: whether sizes must match; otherwise only the number of dimensions.
    """
    if port.dtype and _kind(port.dtype) != _kind(expected.dtype):
        return f"the file's {port} is no {expected.dtype}"
    if port.sizes is None or expected.sizes is None:
        return ""
    if len(port.sizes) != len(expected.sizes):
        return f"the file's {port} has {len(port.sizes)} dimensions, and {expected.name} {len(expected.sizes)}"
    pairs = zip(port.sizes, expected.sizes, strict=True)
    differs = any(isinstance(size, int) and size != real for size, real in pairs)
    return f"the file's {port} is not of the shape {expected}" if strict and differs else ""


def _kind(dtype: str) -> str:
    """Return the kind of an element type: floats of any width are one kind, and so are integers."""
    try:
        return {"u": "i"}.get(np.dtype(dtype).kind, np.dtype(dtype).kind)
    except TypeError:  # bfloat16 and the like
        return "f" if "float" in dtype else dtype


# Returns why a file's port cannot be the model's port of this index; "" where it can.
Misfit = Callable[[Port, int], str]


@dataclass(frozen=True, kw_only=True)
class Matching:
    """The matching of a file's inputs, or of its outputs, with the model's.

    Attributes:
        what: "input" or "output".
        ports: the file's.
        expected: the model's.
        where: the file, for errors.
        may_lack: whether the file may have fewer.
        may_exceed: whether the file may have more.
    """

    what: str
    ports: Sequence[Port]
    expected: Sequence[Port]
    where: str
    may_lack: bool = False
    may_exceed: bool = False

    def pairs(self, misfit: Misfit, loose: Misfit | None = None) -> tuple[dict[int, int], str]:
        """Pair the file's ports with the model's.

        Args:
            misfit: the rule that a pair must satisfy.
            loose: a less strict rule that is tried where the ports are paired in order; None for none.

        Returns:
            For each index of the file's ports, the index of the model's; and a note on how they were paired.

        Raises:
            ModelError: no pairing fits, or several do.
        """
        names = [port.name for port in self.expected]
        named = {
            place: names.index(port.name)
            for place, port in enumerate(self.ports)
            if port.name in names and not port.placed
        }
        if self.what == "input" and (
            wrong := [text for pair in named.items() if (text := self._problem(misfit, *pair))]
        ):
            raise self._unfit(wrong[0])
        rest = [place for place in range(len(self.ports)) if place not in named]
        missing = [index for index in range(len(names)) if index not in named.values()]
        if not rest and (not missing or (self.may_lack and named)):
            unread = ", ".join(names[index] for index in missing)
            return named, f"{self.what}s matched by name" + (f"; the file does not read {unread}" if unread else "")
        if not missing and self.may_exceed:
            return named, f"{self.what}s matched by name; left out: " + ", ".join(self.ports[p].name for p in rest)
        if len(rest) != len(missing):
            raise self._unfit(f"{len(self.ports)} {self.what}s in the file, {len(self.expected)} in the model")
        order, how = self._assigned(rest, missing, misfit, loose)
        pairs = named | dict(zip(rest, order, strict=True))
        listed = ", ".join(f"{self.ports[place].name} is {names[pairs[place]]}" for place in rest)
        return pairs, f"{self.what}s matched {'by name, the others ' if named else ''}{how}: the file's {listed}"

    def _problem(self, misfit: Misfit, place: int, index: int) -> str:
        return misfit(self.ports[place], index)

    def _assigned(
        self, rest: Sequence[int], missing: Sequence[int], misfit: Misfit, loose: Misfit | None
    ) -> tuple[Sequence[int], str]:
        def fits(order: Sequence[int], by: Misfit) -> bool:
            return not any(self._problem(by, place, index) for place, index in zip(rest, order, strict=True))

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
        wrong = (self._problem(misfit, place, index) for place, index in zip(rest, missing, strict=True))
        raise self._unfit(next(text for text in wrong if text))

    def _unfit(self, why: str) -> ModelError:
        listed = ("; ".join(map(str, ports)) or "none" for ports in (self.expected, self.ports))
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
    """Describe the outputs that torch returned.

    Args:
        names: the outputs' names; for those of tuples see harness.agent.structure.
        leaves: the tensors, in the same order.
    """
    return [
        Port(name, str(leaf.dtype).removeprefix("torch."), tuple(leaf.shape), bool(PLACED.fullmatch(name)))
        for name, leaf in zip(names, leaves, strict=True)
    ]
