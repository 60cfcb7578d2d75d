"""What each module of the model should give on one set of inputs: eager's outputs and the float64 run's, with the same
rule as for the outputs of the whole model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from ...model.build import BuiltModel, run_eager
from ...model.inputs import Arrays
from ...model.model import Array, Closeness
from ...model.prepare import prepared
from ..rounding.bounds import operator_perturbation
from ..rounding.conditioning import input_perturbation
from ..rule.comparison import Difference, Expected, compare_output, ulp
from ..rule.float64 import run_in_float64
from ..rule.indices import Picked, with_scale
from ..rule.module_runs import in_float64
from ..rule.picks import HIGHEST, LOWEST, Breaking, Breaks
from ..trials.space import InputSpace
from .location import Clock, TimeUp, Unlocated
from .record import Form, Record, arrays_of, forms_into, recorded, tensors, watched

if TYPE_CHECKING:
    import torch


# Of what modules give so many bytes are held at once, in both types and for all sets of inputs together; the model runs
# again for the next ones. Without a bound it was 5.6 GiB for a network of 2 M parameters and pictures of 320 x 320
# (issue 15).
HELD_BYTES = 256 << 20
# Computing the perturbation holds five times as many as it is asked for.
PERTURBATION_BYTES = 48 << 20


@dataclass(frozen=True)
class Call:
    """One call of a module, and what its outputs should be.

    Args:
        names: of its outputs.
        load: gives what they should be: the model may have to run for it.
    """

    module: str
    number: int
    names: tuple[str, ...]
    load: Callable[[Sequence[str]], tuple[Expected, ...]] = field(repr=False, compare=False)

    @property
    def outputs(self) -> tuple[Expected, ...]:
        """What they should be."""
        return self.load(self.names)


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
        """Of all modules."""
        return [name for name, _ in self.built.module.named_modules(remove_duplicate=False)]

    @property
    def unnamed(self) -> list[str]:
        """Of those that are a ModuleDict: the older exporter leaves them out of its paths."""
        import torch

        named = self.built.module.named_modules(remove_duplicate=False)
        return [name for name, part in named if isinstance(part, torch.nn.ModuleDict)]

    @property
    def norms(self) -> list[str]:
        """Of the batch norms, which exporters fold into what stands before them."""
        from torch.nn.modules.batchnorm import _BatchNorm

        return [name for name, part in self.built.module.named_modules() if isinstance(part, _BatchNorm)]

    @property
    def weighted(self) -> list[str]:
        """Of the modules that have weights of their own."""
        named = self.built.module.named_modules()
        return [name for name, part in named if any(True for _ in part.parameters(recurse=False))]

    def eager(self, arrays: Arrays, only: Collection[str] | None = None) -> Record:
        """What the modules give, in the order in which they end.

        Args:
            only: the outputs that are wanted.
        """
        self.clock.check("the model ran on this host")
        with recorded(self.built.module, only=only) as record:
            run_eager(self.built.module, arrays)
        return arrays_of(record)

    def exact(self, arrays: Arrays, only: Collection[str] | None = None) -> Record:
        """The same in float64."""
        with recorded(self.wide, only=only) as record:
            ran = self._run_wide(arrays)
        return arrays_of(record) if ran else {name: _wide(array) for name, array in self.eager(arrays, only).items()}

    def forms(self, arrays: Arrays) -> tuple[dict[str, Form], dict[str, Form]]:
        """The forms of what the modules give: eager's and the float64 run's, without any numbers."""
        self.clock.check("the model ran on this host")
        eager: dict[str, Form] = {}
        exact: dict[str, Form] = {}
        with watched(self.built.module, forms_into(eager)):
            run_eager(self.built.module, arrays)
        with watched(self.wide, forms_into(exact)):
            ran = self._run_wide(arrays)
        return eager, exact if ran else {name: form.wide for name, form in eager.items()}

    def _run_wide(self, arrays: Arrays) -> bool:
        """Run it in float64; False where it cannot, and is judged by a Closeness to eager's answers anyway."""
        self.clock.check("the model ran on this host in float64")
        try:
            run_in_float64(self.wide, tensors(arrays))
        except Exception as error:
            if self.closeness is None:
                raise Unlocated(f"the model does not run in float64: {type(error).__name__}: {error}") from error
            return False
        return True

    def picked(self, arrays: Arrays, only: Collection[str]) -> dict[str, Picked]:
        """Of outputs that are indices what they were picked from, by output."""
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
        found = {name: with_scale(one, exact.noted.get(name)) for name, one in picks.items()}
        return {name: one for name, one in found.items() if one is not None}

    def broken(self, arrays: Arrays, which: str, only: Collection[str]) -> tuple[Record, Record]:
        """What the modules give in both types where of equal keys the lowest index comes first, or the highest.

        Args:
            only: the outputs that are wanted.

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
            return eager, {name: _wide(array) for name, array in eager.items()}
        same = Breaks({number: call.indices for number, call in enumerate(near.calls)})
        with Breaking(same), recorded(self.wide, only=only) as exact:
            run_in_float64(self.wide, tensors(arrays))
        return eager, arrays_of(exact)

    @cached_property
    def usual(self) -> Mapping[str, float]:
        """The largest magnitude of each output on inputs that fill their range, on samples, or as it is declared."""
        declared = self.built.max_values
        # The model's own outputs are those of its only call, in this order.
        found = {f"@0:{index}": declared[name] for index, name in enumerate(self.built.outputs) if name in declared}

        def see(name: str, leaf: torch.Tensor) -> None:
            if leaf.is_floating_point():
                found[name] = max(found.get(name, 0.0), _largest(leaf))

        space = InputSpace(self.built.model, prepare=partial(prepared, self.built.file))
        for arrays in (*map(space.make, space.whole_range()), *self.samples):
            with watched(self.wide, see):
                self._run_wide(arrays)
        return found


class Points:
    """What all modules should give on one set of inputs.

    Args:
        room: so many bytes of it are held at once.
    """

    def __init__(self, modules: Modules, arrays: Arrays, room: int = HELD_BYTES) -> None:
        self.modules = modules
        self.arrays = arrays
        self.room = room
        self.tolerance = modules.built.model.parity_limit
        eager, exact = modules.forms(arrays)
        self._sizes = {
            name: form.bytes + exact[name].bytes
            for name, form in eager.items()
            if name in exact and form.is_like(exact[name])
        }
        self._held: dict[str, Expected] = {}
        self._tied: dict[str, list[Expected]] | None = None
        self._perturbations: dict[str, float] = {}
        names: dict[str, list[str]] = {}
        for name in self._sizes:
            names.setdefault(name.rpartition(":")[0], []).append(name)
        self.calls = [_call(name, tuple(each), self.load) for name, each in names.items()]

    def load(self, names: Sequence[str]) -> tuple[Expected, ...]:
        """What outputs should be. Where they are not held, they and as many of the next as there is room for are read.

        Raises:
            Unlocated: the model does not give them another time.
        """
        if any(name not in self._held for name in names):
            self._held = {}  # before the next are read
            self._held = self._read(self._window(names))
        return tuple(self._held[name] for name in names)

    @property
    def total(self) -> int:
        """What all outputs take, in both types."""
        return sum(self._sizes.values())

    def bytes(self, call: Call) -> int:
        """What a call's outputs take in eager's and the float64 run's types."""
        return sum(self._sizes[name] for name in call.names)

    def _window(self, names: Sequence[str]) -> list[str]:
        order = list(self._sizes)
        found = dict.fromkeys(names)
        left = self.room - sum(self._sizes[name] for name in names)
        for name in order[order.index(names[0]) :]:
            if name not in found:
                left -= self._sizes[name]
                if left < 0:
                    break
                found[name] = None
        return list(found)

    def _read(self, names: Sequence[str]) -> dict[str, Expected]:
        closeness = self.modules.closeness
        eager, exact = self.modules.eager(self.arrays, names), self.modules.exact(self.arrays, names)
        if any(name not in eager or name not in exact for name in names):
            raise Unlocated("the model takes another way when it runs again on the same input")
        return {name: Expected(name, eager[name], exact[name], closeness=closeness) for name in names}

    def call(self, like: Call) -> Call | None:
        """The same call on these inputs; None where the model did not make it: it may take another way."""
        return next((one for one in self.calls if (one.module, one.number) == (like.module, like.number)), None)

    def difference(self, expected: Expected, answer: Array, *, widened: bool = True) -> Difference:
        """By the rule of the whole check: a suspicious one is judged again by the wider rule.

        Args:
            widened: False for the plain rule alone.
        """
        found = compare_output(expected, answer)
        if not widened:
            return found
        if found.ratio > self.tolerance and expected.eager.dtype.kind in "iu":
            found = compare_output(replace(expected, picked=self._picked(expected.name)), answer)
        elif self.tolerance < found.ratio < np.inf and self.modules.closeness is None:
            found = compare_output(replace(expected, perturbation=self._perturbation(expected)), answer)
        if found.ratio > self.tolerance:
            others = [compare_output(one, answer) for one in self._ties(expected.name)]
            found = min([found, *others], key=lambda each: each.ratio)
        return found

    def _ties(self, name: str) -> list[Expected]:
        """The same output with ties broken by the lowest and by the highest index; a tie is no module's fault."""
        if self._tied is None or (name not in self._tied and self._tied):
            self._tied = self._read_ties(self._window([name]))
        return self._tied.get(name, [])

    def _read_ties(self, names: Sequence[str]) -> dict[str, list[Expected]]:
        """By output; empty where no operator picks anything, or the model does not run when it is watched.

        Raises:
            TimeUp: there is no more time.
        """
        found: dict[str, list[Expected]] = {name: [] for name in names}
        for which in (LOWEST, HIGHEST):
            try:
                eager, exact = self.modules.broken(self.arrays, which, names)
            except TimeUp:
                raise
            except Exception:  # noqa: BLE001
                return {}
            for one in _expected(eager, exact, self.modules.closeness):
                found.setdefault(one.name, []).append(one)
        return found

    def is_off(self, difference: Difference) -> bool:
        """Whether it is more than what may be."""
        return difference.ratio > self.tolerance

    def _picked(self, name: str) -> Picked | None:
        try:
            return self.modules.picked(self.arrays, [name]).get(name)
        except TimeUp:
            raise
        except Exception:  # noqa: BLE001  # it ran before, and not when it is watched: there is no more to say
            return None

    def _perturbation(self, expected: Expected) -> float:
        """Of one output; of all that are held beside it at once, for that takes a dozen runs of the model."""
        if expected.name not in self._perturbations:
            asked = {expected.name: expected.exact}
            for name, one in self._held.items():
                if sum(array.nbytes for array in asked.values()) + one.exact.nbytes <= PERTURBATION_BYTES:
                    asked[name] = one.exact
            self._perturbations |= self._perturbations_of(asked)
        return self._perturbations[expected.name]

    def _perturbations_of(self, exact: Record) -> dict[str, float]:
        modules = self.modules

        def eager_beside(beside: Arrays) -> Record:
            return modules.eager(beside, exact)

        def exact_beside(beside: Arrays) -> Record:
            return modules.exact(beside, exact)

        arrays, inputs = self.arrays, modules.built.model.inputs
        eager_here, exact_here = partial(eager_beside, arrays), partial(exact_beside, arrays)
        usual = _tried(lambda: modules.usual)
        perturbations = [
            _tried(lambda: input_perturbation(inputs, arrays, exact, eager_beside, exact_beside)),
            _tried(lambda: operator_perturbation(exact, eager_here, exact_here, self.tolerance)),
            {name: float(ulp(np.asarray(size), np.dtype("f4"))) for name, size in usual.items()},
        ]
        return {name: max(each.get(name, 0.0) for each in perturbations) for name in exact}


def _tried(look: Callable[[], Mapping[str, float]]) -> Mapping[str, float]:
    """Look beside an input, which the model may not take though it takes the input: then there is no more to say.

    Raises:
        Unlocated: there is no more time.
    """
    try:
        return look()
    except Unlocated:
        raise
    except Exception:  # noqa: BLE001  # whatever forward raises
        return {}


def points_of(modules: Modules, sets: Sequence[Arrays]) -> list[Points]:
    """Make the points of the first set of inputs, and of as many others as there is room for beside it."""
    first = Points(modules, sets[0])
    count = max(1, min(len(sets), HELD_BYTES // max(first.total, 1)))
    first.room = HELD_BYTES // count
    return [first, *(Points(modules, arrays, first.room) for arrays in sets[1:count])]


def _largest(leaf: torch.Tensor) -> float:
    """The largest finite magnitude."""
    sizes = leaf.detach().abs()
    finite = sizes[sizes.isfinite()]
    return float(finite.max()) if finite.numel() else 0.0


def _expected(eager: Record, exact: Record, closeness: Closeness | None) -> list[Expected]:
    """What outputs should be, where both runs have the same."""
    return [
        Expected(name, array, other, closeness=closeness)
        for name, array in eager.items()
        if (other := exact.get(name)) is not None
        and (other.shape, _wide(other).dtype) == (array.shape, _wide(array).dtype)
    ]


def _call(name: str, names: tuple[str, ...], load: Callable[[Sequence[str]], tuple[Expected, ...]]) -> Call:
    module, _, number = name.rpartition("@")
    return Call(module, int(number), names, load)


def _wide(array: Array) -> Array:
    return array.astype(np.float64) if array.dtype.kind == "f" else array
