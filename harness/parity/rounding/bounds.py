"""How far any order of summation, and any implementation of a bounded function, may move the outputs on one input.

Eager PyTorch adds pairwise, or in float64 (cumsum); a runtime that adds one after the other is off by more, and at
fault no more (issue 15). A sigmoid that is right to 1e-7 is as good as any near 1, and far off in units of 1e-9. Both
errors are made amid a network as well as at its end. So the float64 run is repeated with an error added to the
result of every operator that only adds numbers or has a bounded range (harness.parity.rounding.operator_errors lists
them), and the movement of an output counts as 1. Calls that eager itself makes in float64 are left alone. As in
harness.parity.rounding.conditioning, a movement that does not shrink with the errors is a jump of the model, and counts
for nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ...model.model import Array
from .conditioning import STEPS, is_smooth, largest_difference, patience
from .operator_call import PATTERNS, Call, Change, Errors, name_of
from .operator_errors import CHANGES

# At most so many errors at once are looked at: what a tolerance of 30 allows.
MANY = 30.0
# The sizes of errors that show on which side of a threshold a correct program may fall, in units of the bound: a sum of
# a few dozen numbers is off by some of them.
SIDES = (1.0, -1.0, 8.0, -8.0)


def operator_perturbation(
    here: Mapping[str, Array],
    eager: Callable[[], object],
    exact: Callable[[], Mapping[str, Array]],
    tolerance: float,
) -> dict[str, float]:
    """Return, by output, the error that counts as 1 for the reasons above.

    It takes eight runs in float64, and one of eager's.

    Args:
        here: what the float64 run gives, by output.
        eager: runs the model in its own types.
        exact: runs it in float64, and gives its outputs.
        tolerance: how many times such an error is allowed.

    Raises:
        RuntimeError: with errors the model does not come to an end.
        Exception: whatever it raises.
    """
    with Watching() as watched:
        eager()
    floats = {name: array for name, array in here.items() if array.dtype.kind == "f"}
    largest: dict[str, float] = {}
    many = max(min(tolerance, MANY), 1.0)
    for seed, pattern in enumerate(PATTERNS):
        moves: dict[str, list[float]] = {name: [] for name in floats}
        for part in (*(step / STEPS[0] for step in STEPS), many):
            with Perturbed(Errors(part, pattern, seed), watched) as perturbed:
                answer = exact()
            if not perturbed.count:
                return {}
            for name, there in floats.items():
                # Where the shape depends on the values, nothing can be subtracted; with NaN it is not smooth.
                same = answer[name].shape == there.shape
                moves[name].append(largest_difference(answer[name], there) if same else math.nan)
        for name, (*small, most) in moves.items():
            if is_smooth(*small) and not math.isnan(most):
                largest[name] = max(largest.get(name, 0.0), small[0], _each(small[0], most, many))
    return largest


def threshold_sides(eager: Callable[[], object], exact: Callable[[], Mapping[str, Array]]) -> list[Mapping[str, Array]]:
    """Run the model in float64 with such errors, of either sign: answers of correct programs, on all sides of jumps.

    Args:
        eager: runs the model in its own types.
        exact: runs it in float64, and gives its outputs.

    Raises: as ``operator_perturbation``.
    """
    with Watching() as watched:
        eager()
    result = []
    for pattern in PATTERNS:
        for step in SIDES:
            with Perturbed(Errors(step, pattern, 0), watched) as perturbed:
                result.append(exact())
            if not perturbed.count:
                return []
    return result


def _each(once: float, most: float, many: float) -> float:
    """Return what one of many errors moves an output by where they come back squared, as a mean's does in a variance.

    Of a picture that is flat but for one element, a mean that is off by 7 units moves that element as much as 49 do.
    What moves by more than their square has met a jump.
    """
    return most / many if most <= 2 * many**2 * once else 0.0


class _InParts(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A mode in which a transformer's layer runs as its operators, and not as one fused operator."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._calls: Counter[str] = Counter()
        self._fast = True

    def __enter__(self) -> Any:
        """Enter the mode, without the fast path."""
        self._fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        return super().__enter__()  # type: ignore[no-untyped-call]

    def __exit__(self, *exception: Any) -> None:
        """Leave the mode, and restore the fast path as it was."""
        super().__exit__(*exception)  # type: ignore[no-untyped-call]
        torch.backends.mha.set_fastpath_enabled(self._fast)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Keep torch from importing torch._dynamo; see harness.parity.rule.float64."""
        return False

    def _numbered(self, name: str) -> tuple[str, int]:
        """Count an operator's call among those of that name, and return both."""
        self._calls[name] += 1
        return name, self._calls[name]


class Watching(_InParts):  # type: ignore[no-untyped-call]
    """Watches which operators eager runs in float64: there is no float32 to be rounded to.

    Attributes:
        wide: its calls in float64, by name and number.
        count: how many operators ran, of whatever name.
    """

    def __init__(self) -> None:
        super().__init__()
        self.wide: set[tuple[str, int]] = set()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator, and note whether it ran in float64."""
        self.count += 1
        if (name := name_of(func)) in CHANGES and args:
            call = self._numbered(name)
            if ((kwargs or {}).get("dtype") or args[0].dtype) == torch.float64:
                self.wide.add(call)
        return func(*args, **(kwargs or {}))


class Perturbed(_InParts):  # type: ignore[no-untyped-call]
    """Puts an error to what operators give while a model runs in float64.

    Args:
        plain: a run without errors, in the model's own types. What is in float64 there is left alone; and by how many
            operators it took it is told that a loop no longer converges, for each of its rounds has other errors.

    Attributes:
        count: how many were given one.
    """

    def __init__(self, errors: Errors, plain: Watching | None = None) -> None:
        super().__init__()
        self.errors = errors
        self.wide = plain.wide if plain else set()
        self.count = 0
        self._left = patience(plain.count) if plain else math.inf

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator, and put an error to its result; it comes as float64.Promoted has promoted it."""
        self._left -= 1
        if self._left < 0:
            raise RuntimeError("with errors in its sums forward does not come to an end")
        kwargs = kwargs or {}
        known = self._known(name_of(func), args)
        if known is None:
            return func(*args, **kwargs)
        if kwargs.get("dtype") == torch.float64 and not args[0].dtype.is_floating_point:
            # Integers that are added as floats: convert first, for the operator's terms are the integers.
            args = (args[0].to(torch.float64), *args[1:])
        if args[0].dtype != torch.float64 or not args[0].numel():
            return func(*args, **kwargs)
        # Before it runs: it may write to what it is given.
        change = known(Call(func, args, kwargs))
        result = func(*args, **kwargs)
        if change is not None:
            self.count += 1
            change(self.errors, result)
        return result

    def _known(self, name: str, args: Any) -> Callable[[Call], Change | None] | None:
        """Return what puts an error to this call; None where it is left alone."""
        if name not in CHANGES or not args or self._numbered(name) in self.wide:
            return None
        return CHANGES[name]
