"""Comparing a backend's outputs with the reference.

Floats are judged by how far float32 arithmetic itself is off: with e, eager PyTorch's output, and r, the float64
    run's, the error of
an output b is

    max |b − r|  ÷  max(max |e − r|, ulp(max |r|))

taken over each output tensor, where ulp is one unit in the last place of the output's element type (float32's for
float64). NaN and infinities must be where eager float32 has them, or where the float64 run rounded to that type has
them. Integers and booleans must equal one of the two. Names, shapes and dtypes must be eager's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..model import Array

# Elements looked at in one go: they and their float64 copies stay in the second-level cache.
CHUNK = 1 << 15


@dataclass(frozen=True)
class Expected:
    """What one output should be.

    Attributes:
        eager: eager PyTorch's output, in its own type.
        exact: the float64 run's output, float64[…]; for integers and booleans, in their own type.
    """

    name: str
    eager: Array
    exact: Array

    def __post_init__(self) -> None:
        floating = self.eager.dtype.kind == "f"
        finite = bool(floating and np.isfinite(self.eager).all() and np.isfinite(self.exact).all())
        object.__setattr__(self, "finite", finite)
        object.__setattr__(self, "scale", self._scale() if floating else 0.0)

    finite: bool = False
    scale: float = 0.0

    def _scale(self) -> float:
        narrow = self.eager.dtype if self.eager.dtype.itemsize < 4 else np.dtype(np.float32)
        with np.errstate(all="ignore"):
            both = np.isfinite(self.eager) & np.isfinite(self.exact)
            own = np.abs(self.eager[both].astype(np.float64) - self.exact[both])
            magnitude = np.abs(self.exact[both]).max(initial=0.0)
        largest = np.asarray(min(magnitude, float(np.finfo(narrow).max)), dtype=narrow)
        return max(float(own.max(initial=0.0)), float(np.spacing(largest)))


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
    """The worst difference between all outputs of one inference and the reference."""
    wanted = [one.name for one in expected]
    if list(names) != wanted and len(names) != len(wanted):
        return Difference(np.inf, what=f"outputs: wanted {', '.join(wanted)}; found {', '.join(names)}")
    differences = (compare_output(one, answer) for one, answer in zip(expected, answers, strict=True))
    return max(differences, key=lambda difference: difference.ratio, default=Difference())


def compare_output(expected: Expected, answer: Array) -> Difference:
    """The worst difference in one output tensor."""
    eager = expected.eager
    for what, wanted, found in (("shape", eager.shape, answer.shape), ("dtype", eager.dtype, answer.dtype)):
        if wanted != found:
            return Difference(np.inf, expected.name, (), f"{what}: wanted {wanted}; found {found}")
    if eager.dtype.kind != "f":
        return _different(expected, answer, (answer == eager) | (answer == expected.exact))
    if not (expected.finite and np.isfinite(answer).all()):
        return _compare_special(expected, answer)
    error, index = _largest_error(answer.reshape(-1), expected.exact.reshape(-1))
    return _difference(expected, answer, error, index)


def _largest_error(answer: Array, exact: Array) -> tuple[float, int]:
    largest, where = 0.0, 0
    for start in range(0, answer.size, CHUNK):
        errors = np.abs(answer[start : start + CHUNK] - exact[start : start + CHUNK])
        at = int(errors.argmax())
        if errors[at] > largest:
            largest, where = float(errors[at]), start + at
    return largest, where


def _difference(expected: Expected, answer: Array, error: float, flat: int) -> Difference:
    index = tuple(int(place) for place in np.unravel_index(flat, answer.shape)) if answer.size else ()
    if not answer.size or error == 0:
        return Difference(0.0, expected.name, index)
    what = f"wanted {expected.exact[index]!s} (eager float32: {expected.eager[index]!s}); found {answer[index]!s}"
    return Difference(error / expected.scale, expected.name, index, what)


def _different(expected: Expected, answer: Array, accepted: Array) -> Difference:
    """Elements that must be accepted one by one."""
    if accepted.all():
        return Difference(0.0, expected.name)
    index = tuple(int(place) for place in np.argwhere(~accepted)[0])
    wanted, also = expected.eager[index], expected.exact[index]
    either = f"{wanted!s}" if wanted == also or wanted != wanted else f"{wanted!s} or {also!s}"
    count = int(np.count_nonzero(~accepted))
    what = f"wanted {either}; found {answer[index]!s} ({count} of {accepted.size} elements differ)"
    return Difference(np.inf, expected.name, index, what)


def _compare_special(expected: Expected, answer: Array) -> Difference:
    """As compare_output, for outputs with NaN or infinity in one of the three."""
    with np.errstate(all="ignore"):
        rounded = expected.exact.astype(expected.eager.dtype)
    kind = _kind(answer)
    known = _kind(expected.eager), _kind(rounded)
    accepted = (kind == known[0]) | (kind == known[1])
    if not accepted.all():
        return _different(expected, answer, accepted)
    # Where the float64 run overflows and eager does not, or the other way round, there is no error to speak of.
    both = (kind == 0) & (known[0] == 0) & (known[1] == 0)
    errors = np.zeros(answer.shape)
    errors[both] = np.abs(answer[both].astype(np.float64) - expected.exact[both])
    flat = int(errors.argmax()) if errors.size else 0
    return _difference(expected, answer, float(errors.reshape(-1)[flat]) if errors.size else 0.0, flat)


def _kind(values: Array) -> Array:
    """0 finite, 1 NaN, 2 infinity, 3 minus infinity."""
    kind: Array = np.isnan(values) + 2 * np.isposinf(values) + 3 * np.isneginf(values)
    return kind
