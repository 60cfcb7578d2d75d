"""What each module of the model should give on one set of inputs: eager's outputs and the float64 run's, with the same
rule as for the outputs of the whole model."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ...agent.structure import flatten
from ...build import BuiltModel, call_build, run_eager
from ...inputs import Arrays
from ...model import Array, Closeness
from ..comparison import Difference, Expected, compare_output, ulp
from ..conditioning import noise
from ..inputs import InputSpace
from ..promotion import run_in_float64
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
    """The model in both types, for every set of inputs that is looked at."""

    def __init__(self, built: BuiltModel, clock: Clock) -> None:
        self.built = built
        self.clock = clock
        try:
            module = copy.deepcopy(built.module)
        except Exception:  # noqa: BLE001  # whatever an attribute's own copying raises
            module = call_build(built.model, str(built.file.path))
        self.wide = module.double()

    @property
    def names(self) -> list[str]:
        """Of all modules."""
        return [name for name, _ in self.built.module.named_modules(remove_duplicate=False)]

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
            run_in_float64(self.wide, tensors(arrays))
        return _arrays(record)

    @cached_property
    def usual(self) -> Mapping[str, float]:
        """The largest magnitude of each output on inputs that fill their range."""
        found: dict[str, float] = {}
        space = InputSpace(self.built.model)
        for recipe in space.whole_range():
            for name, array in self.exact(space.make(recipe)).items():
                if array.dtype.kind == "f":
                    size = np.abs(array).max(initial=0.0, where=np.isfinite(array))
                    found[name] = max(found.get(name, 0.0), float(size))
        return found


class Points:
    """What all modules should give on one set of inputs."""

    def __init__(self, modules: Modules, arrays: Arrays) -> None:
        self.modules = modules
        self.arrays = arrays
        model = modules.built.model
        self.tolerance = model.parity_limit
        closeness = model.tolerance if isinstance(model.tolerance, Closeness) else None
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
        if self.tolerance < found.ratio < np.inf:
            found = compare_output(replace(expected, noise=self._noise.get(expected.name, 0.0)), answer)
        return found

    def is_off(self, difference: Difference) -> bool:
        """Whether it is more than what may be."""
        return difference.ratio > self.tolerance

    @cached_property
    def _noise(self) -> Mapping[str, float]:
        modules = self.modules
        try:
            moved = noise(modules.built.model.inputs, self.arrays, self._exact, modules.eager, modules.exact)
            usual = {name: float(ulp(np.asarray(size), np.dtype("f4"))) for name, size in modules.usual.items()}
        except Unlocated:
            raise
        except Exception:  # noqa: BLE001  # it takes the input, and not one beside it: there is no more to say
            return {}
        return {name: max(moved.get(name, 0.0), usual.get(name, 0.0)) for name in {**moved, **usual}}


@contextmanager
def recorded(module: torch.nn.Module) -> Iterator[dict[str, torch.Tensor]]:
    """A block in which the outputs of all calls of all modules are recorded, as they are when the call ends."""
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
            record.update({f"{name}@{calls[name]}:{index}": copied(leaf) for index, leaf in enumerate(leaves)})
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


def _kind(array: Array) -> str:
    return array.dtype.kind if array.dtype.kind == "f" else array.dtype.name
