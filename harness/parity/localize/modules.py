"""Runs of the model in which its modules are watched, in its own types and in float64."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from ...model.build import BuiltModel, run_eager
from ...model.inputs import Arrays
from ...model.model import Array, Closeness
from ...model.prepare import prepared
from ..rule.float64 import run_in_float64
from ..rule.indices import Picked, with_scale
from ..rule.module_runs import in_float64
from ..rule.picks import Breaking, Breaks
from ..trials.space import InputSpace
from .location import Clock, Unlocated
from .record import Form, Record, arrays_of, forms_into, recorded, tensors, watched

if TYPE_CHECKING:
    import torch


class Modules:
    """The model in both types, for every set of inputs that is looked at.

    Args:
        samples: real inputs, at the measured sizes.
    """

    def __init__(self, built: BuiltModel, clock: Clock, samples: Sequence[Arrays] = ()) -> None:
        self.built = built
        self.samples = samples
        self.clock = clock
        tolerance = built.model.tolerance
        self.closeness = tolerance if isinstance(tolerance, Closeness) else None
        self.wide = in_float64(built)

    @property
    def names(self) -> list[str]:
        """The names of all modules."""
        return [name for name, _ in self.built.module.named_modules(remove_duplicate=False)]

    @property
    def unnamed(self) -> list[str]:
        """The names of those that are a ModuleDict: the older exporter leaves them out of its paths."""
        import torch

        named = self.built.module.named_modules(remove_duplicate=False)
        return [name for name, part in named if isinstance(part, torch.nn.ModuleDict)]

    @property
    def norms(self) -> list[str]:
        """The names of the batch norms, which exporters fold into what stands before them."""
        from torch.nn.modules.batchnorm import _BatchNorm

        return [name for name, part in self.built.module.named_modules() if isinstance(part, _BatchNorm)]

    @property
    def weighted(self) -> list[str]:
        """The names of the modules that have weights of their own."""
        named = self.built.module.named_modules()
        return [name for name, part in named if any(True for _ in part.parameters(recurse=False))]

    def eager(self, arrays: Arrays, only: Collection[str] | None = None) -> Record:
        """Run the model, and return what its modules give, in the order in which they end.

        Args:
            arrays: the inputs, by name.
            only: the names of the outputs that are wanted; all without it.
        """
        self.clock.check("the model ran on this host")
        with recorded(self.built.module, only=only) as record:
            run_eager(self.built.module, arrays)
        return arrays_of(record)

    def exact(self, arrays: Arrays, only: Collection[str] | None = None) -> Record:
        """Run the model in float64, and return what its modules give; see ``eager``."""
        with recorded(self.wide, only=only) as record:
            ran = self._run_in_float64(arrays)
        return arrays_of(record) if ran else {name: wide(array) for name, array in self.eager(arrays, only).items()}

    def forms(self, arrays: Arrays) -> tuple[dict[str, Form], dict[str, Form]]:
        """Return the forms of what the modules give: eager's and the float64 run's, without any numbers."""
        self.clock.check("the model ran on this host")
        eager: dict[str, Form] = {}
        exact: dict[str, Form] = {}
        with watched(self.built.module, forms_into(eager)):
            run_eager(self.built.module, arrays)
        with watched(self.wide, forms_into(exact)):
            ran = self._run_in_float64(arrays)
        return eager, exact if ran else {name: form.wide for name, form in eager.items()}

    def _run_in_float64(self, arrays: Arrays) -> bool:
        """Run the model in float64; return False where it cannot, and eager's answers are the reference anyway.

        Raises:
            Unlocated: it cannot, and there is nothing else to judge by.
        """
        self.clock.check("the model ran on this host in float64")
        try:
            run_in_float64(self.wide, tensors(arrays))
        except Exception as error:
            if self.closeness is None:
                raise Unlocated(f"the model does not run in float64: {type(error).__name__}: {error}") from error
            return False
        return True

    def picked(self, arrays: Arrays, only: Collection[str]) -> dict[str, Picked]:
        """Find what outputs that are indices were picked from, by output."""
        self.clock.check("the model ran on this host, its picks watched")
        near = Breaking(Breaks())
        with near, recorded(self.built.module, near, only) as record:
            run_eager(self.built.module, arrays)
        picks = {name: one for name in record if (one := near.noted.get(name)) is not None}
        if self.closeness is not None:
            return {name: replace(one, scale=self.closeness.allowed) for name, one in picks.items()}
        exact = Breaking(Breaks({number: call.indices for number, call in enumerate(near.calls)}))
        with exact, recorded(self.wide, exact, only):
            run_in_float64(self.wide, tensors(arrays))
        result = {name: with_scale(one, exact.noted.get(name)) for name, one in picks.items()}
        return {name: one for name, one in result.items() if one is not None}

    def broken(self, arrays: Arrays, which: str, only: Collection[str]) -> tuple[Record, Record]:
        """Run the model in both types with ties broken by index, and return what its modules give.

        Args:
            arrays: the inputs, by name.
            which: the index that comes first of equal keys: LOWEST or HIGHEST.
            only: the names of the outputs that are wanted.

        Raises:
            Unlocated: no operator picks anything.
        """
        self.clock.check("the model ran on this host, its ties broken")
        near = Breaking(Breaks(others=which))
        with near, recorded(self.built.module, only=only) as record:
            run_eager(self.built.module, arrays)
        if not near.calls:
            raise Unlocated("no operator picks anything")
        eager = arrays_of(record)
        if self.closeness is not None:
            return eager, {name: wide(array) for name, array in eager.items()}
        same = Breaks({number: call.indices for number, call in enumerate(near.calls)})
        with Breaking(same), recorded(self.wide, only=only) as exact:
            run_in_float64(self.wide, tensors(arrays))
        return eager, arrays_of(exact)

    @cached_property
    def usual(self) -> Mapping[str, float]:
        """The largest magnitude of each output on inputs that fill their range, on samples, or as it is declared."""
        declared = self.built.max_values
        # The model's own outputs are those of its only call, in this order.
        result = {f"@0:{index}": declared[name] for index, name in enumerate(self.built.outputs) if name in declared}

        def see(name: str, leaf: torch.Tensor) -> None:
            if leaf.is_floating_point():
                result[name] = max(result.get(name, 0.0), _largest(leaf))

        space = InputSpace(self.built.model, prepare=partial(prepared, self.built.file))
        for arrays in (*map(space.make, space.whole_range()), *self.samples):
            with watched(self.wide, see):
                self._run_in_float64(arrays)
        return result


def _largest(leaf: torch.Tensor) -> float:
    """Return the largest finite magnitude; 0 where there is none."""
    sizes = leaf.detach().abs()
    finite = sizes[sizes.isfinite()]
    return float(finite.max()) if finite.numel() else 0.0


def wide(array: Array) -> Array:
    """Return floats as float64, anything else as it is."""
    return array.astype(np.float64) if array.dtype.kind == "f" else array
