"""Comparing a backend's outputs with the reference.

Floats are judged by how far float32 arithmetic itself is off: with e, eager PyTorch's output, and r, the float64
run's, the error of an output b is

    max |b − r|  ÷  max(max |e − r|, ulp(max |r|))

taken over each output tensor, where ulp is one unit in the last place of the output's element type (float32's for
float64), and at least float32's smallest normal number. NaN and infinities must be where eager float32 has them, or
where the float64 run rounded to that type has them. Where r is not finite in that type and e is, a finite b is measured
against e, with at least one ulp of that element. Where this finds too large an error, the denominator is widened by
what the input's own rounding does to the answer (see conditioning), by what the order of sums and the range of bounded
functions explain (see rounding), and by an ulp of the output's usual size (see reference). Integers and booleans must
equal one of the two; indices that a maximum or a sorting has picked are then judged by the values that they point to;
see pointing. Where the model file says itself how close is close enough (Closeness), that is the denominator, and e
takes r's place. Count, names, shapes and dtypes must be eager's. docs/parity.md derives the rule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ...model.model import Array, Closeness
from .special import alike, drop_special, special_ratios
from .ulp import ulp

if TYPE_CHECKING:
    from .indices import Picked

# Elements compared in one go: they and their float64 copies stay in the second-level cache.
CHUNK = 1 << 14
# Errors of up to 8 units (rounding.bounds.SIDES) move a smooth answer by no more than this, whatever the tolerance is.
JUMP = 30.0

# Two runs that differ by no more are the same answer: a kernel may add in another order with another memory alignment.
SAME_ULPS = 4


@dataclass(frozen=True)
class Expected:
    """What one output should be. Both arrays have one shape, and are in C order.

    Attributes:
        eager: eager PyTorch's output, in its own type.
        exact: the float64 run's output, float64[…]; for integers and booleans, in their own type.
        perturbation: an error that counts as 1 at least; see harness.parity.rounding.conditioning.
        perturbation_here: the part of it that this input explains, and not how large the output is elsewhere.
        closeness: how close is close enough, where the model file says so: exact is eager's output then.
        picked: of indices, what they were picked from, where that is known; see harness.parity.rule.indices.
        plain: of each chunk, whether all its elements are finite, r's also when they are rounded to eager's type.
        aligned: of each chunk, whether both are finite in the same places.
        scale: the error that counts as 1, the rule's denominator; 0 for integers and booleans.
        magnitude: max |r|.
    """

    name: str
    eager: Array
    exact: Array
    _: KW_ONLY
    perturbation: float = 0.0
    perturbation_here: float = 0.0
    picked: Picked | None = None
    closeness: Closeness | None = None
    plain: tuple[bool, ...] = field(init=False, default=())
    aligned: tuple[bool, ...] = field(init=False, default=())
    scale: float = field(init=False, default=0.0)
    magnitude: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        if self.eager.dtype.kind != "f":
            return
        own = magnitude = 0.0
        plain, aligned = [], []
        eager, exact = self.eager.reshape(-1), self.exact.reshape(-1)
        for start in range(0, eager.size, CHUNK):
            near, far = eager[start : start + CHUNK], exact[start : start + CHUNK]
            with np.errstate(all="ignore"):
                known = np.isfinite(far.astype(self.eager.dtype))
                own_finite = np.isfinite(near)
                both = known & own_finite
                own = max(own, float(np.abs(near - far).max(initial=0.0, where=both)))
                magnitude = max(magnitude, float(np.abs(far).max(initial=0.0, where=known)))
            plain.append(bool(both.all()))
            aligned.append(plain[-1] or bool((known == own_finite).all()))
        object.__setattr__(self, "plain", tuple(plain))
        object.__setattr__(self, "aligned", tuple(aligned))
        object.__setattr__(self, "magnitude", magnitude)
        object.__setattr__(
            self, "scale", max(own, float(ulp(np.asarray(magnitude), self.eager.dtype)), self.perturbation)
        )

    def is_uninformative(self, tolerance: float) -> bool:
        """Tell whether float32 itself is so far off here that even an output of zeros would be within the tolerance."""
        if self.closeness is not None:
            return False
        own = float(ulp(np.asarray(self.magnitude), self.eager.dtype)) if self.magnitude else 0.0
        return self.scale > own and 0 < self.magnitude <= tolerance * self.scale


@dataclass(frozen=True)
class Difference:
    """The worst element of a comparison.

    Attributes:
        ratio: the error as a multiple of the scale; infinity where no error can be given.
        what: the difference in words.
    """

    ratio: float = 0.0
    output: str = ""
    index: tuple[int, ...] = ()
    what: str = ""


def compare(expected: Sequence[Expected], names: Sequence[str], answers: Sequence[Array]) -> Difference:
    """Find the worst difference between all outputs of one inference and the reference.

    Args:
        expected: what each output should be, in order.
        names: the outputs' names as the backend knows them, in the order of the answers; where it knows none, the
            reference's own.
        answers: the backend's outputs.
    """
    wanted = [one.name for one in expected]
    if list(names) != wanted:
        return Difference(np.inf, what=f"outputs: wanted {', '.join(wanted)}; found {', '.join(names)}")
    if len(answers) != len(wanted):
        return Difference(np.inf, what=f"outputs: wanted {len(wanted)} ({', '.join(wanted)}); found {len(answers)}")
    differences = (compare_output(one, answer) for one, answer in zip(expected, answers, strict=True))
    return max(differences, key=lambda difference: difference.ratio, default=Difference())


def compare_output(expected: Expected, answer: Array) -> Difference:
    """Find the worst difference in one output tensor."""
    eager, exact = expected.eager, expected.exact
    for what, wanted, found in (("shape", eager.shape, answer.shape), ("dtype", eager.dtype, answer.dtype)):
        if wanted != found:
            return Difference(np.inf, expected.name, (), f"{what}: wanted {wanted}; found {found}")
    if eager.dtype.kind != "f":
        same = (answer == eager) | (answer == exact)
        if expected.picked is not None and not same.all():
            return _compare_indices(expected, expected.picked, answer)
        return _different(expected, answer, same)
    if expected.closeness is not None:
        return _compare_by_closeness(expected, expected.closeness, answer)
    with np.errstate(all="ignore"):
        ratio, flat = _worst(expected, answer.reshape(-1))
        if ratio == np.inf and not (accepted := _accepted(answer, expected)).all():
            return _different(expected, answer, accepted)
    if ratio == 0:
        return Difference(0.0, expected.name)
    index = tuple(int(place) for place in np.unravel_index(flat, answer.shape))
    what = f"wanted {exact[index]!s} (eager {eager.dtype}: {eager[index]!s}); found {answer[index]!s}"
    return Difference(ratio, expected.name, index, what)


def _compare_by_closeness(expected: Expected, closeness: Closeness, answer: Array) -> Difference:
    """Compare an output by the tolerances of a model file."""
    eager, flat = expected.eager.reshape(-1), answer.reshape(-1)
    largest, where = 0.0, 0
    for start in range(0, flat.size, CHUNK):
        part = slice(start, start + CHUNK)
        with np.errstate(all="ignore"):
            errors = np.abs(flat[part].astype(np.float64) - eager[part]) / closeness.allowed(eager[part])
            known = np.isfinite(flat[part]) & np.isfinite(eager[part])
            errors = np.where(
                known,
                np.nan_to_num(errors, nan=0.0, posinf=np.inf),
                np.where(alike(flat[part], eager[part]), 0.0, np.inf),
            )
        at = int(errors.argmax())
        if errors[at] > largest:
            largest, where = float(errors[at]), start + at
    index = tuple(int(place) for place in np.unravel_index(where, answer.shape)) if answer.size else ()
    what = f"wanted {expected.eager[index]!s} within {closeness}; found {answer[index]!s}" if largest else ""
    return Difference(largest, expected.name, index, what)


def _compare_indices(expected: Expected, picked: Picked, answer: Array) -> Difference:
    """Compare indices by the values that they point to."""
    wanted, found = picked.at(expected.eager), picked.at(answer)
    if wanted is None or found is None:
        return _different(expected, answer, answer == expected.eager)
    ratios = picked.ratios(found, wanted)
    index = tuple(int(place) for place in np.unravel_index(int(ratios.argmax()), answer.shape))
    what = f"wanted {expected.eager[index]!s}, where there is {wanted[index]!s}"
    what += f"; found {answer[index]!s}, where there is {found[index]!s}"
    return Difference(float(ratios[index]), expected.name, index, what)


def _worst(expected: Expected, answer: Array) -> tuple[float, int]:
    """Find the largest error ratio of a flat answer, and where it is."""
    eager, exact = expected.eager.reshape(-1), expected.exact.reshape(-1)
    buffer = np.empty(min(answer.size, CHUNK))
    largest, where = 0.0, 0
    chunks = zip(range(0, answer.size, CHUNK), expected.plain, expected.aligned, strict=True)
    for start, plain, aligned in chunks:
        part = slice(start, start + CHUNK)
        errors = np.subtract(answer[part], exact[part], out=buffer[: answer.size - start])
        np.abs(errors, out=errors)
        at = int(errors.argmax())
        ratio = float(errors[at]) / expected.scale
        # A NaN is the maximum for argmax, so that this also sees every NaN and infinity of the answer.
        if not (plain and math.isfinite(ratio)):
            if aligned and drop_special(errors, answer[part], eager[part]):
                ratio = float(errors.max()) / expected.scale
                if ratio > largest:  # the place is needed of few chunks; of two errors the quotients may be equal
                    at = int((errors / expected.scale).argmax())
            else:
                ratios = special_ratios(answer[part], eager[part], exact[part], expected.scale)
                at = int(ratios.argmax())
                ratio = float(ratios[at])
        if ratio > largest:
            largest, where = ratio, start + at
    return largest, where


def _accepted(answer: Array, expected: Expected) -> Array:
    accepted: Array = alike(answer, expected.eager) | alike(answer, expected.exact.astype(answer.dtype))
    return accepted


def _different(expected: Expected, answer: Array, accepted: Array) -> Difference:
    """Report elements that are not accepted: there is no ratio for them."""
    if accepted.all():
        return Difference(0.0, expected.name)
    index = tuple(int(place) for place in np.argwhere(~accepted)[0])
    wanted, also = expected.eager[index], expected.exact[index]
    alike = wanted == also or (wanted != wanted and also != also)
    either = f"{wanted!s}" if alike else f"{wanted!s} (eager) or {also!s} (float64)"
    count = int(np.count_nonzero(~accepted))
    what = f"wanted {either}; found {answer[index]!s} ({count} of {accepted.size} elements differ)"
    return Difference(np.inf, expected.name, index, what)


def has_sides(expected: Expected, answer: Array, sides: Sequence[Array], tolerance: float) -> bool:
    """Tell whether each element is right, or is what there is on another side of a jump; or as many rows are.

    Args:
        expected: what the output should be.
        answer: the backend's output.
        sides: what correct programs may give; what is no further from r than the errors themselves move it is no jump.
        tolerance: the largest error ratio that is allowed.
    """
    eager, exact = expected.eager, expected.exact
    if answer.dtype != eager.dtype or answer.ndim != eager.ndim:
        return False
    shapes = np.array([eager.shape, *(side.shape for side in sides)])
    if answer.shape != eager.shape:  # with a threshold amid near-equal numbers every count between these is right
        return bool(((shapes.min(0) <= answer.shape) & (answer.shape <= shapes.max(0))).all())

    def is_near(one: Array, other: Array, most: float = tolerance) -> Array:
        same: Array = (one == other) | ((one != one) & (other != other))
        if eager.dtype.kind == "f":
            with np.errstate(all="ignore"):
                same = same | (np.abs(one.astype(np.float64) - other) <= most * expected.scale)
        return same

    right = is_near(answer, exact) | is_near(answer, eager)
    for side in sides:
        if side.shape == eager.shape:
            right = right | (is_near(answer, side) & ~is_near(exact, side, max(tolerance, JUMP)))
    return bool(right.all())


def differ(first: Sequence[Array], second: Sequence[Array]) -> bool:
    """Tell whether two answers differ by more than the rounding of the largest element."""
    return len(first) != len(second) or any(_is_unlike(*pair) for pair in zip(first, second, strict=True))


def _is_unlike(first: Array, second: Array) -> bool:
    if first.dtype != second.dtype or first.shape != second.shape:
        return True
    if first.dtype.kind != "f" or np.array_equal(first, second, equal_nan=True):
        return not np.array_equal(first, second, equal_nan=first.dtype.kind == "f")
    finite = np.isfinite(first)
    if not np.array_equal(finite, np.isfinite(second)):
        return True
    if not np.array_equal(first[~finite], second[~finite], equal_nan=True):
        return True
    wide = first[finite].astype(np.float64)
    off = np.abs(wide - second[finite].astype(np.float64)).max(initial=0.0)
    return bool(off > SAME_ULPS * ulp(np.abs(wide).max(initial=0.0), first.dtype))
