"""A few inputs that a backend answered right, with what the reference answers: what a release compares itself with.

Parity's rule takes runs of the model that a robot does not have. So an input is kept only where the answer is right by
the plainest rule that there is, which any program can apply: element by element, |b - r| <= atol + rtol * |r|, where
nothing was put in another order, made canonical or explained away before.

Which ones: the model file's samples as they come first, for they are what the model gets in use; then drawn ones that
are spread over the declared range, for they reach all of the model; then what was made of either; and constants and
special values last, for of zeros a broken model may give the right answer. Answers near the limit come last of all: a
board of the same kind may add in another order, and be beyond it.

Inputs of other sizes than those that are measured are kept only where there is none of these: a release times itself on
what is kept, and its median is compared with the one that was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..model.inputs import Arrays
from ..model.model import Array
from .rule.comparison import Expected
from .trials.recipe import Recipe

MOST = 3
# So many samples at most: one case is left for the range that is declared.
MOST_SAMPLES = 2
# All cases together; where not even one is so small, a single one of up to so many bytes.
BYTES = 16 << 20
BYTES_OF_ONE = 64 << 20
# Of the limit: what is off by more is near it.
NEAR = 0.5
# So many inputs are looked at, and so many for which the reference must be computed once more: where hardly any fits,
# looking for one must not slow the search down.
LOOKS = 128
COMPUTED = 16

SAMPLE, SPREAD, MADE, DULL = range(4)
# Added to the rank of an input of other sizes than those that are measured.
OTHER_SIZES = 10
NEARLY_WRONG = OTHER_SIZES + DULL + 1
# What a fill of the kind is made of: "sample" is one that was changed.
_RANKS = {"uniform": SPREAD, "sample": MADE, "ends": MADE, "coarse": MADE, "ascending": MADE, "descending": MADE}
_DULL_KINDS = ("constant", "denormal", "narrow", "near-equal")

AsTheyCome = Callable[[], Sequence[Expected]]


@dataclass(frozen=True)
class Allowance:
    """How far one output may be off: by atol + rtol * |r|; its type is that of the backend's answer."""

    dtype: str
    atol: float
    rtol: float


@dataclass(frozen=True, kw_only=True)
class Case:
    """One input with the reference's answers.

    Attributes:
        inputs: by the model's names.
        answers: the reference's, by the model's names: float64 of floats, else of the output's own type.
        allowed: how far each may be off.
        rank: the smaller, the better.
    """

    inputs: Arrays
    answers: Mapping[str, Array]
    allowed: Mapping[str, Allowance]
    rank: int

    @property
    def bytes(self) -> int:
        """How many bytes its arrays take."""
        return sum(array.nbytes for array in (*self.inputs.values(), *self.answers.values()))


@dataclass
class KeptAnswers:
    """The best few of the inputs that were answered right.

    Attributes:
        limit: the largest error ratio that is allowed.
        sizes: those that are measured; None where they are drawn.
        cases: the best first; at most MOST, within BYTES.
    """

    limit: float
    sizes: Mapping[str, int] | None = None
    cases: list[Case] = field(default_factory=list)
    _looks: int = 0
    _computed: int = 0

    def offer(
        self, recipe: Recipe, arrays: Arrays, answers: Sequence[Array], expected: Sequence[Expected] | AsTheyCome
    ) -> None:
        """Keep an input if it is among the best and was answered right; costs next to nothing once these are known.

        Args:
            recipe: of the input.
            arrays: the input.
            answers: the backend's, in the order of what is expected.
            expected: what each output should be, as the backend gives it; or what computes that.
        """
        rank = self._rank(recipe)
        if self._looks >= LOOKS or not self._has_room(
            rank, sum(array.nbytes for array in (*arrays.values(), *answers))
        ):
            return
        self._looks += 1
        if callable(expected):
            if self._computed >= COMPUTED:
                return
            self._computed += 1
            expected = expected()
        if (allowed := _allowances(self.limit, expected, answers)) is None:
            return
        worst = max(map(_share, expected, answers, allowed), default=0.0)
        if worst > 1:
            return
        if worst > NEAR:
            rank = NEARLY_WRONG
        elif any(one.is_uninformative(self.limit) for one in expected):
            rank += DULL - rank % OTHER_SIZES
        names = [one.name for one in expected]
        self._add(
            Case(
                inputs=dict(arrays),
                answers={one.name: one.exact for one in expected},
                allowed=dict(zip(names, allowed, strict=True)),
                rank=rank,
            )
        )

    def forget(self) -> None:
        """Keep nothing any more."""
        self.cases.clear()

    def _has_room(self, rank: int, least: int) -> bool:
        """Tell whether a case may be kept, by its rank and by what it takes at least, in bytes."""
        if least > BYTES_OF_ONE or (rank >= OTHER_SIZES and self._has_measured(self.cases)):
            return False
        is_full = len(self.cases) == MOST or sum(case.bytes for case in self.cases) + least > BYTES
        return not (self.cases and is_full and rank >= self.cases[-1].rank)

    @staticmethod
    def _has_measured(cases: Sequence[Case]) -> bool:
        """Tell whether cases, the best first, have one of the sizes that are measured."""
        return bool(cases) and cases[0].rank < OTHER_SIZES

    def _rank(self, recipe: Recipe) -> int:
        is_other = self.sizes is not None and dict(recipe.sizes) != dict(self.sizes)
        return self._rank_of_fills(recipe) + OTHER_SIZES * is_other

    def _rank_of_fills(self, recipe: Recipe) -> int:
        if recipe.is_sample:
            samples = sum(case.rank % OTHER_SIZES == SAMPLE for case in self.cases)
            return SAMPLE if samples < MOST_SAMPLES else MADE
        if any(fill.special or fill.kind in _DULL_KINDS for fill in recipe.fills):
            return DULL
        return max((_RANKS.get(fill.kind, MADE) for fill in recipe.fills), default=DULL)

    def _add(self, case: Case) -> None:
        if case.bytes > BYTES_OF_ONE or any(_is_same(case, other) for other in self.cases):
            return
        ranked = sorted([*self.cases, case], key=lambda one: one.rank)  # stable: of two alike the first stays
        if self._has_measured(ranked):
            ranked = [one for one in ranked if one.rank < OTHER_SIZES]
        small = [one for one in ranked if one.bytes <= BYTES]
        if not small:
            self.cases = ranked[:1]
            return
        self.cases, size = [], 0
        for one in small:
            if len(self.cases) < MOST and size + one.bytes <= BYTES:
                self.cases.append(one)
                size += one.bytes


def _is_same(one: Case, other: Case) -> bool:
    """Tell whether two cases have the same input, to the bit."""
    pairs = zip(one.inputs.values(), other.inputs.values(), strict=True)
    return all(first.shape == second.shape and first.tobytes() == second.tobytes() for first, second in pairs)


def _allowances(limit: float, expected: Sequence[Expected], answers: Sequence[Array]) -> list[Allowance] | None:
    """Say how far each output may be off; None where one of them is not what was expected, or has no such rule."""
    if not expected or len(expected) != len(answers):
        return None
    allowed = [_allowance(limit, one, answer) for one, answer in zip(expected, answers, strict=True)]
    known = [one for one in allowed if one is not None]
    return known if len(known) == len(allowed) else None


def _allowance(limit: float, expected: Expected, answer: Array) -> Allowance | None:
    """Say how far an output may be off; None where it is not what was expected, or of a type that has no such rule."""
    eager, exact = expected.eager, expected.exact
    if (answer.dtype, answer.shape) != (eager.dtype, eager.shape) or exact.shape != eager.shape:
        return None
    if answer.dtype.kind in "iub":
        return Allowance(answer.dtype.name, 0.0, 0.0) if exact.dtype == answer.dtype else None
    if answer.dtype.kind != "f" or exact.dtype != np.float64:
        return None
    if (closeness := expected.closeness) is not None:
        return Allowance(answer.dtype.name, limit * closeness.atol, limit * closeness.rtol)
    return Allowance(answer.dtype.name, limit * expected.scale, 0.0)


def _share(expected: Expected, answer: Array, allowance: Allowance) -> float:
    """Return how much of what is allowed an answer is off, at its worst element; infinity where that is no number."""
    exact = expected.exact
    if answer.dtype.kind != "f":
        return 0.0 if np.array_equal(answer, exact) else np.inf
    if not (np.isfinite(answer).all() and np.isfinite(exact).all()):
        return np.inf
    with np.errstate(all="ignore"):
        off = np.abs(answer.astype(np.float64) - exact)
        allowed = allowance.atol + allowance.rtol * np.abs(exact)
        if not bool(np.isfinite(allowed).all() and (off <= allowed).all()):
            return np.inf
        return float(np.divide(off, allowed, out=np.zeros_like(off), where=off > 0).max(initial=0.0))
