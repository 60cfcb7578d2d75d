"""What each module of the model should give on one set of inputs: eager's outputs and the float64 run's, with the same
rule as for the outputs of the whole model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ...agent.structure import flatten
from ...build import BuiltModel, run_eager
from ...inputs import Arrays
from ...model import Array, Closeness
from ..comparison import Difference, Expected, compare_output, ulp
from ..conditioning import noise
from ..inputs import InputSpace
from ..pointing import Picked, Picking, with_scale
from ..promotion import run_in_float64
from ..reference import in_float64
from ..rounding import noise as rounding_noise
from .location import Clock, Unlocated

if TYPE_CHECKING:
    import torch

# Outputs of a module's calls, by "MODULE@CALL:LEAF": the calls of a module and the leaves of an output are counted.
Record = dict[str, Array]


@dataclass(frozen=True)
class Call:
    """One call of a module, and what its outputs should be."""

    module: str
    number: int
    outputs: tuple[Expected, ...]


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

    def eager(self, arrays: Arrays) -> Record:
        """What the modules give, in the order in which they end."""
        self.clock.check("the model ran on this host")
        with recorded(self.built.module) as record:
            run_eager(self.built.module, arrays)
        return _arrays(record)

    def exact(self, arrays: Arrays) -> Record:
        """The same in float64."""
        self.clock.check("the model ran on this host in float64")
        with recorded(self.wide) as record:
            try:
                run_in_float64(self.wide, tensors(arrays))
            except Exception as error:
                if self.closeness is None:
                    raise Unlocated(f"the model does not run in float64: {type(error).__name__}: {error}") from error
                return {name: _wide(array) for name, array in self.eager(arrays).items()}  # which it is judged by
        return _arrays(record)

    def picked(self, arrays: Arrays) -> dict[str, Picked]:
        """Of outputs that are indices what they were picked from, by output."""
        near, exact = Picking(), Picking()
        with near, recorded(self.built.module, near) as record:
            run_eager(self.built.module, arrays)
        picks = {name: one for name in record if (one := near.noted.get(name)) is not None}
        if self.closeness is not None:
            return {name: replace(one, scale=self.closeness.allowed) for name, one in picks.items()}
        with exact, recorded(self.wide, exact):
            run_in_float64(self.wide, tensors(arrays))
        found = {name: with_scale(one, exact.noted.get(name)) for name, one in picks.items()}
        return {name: one for name, one in found.items() if one is not None}

    @cached_property
    def usual(self) -> Mapping[str, float]:
        """The largest magnitude of each output on inputs that fill their range, on samples, or as it is declared."""
        declared = self.built.max_values
        # The model's own outputs are those of its only call, in this order.
        found = {f"@0:{index}": declared[name] for index, name in enumerate(self.built.outputs) if name in declared}
        space = InputSpace(self.built.model)
        for arrays in (*map(space.make, space.whole_range()), *self.samples):
            for name, array in self.exact(arrays).items():
                if array.dtype.kind == "f":
                    size = np.abs(array).max(initial=0.0, where=np.isfinite(array))
                    found[name] = max(found.get(name, 0.0), float(size))
        return found


class Points:
    """What all modules should give on one set of inputs."""

    def __init__(self, modules: Modules, arrays: Arrays) -> None:
        self.modules = modules
        self.arrays = arrays
        self.tolerance, closeness = modules.built.model.parity_limit, modules.closeness
        eager, self._exact = modules.eager(arrays), modules.exact(arrays)
        outputs: dict[str, list[Expected]] = {}
        for name, array in eager.items():
            other = self._exact.get(name)
            if other is not None and other.shape == array.shape and _kind(other) == _kind(array):
                outputs.setdefault(name.rpartition(":")[0], []).append(
                    Expected(name, array, other, closeness=closeness)
                )
        self.calls = [_call(name, tuple(each)) for name, each in outputs.items()]

    def call(self, like: Call) -> Call | None:
        """The same call on these inputs; None where the model did not make it: it may take another way."""
        return next((one for one in self.calls if (one.module, one.number) == (like.module, like.number)), None)

    def difference(self, expected: Expected, answer: Array) -> Difference:
        """By the rule of the whole check: a suspicious one is judged again by the wider rule."""
        found = compare_output(expected, answer)
        if found.ratio > self.tolerance and expected.eager.dtype.kind in "iu":
            found = compare_output(replace(expected, picked=self._picked.get(expected.name)), answer)
        elif self.tolerance < found.ratio < np.inf and self.modules.closeness is None:
            found = compare_output(replace(expected, noise=self._noise.get(expected.name, 0.0)), answer)
        return found

    def is_off(self, difference: Difference) -> bool:
        """Whether it is more than what may be."""
        return difference.ratio > self.tolerance

    @cached_property
    def _picked(self) -> Mapping[str, Picked]:
        try:
            return self.modules.picked(self.arrays)
        except Exception:  # noqa: BLE001  # it ran before, and not when it is watched: there is no more to say
            return {}

    @cached_property
    def _noise(self) -> Mapping[str, float]:
        modules = self.modules
        arrays, exact = self.arrays, self._exact
        noises = [
            _tried(lambda: noise(modules.built.model.inputs, arrays, exact, modules.eager, modules.exact)),
            _tried(
                lambda: rounding_noise(
                    exact, lambda: modules.eager(arrays), lambda: modules.exact(arrays), self.tolerance
                )
            ),
            {
                name: float(ulp(np.asarray(size), np.dtype("f4")))
                for name, size in _tried(lambda: modules.usual).items()
            },
        ]
        return {name: max(each.get(name, 0.0) for each in noises) for name in {**noises[0], **noises[1], **noises[2]}}


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


@contextmanager
def recorded(module: torch.nn.Module, picking: Picking | None = None) -> Iterator[dict[str, torch.Tensor]]:
    """A block in which the outputs of all calls of all modules are recorded, as they are when the call ends.

    Args:
        picking: is told their names, too.
    """
    record: dict[str, torch.Tensor] = {}
    calls: Counter[str] = Counter()
    last: list[tuple[torch.Tensor, int, torch.Tensor]] = []

    def copied(leaf: torch.Tensor) -> torch.Tensor:
        """As it is now; once for a module and those that only hand it on."""
        if not (last and last[0][0] is leaf and last[0][1] == leaf._version):
            last[:] = [(leaf, leaf._version, leaf.clone())]
        return last[0][2]

    def hook(name: str) -> Any:
        def note(module: torch.nn.Module, args: Any, output: Any) -> None:
            leaves = [leaf for _, leaf in flatten(output) if hasattr(leaf, "detach")]
            for index, leaf in enumerate(leaves):
                record[f"{name}@{calls[name]}:{index}"] = copied(leaf)
                if picking is not None:
                    picking.note(f"{name}@{calls[name]}:{index}", leaf)
            calls[name] += 1

        return note

    with ExitStack() as stack:
        for name, part in module.named_modules():
            stack.callback(part.register_forward_hook(hook(name)).remove)
        yield record


def tensors(arrays: Arrays) -> list[torch.Tensor]:
    """Inputs for forward."""
    import torch

    return [torch.from_numpy(array.copy()) for array in arrays.values()]


def _arrays(record: Mapping[str, torch.Tensor]) -> Record:
    found = {}
    for name, tensor in record.items():
        try:
            found[name] = np.array(tensor.resolve_conj().resolve_neg().numpy(), order="C")
        except (TypeError, RuntimeError):
            continue  # numpy has no such numbers (bfloat16, quantized, sparse): nothing to compare
    return found


def _call(name: str, outputs: tuple[Expected, ...]) -> Call:
    module, _, number = name.rpartition("@")
    return Call(module, int(number), outputs)


def _wide(array: Array) -> Array:
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def _kind(array: Array) -> str:
    return array.dtype.kind if array.dtype.kind == "f" else array.dtype.name
