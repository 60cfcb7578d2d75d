"""The reference: eager PyTorch in float32, and the same model in float64. Computed once per input, for all cells."""

from __future__ import annotations

import copy
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..agent.structure import flatten
from ..build import BuiltModel, call_build, run_eager
from ..errors import HilgateError, ModelError
from ..inputs import Arrays, describe
from ..model import Array, Closeness
from .comparison import Expected, ulp
from .conditioning import noise
from .inputs import InputSpace

if TYPE_CHECKING:
    import torch

# Outputs kept for the cells to come; the oldest leave first.
KEPT_BYTES = 512 << 20


class NoReference(HilgateError):
    """The model has no float64 run to be compared with: it fails, or takes another way than in float32."""


class Reference:
    """What a model should answer, for any input.

    The float64 module is made on the first use: it takes twice the model's memory.

    Args:
        samples: gives real inputs, at the measured sizes, which the search mutates; called when they are needed.

    Attributes:
        computed: how many inputs were run, and not remembered.
    """

    def __init__(self, built: BuiltModel, samples: Callable[[], Sequence[Arrays]] = tuple) -> None:
        self.built = built
        self._samples = samples
        self._wide: torch.nn.Module | None = None
        self._known: OrderedDict[str, list[Expected]] = OrderedDict()
        self._bytes = 0
        self._usual: dict[str, float] | None = None
        self.computed = 0

    @cached_property
    def space(self) -> InputSpace:
        """The inputs that there are.

        Raises:
            ModelError: the model file's samples cannot be used.
        """
        return InputSpace(self.built.model, self._samples())

    def __call__(self, arrays: Arrays, key: str = "") -> list[Expected]:
        """What each output should be.

        Args:
            key: names the inputs, where they have a shorter name than all their bytes: a recipe's.

        Raises:
            ModelError: the model rejects inputs that its file declares.
            NoReference: it cannot be run in float64.
        """
        key = key or _digest(arrays)
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        expected = self._compute(arrays)
        self.computed += 1
        self._known[key] = expected
        self._bytes += _size(expected)
        while self._bytes > KEPT_BYTES and len(self._known) > 1:
            self._bytes -= _size(self._known.popitem(last=False)[1])
        return expected

    def picking(self, arrays: Arrays, key: str = "") -> list[Expected]:
        """The same, where indices know what they were picked from: two more runs of a model that has integer outputs.

        Raises: as a call.
        """
        expected = self(arrays, key)
        if all(one.eager.dtype.kind not in "iu" for one in expected):
            return expected
        from .pointing import picked, with_scale

        near = picked(lambda: run_eager(self.built.module, arrays))
        if (closeness := self._closeness) is not None:
            found = {name: replace(one, scale=closeness.allowed) for name, one in near.items()}
        else:
            exact = picked(lambda: self._run_wide(arrays))
            found = {name: one for name in near if (one := with_scale(near[name], exact.get(name))) is not None}
        return [replace(one, picked=found.get(one.name)) for one in expected]

    def widened(self, arrays: Arrays, key: str = "") -> list[Expected]:
        """As ``picking``, by a wider rule for an input that is suspicious: some twenty more runs of the model.

        What the input's own rounding does to the answer counts (see conditioning); so does what the order of a sum and
        the last place of a bounded function do (see rounding), and a unit in the last place of the output's largest
        element over the input's whole range, the samples, and what the model file declares. A sigmoid far down its tail
        is off by as much as one near 1: who takes its number uses it beside such.

        Raises: as a call.
        """

        def eager(beside: Arrays) -> Mapping[str, Array]:
            return _leaves(run_eager(self.built.module, beside))

        def exact(beside: Arrays) -> Mapping[str, Array]:
            return _leaves(self._run_wide(beside))

        expected = self.picking(arrays, key)
        if self._closeness is not None:
            return expected
        from .rounding import noise as rounding_noise

        here, limit = {one.name: one.exact for one in expected}, self.built.model.parity_limit
        noises = [
            _tried(lambda: noise(self.built.model.inputs, arrays, here, eager, exact)),
            _tried(lambda: rounding_noise(here, lambda: eager(arrays), lambda: exact(arrays), limit)),
            self._usual_ulps(),
        ]
        return [
            replace(one, noise=max(each.get(one.name, 0.0) for each in noises)) if one.eager.dtype.kind == "f" else one
            for one in expected
        ]

    def _usual_ulps(self) -> Mapping[str, float]:
        """Of each output's largest element on inputs that fill their range, on samples, or as it is declared."""
        if self._usual is None:
            usual = [self(self.space.make(recipe), recipe.key) for recipe in self.space.whole_range()]
            usual += [self(sample) for sample in self.space.samples]
            declared = self.built.max_values
            self._usual = {}
            for each in zip(*usual, strict=True):
                name, dtype = each[0].name, each[0].eager.dtype
                if dtype.kind == "f":
                    largest = max(declared.get(name, 0.0), *(one.magnitude for one in each))
                    self._usual[name] = float(ulp(np.asarray(largest), dtype))
        return self._usual

    def release(self) -> None:
        """Let go of the float64 module, for something that needs the memory; what was computed stays known."""
        self._wide = None

    def _compute(self, arrays: Arrays) -> list[Expected]:
        where = str(self.built.file.path)
        try:
            eager = _leaves(run_eager(self.built.module, arrays))
        except Exception as error:
            what, found = "the model rejects inputs that its file declares", f"{type(error).__name__}: {error}"
            raise ModelError(what, wanted=describe(arrays), found=found, where=where) from error
        if not self.computed and _differ(eager, _leaves(run_eager(self.built.module, arrays))):
            what, wanted = "the model has no reference", "the same answer each time forward gets the same input"
            found = "two answers for one input: forward draws random numbers, or keeps something from call to call"
            raise NoReference(what, wanted=wanted, found=found, where=where)
        if (closeness := self._closeness) is not None:
            return [
                Expected(
                    name, array, array.astype(np.float64) if array.dtype.kind == "f" else array, closeness=closeness
                )
                for name, array in eager.items()
            ]
        try:
            exact = _leaves(self._run_wide(arrays))
        except Exception as error:
            raise self._none(f"{type(error).__name__}: {error}") from error
        if (wanted := _forms(eager)) != (found := _forms(exact)):
            raise self._none(f"float32 gives {wanted}; float64 gives {found}")
        return [Expected(name, array, exact[name]) for name, array in eager.items()]

    def _none(self, found: str) -> NoReference:
        return NoReference(
            "the model has no float64 reference",
            wanted="a forward that also runs in float64, and gives outputs of the same shapes",
            found=found,
            where=str(self.built.file.path),
            hint="say outright how close is close enough: Model(tolerance=Closeness(rtol=…, atol=…))",
        )

    @property
    def _closeness(self) -> Closeness | None:
        tolerance = self.built.model.tolerance
        return tolerance if isinstance(tolerance, Closeness) else None

    def _run_wide(self, arrays: Arrays) -> Any:
        import torch

        from .promotion import run_in_float64

        if self._wide is None:
            self._wide = in_float64(self.built)
        return run_in_float64(self._wide, [torch.from_numpy(array.copy()) for array in arrays.values()])


def in_float64(built: BuiltModel) -> torch.nn.Module:
    """The same module again, doubled. A copy has what a second build need not have, such as an unseeded constant."""
    try:
        module = copy.deepcopy(built.module)
    except Exception:  # noqa: BLE001  # whatever an attribute's own copying raises
        module = call_build(built.model, str(built.file.path))
    return module.double()


def _tried(look: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Look beside an input, which the model may not take though it takes the input: then there is no more to say."""
    try:
        return look()
    except Exception:  # noqa: BLE001  # whatever forward raises
        return {}


def _leaves(structure: Any) -> dict[str, Array]:
    """Arrays of their own: an output may be a view of what the module keeps, and writes to in its next run."""
    return {name: np.array(leaf.detach().resolve_neg().numpy(), order="C") for name, leaf in flatten(structure)}


def _differ(one: Mapping[str, Array], other: Mapping[str, Array]) -> bool:
    """In any bit, but for what a NaN carries."""
    pairs = ((array, other[name]) for name, array in one.items())
    return any(not np.array_equal(first, second, equal_nan=first.dtype.kind == "f") for first, second in pairs)


def _forms(arrays: Mapping[str, Array]) -> str:
    """Names, kinds of number and shapes: what both runs must agree in."""
    kinds = {"f": "float", "i": "int", "u": "unsigned", "b": "bool"}
    kind = {name: kinds.get(array.dtype.kind, array.dtype.name) for name, array in arrays.items()}
    return ", ".join(f"{name}: {kind[name]}{list(array.shape)}" for name, array in arrays.items())


def _digest(arrays: Arrays) -> str:
    digest = hashlib.sha256(describe(arrays).encode())
    for array in arrays.values():
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _size(expected: list[Expected]) -> int:
    return sum(one.eager.nbytes + one.exact.nbytes for one in expected)
