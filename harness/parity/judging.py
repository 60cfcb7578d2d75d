"""Asking a deployment, and judging its answers by the reference, recipe by recipe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from ..errors import AgentFailure, ModelError, ProcessError
from ..model.inputs import Arrays
from ..model.model import Array
from .answers import KeptAnswers
from .rule.comparison import Difference, Expected, differ
from .rule.no_reference import AtThreshold
from .rule.reference import Reference
from .rule.sets import arranged
from .tally import Tally
from .trials.recipe import Recipe

if TYPE_CHECKING:
    from .rule.ties import Tie

Infer = Callable[[Sequence[Recipe]], list[list[Array]]]

# A scale by which an error of a tenth of the output passes hides nearly everything.
COARSE = 10
# A tie is looked for where the ratio exceeds limit / TIED_FROM: rows that are nearly alike may change places, too.
TIED_FROM = 4


@dataclass
class Judging:
    """The answers of one deployment.

    Args:
        infer: its outputs for each recipe's inputs.
        names: its names of them.

    Attributes:
        tally: what became of the inputs.
        kept: a few inputs that were answered right by the plainest rule, with the reference's answers.
        expansion: an input's outputs are at most so many times as large as its arrays, as far as is known.
    """

    reference: Reference
    infer: Infer
    names: tuple[str, ...]
    tally: Tally = field(init=False, default_factory=Tally)
    kept: KeptAnswers = field(init=False)
    expansion: float = field(init=False, default=1.0)
    _asked: dict[str, list[Array] | AgentFailure] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        sizes = self.reference.built.model.measured_sizes
        self.kept = KeptAnswers(self.limit, None if sizes.drawn else dict(sizes))

    @property
    def limit(self) -> float:
        """The largest error ratio that is allowed."""
        return self.reference.built.model.parity_limit

    def ask(self, recipes: Sequence[Recipe]) -> None:
        """Have the device answer, in one call, what it has not been asked yet; the answers wait to be judged.

        Raises:
            HilgateError: whatever is no refusal by the backend.
        """
        fresh = [recipe for recipe in recipes if recipe.key not in self._asked]
        if not fresh:
            return
        try:
            self._asked |= {recipe.key: answers for recipe, answers in zip(fresh, self.infer(fresh), strict=True)}
        except AgentFailure as refusal:
            if len(fresh) == 1:
                self._asked[fresh[0].key] = refusal
            for recipe in fresh if len(fresh) > 1 else []:  # it is one of these
                self.ask([recipe])

    def changes_around(self, recipe: Recipe, other: Recipe) -> bool:
        """Tell whether the device's answer to one input changes once it has been asked something else.

        The inputs go in one call each: a small board has no room for three. A refusal is left to ``judge``.

        Raises:
            HilgateError: whatever is no refusal by the backend.
        """
        self.ask([recipe])
        self.ask([other])
        before = self._asked[recipe.key]
        if isinstance(before, AgentFailure):
            return False
        try:
            (after,) = self.infer([recipe])
        except AgentFailure:
            return True
        return self.are_apart(recipe, before, after)

    def are_apart(self, recipe: Recipe, first: list[Array], second: list[Array]) -> bool:
        """Tell whether two answers to one input differ by more than is allowed: a runtime may round in another order.

        Two that are both right are not apart, in whatever order the rows of a set come. Nothing is said where an
        element lies at a threshold.

        Raises:
            ModelError: the model rejects its own inputs.
            NoReference: it cannot be run in float64.
        """
        if not differ(first, second):
            return False
        arrays, aside = self.reference.space.make(recipe), Judging(self.reference, self.infer, self.names)
        try:
            expected = self.reference(arrays, recipe.key)
            if all(
                aside._compare_answers(recipe, arrays, expected, each)[0].ratio <= self.limit
                for each in (first, second)
            ):
                return False
            expected = self.reference.widened(arrays, recipe.key)
        except AtThreshold:
            return False
        first, second = (self._in_order(expected, each) for each in (first, second))
        if not len(first) == len(second) == len(expected):
            return True
        return any(_is_apart(self.limit, *each) for each in zip(expected, first, second, strict=True))

    def _in_order(self, expected: list[Expected], answers: list[Array]) -> list[Array]:
        """Bring an answer into the form that is compared: canonical, the rows of a set beside the reference's."""
        if self.reference.built.model.canonical is None:
            return arranged(expected, answers, self.reference.row_sets, self.limit)
        with suppress(ModelError):
            return list(self.reference.made_canonical(dict(zip(self.names, answers, strict=False))).values())
        return answers

    def is_asked(self, recipe: Recipe) -> bool:
        """Tell whether the answer to a recipe waits to be judged."""
        return recipe.key in self._asked

    def forget(self) -> None:
        """Let go of answers that nobody waits for any more."""
        self._asked.clear()

    def judge(self, recipe: Recipe, *, climbed: bool) -> Difference:
        """Return how far the answer is off; a refusal of what the model takes is infinitely far off.

        Args:
            recipe: of the input.
            climbed: whether Hypothesis climbed to this input: it does not count for the doubts.

        Raises:
            ModelError: the model rejects its own inputs.
            AtThreshold: an element lies at a threshold: the input is set aside.
            NoReference: it cannot be run in float64.
            HilgateError: the device did not answer.
        """
        try:
            return self._judge(recipe, climbed=climbed)
        except AtThreshold:
            self._asked.pop(recipe.key, None)
            self.tally.set_aside += 1
            self.tally.listed_aside += not climbed
            raise

    def _judge(self, recipe: Recipe, *, climbed: bool) -> Difference:
        arrays, hidden, tied = self.reference.space.make(recipe), self.tally.hidden, self.tally.tied
        expected = self.reference(arrays, recipe.key)
        self.ask([recipe])
        answers = self._asked.pop(recipe.key)
        if isinstance(answers, AgentFailure):
            what = f"the model takes this input, the backend does not: {answers.found}"
            difference = Difference(float("inf"), what=what)
        else:
            difference, expected = self._compare_answers(recipe, arrays, expected, answers)
            if difference.ratio <= self.limit and self.tally.tied == tied:  # a tie may be broken otherwise next time
                self._keep(recipe, arrays, expected, answers)
        self.tally.tried += 1
        if climbed:  # to where float32 is at its worst
            self.tally.hidden = hidden
        else:
            self.tally.listed += 1
            vague = [one.name for one in expected if one.is_uninformative(self.limit)]
            self.tally.uninformative += bool(vague)
            self.tally.vague.update(vague)
        given = sum(array.nbytes for array in arrays.values())
        self.expansion = max(self.expansion, sum(one.eager.nbytes for one in expected) / max(given, 1))
        return difference

    def _keep(self, recipe: Recipe, arrays: Arrays, expected: list[Expected], answers: list[Array]) -> None:
        """Offer an input that was answered right for being kept, as the backend answers: not made canonical."""

        def as_they_come() -> list[Expected]:
            try:
                return self.reference.as_they_come(arrays)
            except Exception:  # noqa: BLE001  # whatever the module raises: the input was judged without it
                return []

        is_plain = self.reference.built.model.canonical is None
        self.kept.offer(recipe, arrays, answers, expected if is_plain else as_they_come)

    def _compare_answers(
        self, recipe: Recipe, arrays: Arrays, expected: list[Expected], answers: list[Array]
    ) -> tuple[Difference, list[Expected]]:
        """Compare one recipe's outputs, made canonical if the model file says how.

        Returns:
            The difference, and the expectation that was finally applied.
        """
        if self.reference.built.model.canonical is None:
            return self._compare_by_rules(recipe, arrays, expected, self.names, answers)
        if (form := self.reference.form_difference(self.names, answers)) is not None:
            return form, expected
        try:
            made = self.reference.made_canonical(dict(zip(self.names, answers, strict=True)))
        except ProcessError:  # it says nothing of the outputs
            raise
        except ModelError as error:
            what = f"canonical() takes PyTorch's outputs, and not the backend's: {error.found}"
            return Difference(float("inf"), what=what), expected
        return self._compare_by_rules(recipe, arrays, expected, list(made), list(made.values()))

    def _compare_by_rules(
        self, recipe: Recipe, arrays: Arrays, expected: list[Expected], names: Sequence[str], answers: list[Array]
    ) -> tuple[Difference, list[Expected]]:
        """Compare by the plain rule; where that finds too large an error, by rules that take more runs of the model."""
        difference = self.reference.compare(expected, names, answers)
        if difference.ratio > self.limit and difference.output in _integers(expected):
            expected = self.reference.picking(arrays, recipe.key)
            difference = self.reference.compare(expected, names, answers)
        if self.limit < difference.ratio < float("inf"):
            expected, off = self.reference.widened(arrays, recipe.key), difference.output
            difference = self.reference.compare(expected, names, answers)
            if difference.ratio <= self.limit:
                self.tally.conditioned += 1
                self.tally.hidden += self._is_hidden(off, expected, names, answers)
        if (
            difference.ratio * TIED_FROM > self.limit
            and (tie := self._tie(arrays, names, answers, difference)) is not None
        ):
            self.tally.ties.update(tie.calls)
            self.tally.tied += bool(tie.calls)
            self.tally.conditioned += not tie.calls and difference.ratio > self.limit
            return tie.difference, tie.expected
        if difference.ratio == float("inf") and self.reference.wider_rule.is_at_threshold(arrays, answers):
            raise AtThreshold("an element lies at a threshold", found=difference.what)
        if difference.ratio > self.limit and self.reference.wider_rule.is_on_another_side(
            arrays, expected, names, answers
        ):
            raise AtThreshold("a sum lies at a threshold", found=difference.what)
        return difference, expected

    def _is_hidden(self, off: str, expected: list[Expected], names: Sequence[str], answers: list[Array]) -> bool:
        """Tell whether only how large an output is elsewhere explains its answer, and a tenth of it would pass, too."""
        if not any(one.is_uninformative(self.limit * COARSE) for one in expected if one.name == off):
            return False
        # A bounded function's own range, sums and conditioning are no sentinel: they are of this input.
        here = [replace(one, perturbation=one.perturbation_here) for one in expected]
        return self.reference.compare(here, names, answers).ratio > self.limit

    def _tie(self, arrays: Arrays, names: Sequence[str], answers: list[Array], difference: Difference) -> Tie | None:
        """Find a way to break ties by which the answer is right; or, if it is right already, by which it is nearer."""
        enough = self.limit if difference.ratio > self.limit else difference.ratio / TIED_FROM
        return self.reference.wider_rule.tie(arrays, names, answers, enough)

    @property
    def doubt(self) -> str:
        """Why the whole may not be believed; "" where nothing speaks against it."""
        return self.tally.doubt or self.reference.doubt


def _is_apart(limit: float, expected: Expected, first: Array, second: Array) -> bool:
    if not differ([first], [second]):
        return False
    if first.dtype.kind != "f" or first.dtype != second.dtype or first.shape != second.shape:
        return True
    if not np.array_equal(np.isfinite(first), np.isfinite(second)):
        return True
    closeness = expected.closeness
    allowed = limit * (expected.scale if closeness is None else closeness.allowed(first))
    with np.errstate(invalid="ignore"):
        off = np.abs(first.astype(np.float64) - second.astype(np.float64))
    return bool((off > allowed).any())


def _integers(expected: list[Expected]) -> list[str]:
    """Name the outputs that may be indices."""
    return [one.name for one in expected if one.eager.dtype.kind in "iu"]
