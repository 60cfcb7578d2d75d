"""Runs of a model on one input, in its own types and in float64, with its ties broken as one likes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..inputs import Arrays
from ..model import Closeness
from .comparison import Expected
from .conditioning import Run
from .picks import Breaks, Watched, watch
from .pointing import Picked, with_scale
from .reference import forms, outright

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ModelRuns:
    """What ties.Ties asks for.

    Attributes:
        module: whose parts are named.
        run_eager, run_exact: its answers for any input, in their own nesting.
        closeness: what the model file says of it: then there need be no float64 run.
        wider: expected outputs by the rule for suspicious inputs, with the given runs on inputs beside.
    """

    module: torch.nn.Module
    arrays: Arrays
    run_eager: Callable[[Arrays], Any]
    run_exact: Callable[[Arrays], Any]
    closeness: Closeness | None
    wider: Callable[[Arrays, list[Expected], Run, Run], list[Expected]]

    def eager(self, breaks: Breaks, arrays: Arrays | None = None) -> Watched:
        """In its own types."""
        return watch(self.module, lambda: self.run_eager(arrays or self.arrays), breaks)

    def exact(self, breaks: Breaks, arrays: Arrays | None = None) -> Watched:
        """In float64."""
        if self.closeness is not None:
            return self.eager(breaks, arrays)
        return watch(self.module, lambda: self.run_exact(arrays or self.arrays), breaks)

    def expected(self, eager: Watched, exact: Watched) -> list[Expected] | None:
        """What the outputs should be by these runs; None where the two have other shapes."""
        if self.closeness is not None:
            return outright(eager.outputs, self.closeness)
        if forms(eager.outputs) != forms(exact.outputs):
            return None
        return [Expected(name, array, exact.outputs[name]) for name, array in eager.outputs.items()]

    def widened(self, expected: list[Expected], eager: Watched) -> list[Expected]:
        """By the rule for suspicious inputs, with the same picks on every input beside."""
        same = Breaks({number: call.indices for number, call in enumerate(eager.calls)})
        return self.wider(
            self.arrays,
            expected,
            lambda beside: self.eager(same, beside).outputs,
            lambda beside: self.exact(same, beside).outputs,
        )

    def scaled(self, near: Picked, exact: Picked) -> Picked | None:
        """Keys in float64, with the error that counts as 1."""
        return with_scale(near, exact) if self.closeness is None else replace(near, scale=self.closeness.allowed)
