"""One call of an operator, and random errors for what it gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .summation import rounding

# A unit in the last place of 1.
ULP = 2.0**-23
# Errors of one sign within an operator, for roundings that all err one way; and with a sign of its own per element.
PATTERNS = ALIKE, EACH = ("alike", "each")

Change = Callable[["Errors", torch.Tensor], None]


@dataclass
class Errors:
    """Errors of random signs; the same for the same seed, whatever the step.

    Args:
        step: the part of each error that is made.
        pattern: one of PATTERNS.
    """

    step: float
    pattern: str
    seed: int

    def __post_init__(self) -> None:
        self._random = torch.Generator().manual_seed(self.seed)

    def of(self, sizes: torch.Tensor) -> torch.Tensor:
        """Make errors of these sizes, with random signs; 0 where a size is not finite."""
        shape = sizes.shape if self.pattern == EACH else ()
        signs = torch.randint(0, 2, shape, generator=self._random) * 2 - 1
        return torch.nan_to_num(sizes, nan=0.0, posinf=0.0, neginf=0.0) * signs * self.step


class Call:
    """One call of an operator, its arguments by their names."""

    def __init__(self, func: Any, args: Any, kwargs: Any) -> None:
        self.func, self.args, self.kwargs = func, args, kwargs
        named = func._schema.arguments
        given = {argument.name: value for argument, value in zip(named, args, strict=False)}
        self._values = {one.name: one.default_value for one in named if one.has_default_value()} | given | kwargs
        self._first = named[0].name

    def __getitem__(self, name: str) -> Any:
        return self._values.get(name)

    @property
    def named(self) -> dict[str, Any]:
        """All arguments but the first, by their names."""
        return {name: value for name, value in self._values.items() if name != self._first}

    @property
    def x(self) -> torch.Tensor:
        """The first argument."""
        result: torch.Tensor = self.args[0]
        return result

    def plain(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Call the operator with other arguments, in the form that writes to none of them."""
        name = name_of(self.func)
        operator = getattr(getattr(torch.ops.aten, name), "two" if name == "scatter_reduce" else "default")
        result: torch.Tensor = operator(*args, **{key: value for key, value in kwargs.items() if key != "out"})
        return result

    def terms(self, dims: Any = None) -> torch.Tensor:
        """Move the numbers of some dimensions (None: all) to the end, as one dimension: […, n]."""
        rank = self.x.dim()
        if not rank:
            return self.x.reshape(1)
        chosen = [dims] if isinstance(dims, int) else dims
        away = sorted(dim % rank for dim in chosen) if chosen else list(range(rank))
        kept = [dim for dim in range(rank) if dim not in away]
        return self.x.permute(*kept, *away).reshape(*(self.x.shape[dim] for dim in kept), -1)


def name_of(func: Any) -> str:
    """Return an operator's name, the same whether it writes to its argument or not."""
    return str(func._schema.name).removeprefix("aten::").removesuffix("_")


def rounding_of(terms: torch.Tensor, *, running: bool = False) -> torch.Tensor:
    """Bound the errors of sums over the last axis; see ``summation.rounding``."""
    return torch.from_numpy(np.asarray(rounding(terms.detach().numpy(), running=running)))


def add(result: torch.Tensor, more: torch.Tensor) -> None:
    """Add to a result in place, where it is a finite number."""
    result.add_(torch.where(result.isfinite(), more, 0.0))
