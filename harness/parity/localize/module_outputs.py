"""What each module of the model should give on one set of inputs, by the same rule as the whole model's outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from ...model.inputs import Arrays
from ...model.model import Array, Closeness
from ..rounding.bounds import operator_perturbation
from ..rounding.conditioning import input_perturbation
from ..rule.comparison import Difference, Expected, compare_output
from ..rule.indices import Picked
from ..rule.picks import HIGHEST, LOWEST
from ..rule.ulp import ulp
from .location import TimeUp, Unlocated
from .modules import Modules, wide
from .record import Record

# How many bytes of modules' outputs are held at once, in both types and for all sets of inputs together; the model runs
# again for the next ones. Without a bound it was 5.6 GiB for a network of 2 M parameters and pictures of 320 x 320
# (issue 15).
HELD_BYTES = 256 << 20
# For how many bytes of outputs the perturbation is computed at once: it holds five times as many.
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
        """What the outputs should be."""
        return self.load(self.names)


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
        """Return what outputs should be.

        Where they are not held, the model runs for them and for as many of the next as there is room for.

        Raises:
            Unlocated: the model does not give them another time.
        """
        if any(name not in self._held for name in names):
            self._held = {}  # before the next are read
            self._held = self._read(self._window(names))
        return tuple(self._held[name] for name in names)

    @property
    def total(self) -> int:
        """Bytes that all outputs take, in both types."""
        return sum(self._sizes.values())

    def bytes(self, call: Call) -> int:
        """Count the bytes that a call's outputs take in eager's and the float64 run's types."""
        return sum(self._sizes[name] for name in call.names)

    def _window(self, names: Sequence[str]) -> list[str]:
        order = list(self._sizes)
        result = dict.fromkeys(names)
        left = self.room - sum(self._sizes[name] for name in names)
        for name in order[order.index(names[0]) :]:
            if name not in result:
                left -= self._sizes[name]
                if left < 0:
                    break
                result[name] = None
        return list(result)

    def _read(self, names: Sequence[str]) -> dict[str, Expected]:
        closeness = self.modules.closeness
        eager, exact = self.modules.eager(self.arrays, names), self.modules.exact(self.arrays, names)
        if any(name not in eager or name not in exact for name in names):
            raise Unlocated("the model takes another way when it runs again on the same input")
        return {name: Expected(name, eager[name], exact[name], closeness=closeness) for name in names}

    def call(self, like: Call) -> Call | None:
        """Find the same call on these inputs; None where the model did not make it: it may take another way."""
        return next((one for one in self.calls if (one.module, one.number) == (like.module, like.number)), None)

    def difference(self, expected: Expected, answer: Array, *, widened: bool = True) -> Difference:
        """Judge an output by the rule of the whole check: a suspicious one is judged again by the wider rule.

        Args:
            expected: what the output should be.
            answer: what was found.
            widened: False for the plain rule alone.
        """
        result = compare_output(expected, answer)
        if not widened:
            return result
        if result.ratio > self.tolerance and expected.eager.dtype.kind in "iu":
            result = compare_output(replace(expected, picked=self._picked(expected.name)), answer)
        elif self.tolerance < result.ratio < np.inf and self.modules.closeness is None:
            result = compare_output(replace(expected, perturbation=self._perturbation(expected)), answer)
        if result.ratio > self.tolerance:
            others = [compare_output(one, answer) for one in self._ties(expected.name)]
            result = min([result, *others], key=lambda each: each.ratio)
        return result

    def _ties(self, name: str) -> list[Expected]:
        """Return what an output should be with ties broken by the lowest and by the highest index.

        A tie is no module's fault.
        """
        if self._tied is None or (name not in self._tied and self._tied):
            self._tied = self._read_ties(self._window([name]))
        return self._tied.get(name, [])

    def _read_ties(self, names: Sequence[str]) -> dict[str, list[Expected]]:
        """Run the model with ties broken both ways; empty where no operator picks, or it does not run when watched.

        Raises:
            TimeUp: there is no more time.
        """
        result: dict[str, list[Expected]] = {name: [] for name in names}
        for which in (LOWEST, HIGHEST):
            try:
                eager, exact = self.modules.broken(self.arrays, which, names)
            except TimeUp:
                raise
            except Exception:  # noqa: BLE001
                return {}
            for one in _expected(eager, exact, self.modules.closeness):
                result.setdefault(one.name, []).append(one)
        return result

    def is_off(self, difference: Difference) -> bool:
        """Tell whether a difference is more than the rule allows."""
        return difference.ratio > self.tolerance

    def _picked(self, name: str) -> Picked | None:
        try:
            return self.modules.picked(self.arrays, [name]).get(name)
        except TimeUp:
            raise
        except Exception:  # noqa: BLE001  # it ran before, and not when it is watched: there is no more to say
            return None

    def _perturbation(self, expected: Expected) -> float:
        """Return the perturbation of one output.

        It is computed of all that are held beside it at once, for that takes a dozen runs of the model.
        """
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
    """Look beside an input; return nothing where the model takes the input, and not what is beside it.

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
    """Run the model on the first set of inputs, and on as many others as there is room for beside it."""
    first = Points(modules, sets[0])
    count = max(1, min(len(sets), HELD_BYTES // max(first.total, 1)))
    first.room = HELD_BYTES // count
    return [first, *(Points(modules, arrays, first.room) for arrays in sets[1:count])]


def _expected(eager: Record, exact: Record, closeness: Closeness | None) -> list[Expected]:
    """Make the expected outputs that both runs have in the same form."""
    return [
        Expected(name, array, other, closeness=closeness)
        for name, array in eager.items()
        if (other := exact.get(name)) is not None
        and (other.shape, wide(other).dtype) == (array.shape, wide(array).dtype)
    ]


def _call(name: str, names: tuple[str, ...], load: Callable[[Sequence[str]], tuple[Expected, ...]]) -> Call:
    module, _, number = name.rpartition("@")
    return Call(module, int(number), names, load)
