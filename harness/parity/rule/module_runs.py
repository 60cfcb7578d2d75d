"""Runs of the module that the parity check asks for: questions (see BuiltModel), put to the process that has it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...agent.structure import flatten
from ...errors import HilgateError
from ...model.build import BuiltModel, call_build, run_eager
from ...model.inputs import Arrays
from ...model.model import Array
from ...model.user_code import words
from ..rounding.conditioning import patience
from .canonical import canonical

if TYPE_CHECKING:
    import torch

    from .picks import Breaks, Watched
    from .purity import Impurity

# Keys of BuiltModel.kept: the float64 module; how many operators the longest watched run had.
FLOAT64, LONGEST = "float64", "longest"


@dataclass(frozen=True)
class Runs:
    """What a module gave for one set of inputs.

    Attributes:
        eager: in its own types, by output.
        exact: in float64.
        failure: why there is no float64 run; "" where there is one.
        has_picks: whether it was watched, and operators pick.
        picks: the run in its own types, where they pick something else than in float64 by itself; see picks.
    """

    eager: Mapping[str, Array]
    exact: Mapping[str, Array]
    _: KW_ONLY
    failure: str = ""
    has_picks: bool = False
    picks: Watched | None = None


def eager_leaves(built: BuiltModel, arrays: Arrays) -> dict[str, Array]:
    """Run the module as it is: its outputs by name."""
    return leaves(run_eager(built.module, arrays))


def run_both(built: BuiltModel, arrays: Arrays, *, exact: bool, watch: bool = False) -> Runs:
    """Run the module as it is, and in float64: one question for both, for the search puts it hundreds of times.

    Args:
        built: the model.
        arrays: the inputs, by name.
        exact: whether it is run in float64.
        watch: whether it is seen what operators pick.

    Raises:
        Exception: whatever forward raises in the module's own types.
    """
    from .picks import Breaks

    seen = None
    if watch:
        with suppress(Exception):  # what the model itself raises it raises again
            seen = watch_eager(built, arrays, Breaks())
    eager = seen.outputs if seen is not None else eager_leaves(built, arrays)
    has_picks = seen is not None and bool(seen.calls)
    try:
        if not (exact and has_picks and seen is not None):
            return Runs(eager, exact_leaves(built, arrays) if exact else {}, has_picks=has_picks)
        with suppress(Exception):  # what it raises when it is not watched counts
            wide = watch_exact(built, arrays, Breaks())
            return Runs(eager, wide.outputs, has_picks=True, picks=None if _pick_alike(seen, wide) else seen)
        return Runs(eager, exact_leaves(built, arrays), has_picks=True)
    except HilgateError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever forward raises in float64
        return Runs(eager, {}, failure=words(error))


def _pick_alike(near: Watched, far: Watched) -> bool:
    """Tell whether two runs pick the same: then the keys, as large as what is picked from, need not be sent."""
    return len(near.calls) == len(far.calls) and all(
        np.array_equal(one.indices, other.indices) for one, other in zip(near.calls, far.calls, strict=True)
    )


def exact_leaves(built: BuiltModel, arrays: Arrays) -> dict[str, Array]:
    """Run the module in float64: its outputs by name."""
    return leaves(run_wide(built, arrays))


def watch_eager(built: BuiltModel, arrays: Arrays, breaks: Breaks) -> Watched:
    """Run the module as it is, its ties broken as it is told."""
    return _watch(built, lambda: run_eager(built.module, arrays), breaks)


def watch_exact(built: BuiltModel, arrays: Arrays, breaks: Breaks) -> Watched:
    """Run the module in float64, its ties broken as it is told."""
    return _watch(built, lambda: run_wide(built, arrays), breaks)


def _watch(built: BuiltModel, run: Callable[[], Any], breaks: Breaks) -> Watched:
    """Run the model while its picks are watched, with an end where they are not its own.

    With other picks a loop of the model may never end: its own runs tell how many operators are too many.
    """
    from .picks import watch

    longest = built.kept.get(LONGEST)
    if breaks.orders or breaks.others:
        return watch(built.module, run, breaks, None if longest is None else patience(longest))
    result = watch(built.module, run, breaks)
    built.kept[LONGEST] = max(longest or 0, result.operators)
    return result


def rounding_perturbation(
    built: BuiltModel, arrays: Arrays, here: Mapping[str, Array], tolerance: float, breaks: Breaks | None
) -> dict[str, float]:
    """Find what any order of summation may move the outputs by; see rounding.

    Args:
        built: the model.
        arrays: the inputs, by name.
        here: what the float64 run gives, by output.
        tolerance: how many times an error is allowed.
        breaks: how ties are broken in it.
    """
    from ..rounding.bounds import operator_perturbation
    from .picks import watch

    def outputs() -> dict[str, Array]:
        if breaks is None:
            result = exact_leaves(built, arrays)
        else:
            result = dict(watch(built.module, lambda: run_wide(built, arrays), breaks).outputs)
        return result if built.model.canonical is None else made_canonical(built, result)

    return operator_perturbation(here, lambda: run_eager(built.module, arrays), outputs, tolerance)


def rounding_sides(built: BuiltModel, arrays: Arrays) -> list[Mapping[str, Array]]:
    """Find what right programs may give where a comparison or a rounding jumps; see rounding."""
    from ..rounding.bounds import threshold_sides

    def outputs() -> dict[str, Array]:
        result = exact_leaves(built, arrays)
        return result if built.model.canonical is None else made_canonical(built, result)

    return threshold_sides(lambda: run_eager(built.module, arrays), outputs)


def made_canonical(built: BuiltModel, outputs: Mapping[str, Array]) -> dict[str, Array]:
    """Have the model file's canonical make outputs comparable.

    Raises:
        ModelError: it raises, or returns something else than arrays.
    """
    function = built.model.canonical
    assert function is not None, "nobody asks where there is none"
    return canonical(function, built.structure, outputs, str(built.file.path))


def release_float64(built: BuiltModel) -> None:
    """Let go of the float64 module; the next question that needs it makes it again."""
    built.kept.pop(FLOAT64, None)


def run_wide(built: BuiltModel, arrays: Arrays) -> Any:
    """Run the module in float64: its outputs in their own nesting."""
    import torch

    from .float64 import run_in_float64

    if FLOAT64 not in built.kept:
        built.kept[FLOAT64] = in_float64(built)
    return run_in_float64(built.kept[FLOAT64], [torch.from_numpy(array.copy()) for array in arrays.values()])


def in_float64(built: BuiltModel) -> torch.nn.Module:
    """Copy the module, in float64.

    A copy, for it has what a second build need not have, such as a constant that is drawn without a seed.
    """
    try:
        module = copy.deepcopy(built.module)
    except Exception:  # noqa: BLE001  # whatever an attribute's own copying raises
        module = call_build(built.model, str(built.file.path))
    return module.double()


def leaves(structure: Any) -> dict[str, Array]:
    """Copy outputs into arrays, by name: one may be a view of what the module keeps, and writes to in its next run."""
    return {name: np.array(leaf.detach().resolve_neg().numpy(), order="C") for name, leaf in flatten(structure)}


def find_impurity(built: BuiltModel, sets: Sequence[Arrays]) -> Impurity | None:
    """Look for two answers to one of these inputs; None where there is none."""
    from .purity import first_answer, observe

    result = observe(built.module, sets)
    if result is None and built.touched:  # by its first run: that may have left something of its input
        result = first_answer(built.module, call_build(built.model, str(built.file.path)), sets[0])
    return result
