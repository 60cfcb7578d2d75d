"""Runs of a model on one input, in its own types and in float64, with its ties broken as one likes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ...model.inputs import Arrays
from ...model.model import Array
from ..rounding.conditioning import Run
from .comparison import Difference, Expected
from .expected import expected_of, forms, outright
from .indices import Picked, with_scale
from .module_runs import watch_eager, watch_exact
from .picks import Breaks, Watched
from .reference import Reference


@dataclass(frozen=True)
class ModelRuns:
    """What ties.Ties asks for.

    Attributes:
        reference: says how outputs are made canonical and compared, and puts questions to the module.
        wider: expected outputs by the rule for suspicious inputs, with the given runs on inputs beside.
    """

    reference: Reference
    arrays: Arrays
    wider: Callable[[Arrays, list[Expected], Run, Run, Breaks], list[Expected]]

    def cpu_s(self) -> float:
        """Tell how long this process and the one that has the module have computed."""
        return time.process_time() + self.reference.built.cpu_s()

    def eager(self, breaks: Breaks, arrays: Arrays | None = None) -> Watched:
        """Run the model in its own types, with ties broken as told."""
        return self._canonical(self.reference.built.ask(watch_eager, arrays or self.arrays, breaks))

    def exact(self, breaks: Breaks, arrays: Arrays | None = None) -> Watched:
        """Run the model in float64, with ties broken as told; by a Closeness, as ``eager``."""
        if self.reference.closeness is not None:
            return self.eager(breaks, arrays)
        return self._canonical(self.reference.built.ask(watch_exact, arrays or self.arrays, breaks))

    def _canonical(self, found: Watched) -> Watched:
        if self.reference.built.model.canonical is None:
            return found
        return replace(found, outputs=self.reference.made_canonical(found.outputs), places={})

    def compare(self, expected: list[Expected], names: Sequence[str], answers: Sequence[Array]) -> Difference:
        """Compare an answer with the expected outputs."""
        return self.reference.compare(expected, names, answers)

    def expected(self, eager: Watched, exact: Watched) -> list[Expected] | None:
        """Return what the outputs should be by these runs; None where the two have other shapes."""
        if self.reference.closeness is not None:
            return outright(eager.outputs, self.reference.closeness)
        if forms(eager.outputs) != forms(exact.outputs):
            return None
        return expected_of(eager.outputs, exact.outputs, self.reference.row_sets)

    def widened(self, expected: list[Expected], eager: Watched) -> list[Expected]:
        """Widen expected outputs by the rule for suspicious inputs, with the same picks on every input beside."""
        same = Breaks({number: call.indices for number, call in enumerate(eager.calls)})
        return self.wider(
            self.arrays,
            expected,
            lambda beside: self.eager(same, beside).outputs,
            lambda beside: self.exact(same, beside).outputs,
            same,
        )

    def scaled(self, near: Picked, exact: Picked) -> Picked | None:
        """Return keys in float64, with the error that counts as 1."""
        return (
            with_scale(near, exact)
            if self.reference.closeness is None
            else replace(near, scale=self.reference.closeness.allowed)
        )
