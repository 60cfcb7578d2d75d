"""The search for an input on which a backend differs: recipes are drawn, the device answers, the reference judges.

What is known comes first: counterexamples of earlier runs, and what other cells of this run were furthest off on. Then
a list that depends on the model file's declarations and on the seed alone: every cell is asked the same, and each
reference is computed once. Then Hypothesis climbs, for each cell by its own answers, until the time is up: that which
is spent on computing (see budget). Before anything is blamed one input is asked again after another, on the host and on
the device: either may keep state (see purity).
"""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

from hypothesis import Phase, errors

from ..checks.finding import Finding
from ..errors import AgentFailure, HilgateError, ProcessError
from ..host.shown_path import shown_path
from ..model.build import BuiltModel
from ..model.model import Array, Closeness
from . import PARITY
from .budget import Budget, Clock, effort_notes
from .judging import Infer, Judging
from .replay.write import PROGRAM_NAME
from .rule.comparison import Difference
from .rule.reference import AtThreshold, NoReference, Reference
from .trials.counterexamples import Finds
from .trials.generate import EXAMPLES, Stopped, aim, drawn, search
from .trials.shrink import simplify
from .trials.space import InputSpace, Recipe, once

# Beside the essential inputs so many are tried at least, however slow the device is.
LEAST = 10
SEARCH_S = 20.0
# On an emulated device, where an inference takes a hundred times as long: a prefix of the same list.
EMULATED_SEARCH_S = 3.5
# Shrinking tries hundreds of inputs. Where one takes longer than this, the input stays as it was found.
SHRINK_BELOW_S = 1.0
SHRINK_S = 20.0
# One call has as many inputs as take about this long, and as give so many bytes of outputs.
CALL_S = 0.5
CALL_SETS = 32
CALL_BYTES = 16 << 20
# So much of the time goes to the list at most, that there is some left to climb in.
FIXED_SHARE = 0.5
# Where some inputs are such that too many of them make the check inconclusive, the list goes on for up to so many times
# all of the time: how fast the machine is must not decide of how many inputs the share is taken.
DOUBT_SHARE = 3.0
# Inputs that fail, kept for the locating: the simplest, and others beside it.
FAILING = 3
# What is said of an artifact that keeps state where the module keeps none.
UNSTEADY = (
    "the answers change from call to call, for the same input: the artifact keeps state or draws random numbers, which "
    "the module does not"
)
STATE = (
    "the answers change from call to call, for the same input: they differ before and after another, so the artifact "
    "keeps state (or draws random numbers), which the module does not"
)
STATE_FRESH = (
    "the answers change from call to call, for the same input: a new process gives another, so the artifact keeps "
    "state from the inputs before, which the module does not"
)
# Where nothing but so many inputs set aside was met, the model has no reference at all.
ALL_ASIDE = 8

Report = Callable[[int, int], None]


class Mismatch(AssertionError):
    """A backend's answer is not the model's."""


class Place(Protocol):
    """Where in the model a backend leaves the reference."""

    @property
    def described(self) -> dict[str, Any]: ...
    def __str__(self) -> str: ...


@dataclass
class ParitySearch:
    """Looks for the input on which a deployment is furthest from the reference.

    Args:
        infer: the deployment's outputs for each recipe's inputs.
        names: the deployment's names of its outputs.
        search_seed: Hypothesis's; the same seed tries the same inputs, on every backend and device, also with CI set.
        report: is told (inputs tried, inputs to try).
        keep_replay: keeps a failing input with all that is needed to see it again; returns its folder's path in
            ``evidence``.
        evidence: the folder of the run's evidence.
        search_s: for how long to search, by the clocks.
        finds: what is known, and what this cell adds to it.
        locate: where in the model failing inputs go wrong, the simplest first.
        clocks: what is spent on the search, in seconds: the host's CPU time, and what the device says that it took.
        fresh: the outputs of a process on the device that was not asked anything before.
    """

    built: BuiltModel
    reference: Reference
    infer: Infer
    names: tuple[str, ...]
    search_seed: int
    report: Report
    keep_replay: Callable[[Recipe, Difference], str] | None = None
    search_s: float = SEARCH_S
    finds: Finds = field(default_factory=Finds)
    locate: Callable[[Sequence[Recipe]], Place] | None = None
    clocks: Sequence[Clock] = (time.process_time,)
    fresh: Callable[[Recipe], list[Array]] | None = None
    evidence: Path = Path()
    worst: Difference = field(default_factory=Difference)
    furthest: tuple[Difference, Recipe] | None = None  # of all that were tried, also where that failed
    failing: Recipe | None = None
    total: int = 0
    known: int = 0  # counterexamples of earlier runs that were tried
    unsteady: bool = False
    stateful: str = ""  # how it showed that the artifact keeps state
    judging: Judging = field(init=False)
    budget: Budget = field(init=False)
    _listed: int = 0
    _left: int = 0
    _climbing: bool = False
    _passed: dict[str, Difference] = field(default_factory=dict)
    _failed: dict[str, Recipe] = field(default_factory=dict)
    _least: int = LEAST
    _shrink_until: float = float("inf")

    def __post_init__(self) -> None:
        self.judging = Judging(self.reference, self.infer, self.names)
        self.budget = Budget(self.clocks)

    @property
    def tried(self) -> int:
        """How many inputs were judged."""
        return self.judging.tried

    @property
    def space(self) -> InputSpace:
        """The inputs that there are."""
        return self.reference.space

    def check(self, recipe: Recipe) -> Difference:
        """One input: the property that is searched.

        Raises:
            Mismatch: the backend is off by more than the tolerance, or refuses what the model takes.
        """
        try:
            difference = self._passed.get(recipe.key) or self._judged(recipe)
        except AtThreshold:
            if not self.tried and self.judging.set_aside >= ALL_ASIDE:
                raise  # it is no threshold: there is no input on which the two agree
            difference = Difference()
        if self._climbing:
            aim(difference.ratio)
        if difference.ratio > self.built.model.parity_limit:
            self.worst, self.failing = difference, recipe
            self._failed.pop(recipe.key, None)
            self._failed[recipe.key] = recipe
            raise Mismatch(difference.what)
        self._passed[recipe.key] = difference
        return difference

    def _judged(self, recipe: Recipe) -> Difference:
        difference = self.judging.judge(recipe, climbed=self._climbing)
        self.report(self.tried, max(self.total, self.tried))
        if self.furthest is None or difference.ratio > self.furthest[0].ratio:
            self.furthest = difference, recipe
        if difference.ratio > self.worst.ratio and self.failing is None:
            self.worst = difference
        return difference

    def run(self, prop: Callable[[Recipe], object]) -> Finding:
        """Search, and say what was found.

        Args:
            prop: the property, such as ``check``: takes a recipe, raises Mismatch.

        Raises:
            HilgateError: whatever is no mismatch: the agent died, the model rejects its own inputs, …
        """
        self.budget.begin()
        try:
            self._look_for_state()
            if not self.stateful:
                self._search(prop)
        except Mismatch:
            pass
        except errors.Flaky:
            self.unsteady = True
        except (NoReference, ProcessError) as error:
            if self.failing is None:
                return self._without_reference(error)
        if self.failing is not None:
            if (impurity := self.reference.impurity_at(self.space.make(self.failing))) is not None:
                return self._without_reference(impurity)
            self.stateful = self.stateful or self._state_at(self.failing)
        if self.failing is not None and not (self.unsteady or self.stateful):
            if self._each_s <= SHRINK_BELOW_S:
                self._simplify(prop, self.failing)
            self.stateful = self._state_of_fresh(self.failing)
        return self._finding()

    def _without_reference(self, error: HilgateError) -> Finding:
        """Say that there is nothing to compare with: the module gives none, or its process on this host ended.

        A host whose memory runs out in a float64 run says nothing of the model on the device (issue 15).
        """
        missing = "; ".join(filter(None, (line.strip() for line in str(error).splitlines())))
        return Finding(PARITY, samples=self.tried, missing=missing)

    def _look_for_state(self) -> None:
        """Ask for one input, for another, and for the first again: a, b, a.

        Raises:
            NoReference: the module itself gives two answers.
        """
        first, other, *_ = self.space.whole_range()
        if not self.judging.changes_around(first, other):
            return
        self.stateful = STATE
        with contextlib.suppress(Mismatch):
            self.check(first)
        self.failing = first

    def _state_at(self, failing: Recipe) -> str:
        """That the artifact keeps state, where an input that fails shows it; "" where it does not."""
        other = next(recipe for recipe in self.space.whole_range() if recipe.key != failing.key)
        self.judging.forget()
        return STATE if self.judging.changes_around(failing, other) else ""

    def _state_of_fresh(self, failing: Recipe) -> str:
        """The same, by a process that has not been asked anything; the last thing to do, for it ends the one before."""
        if self.fresh is None:
            return ""
        try:
            (used,) = self.infer([failing])
            return STATE_FRESH if self.judging.are_apart(failing, used, self.fresh(failing)) else ""
        except AgentFailure:
            return ""

    def _search(self, prop: Callable[[Recipe], object]) -> None:
        known = self.finds.known(self.space)
        remembered = self.finds.remembered(self.space)
        essential = once([*known, *self.finds.met(self.space), *self.space.essential()])
        self.known = len(remembered)
        self._least = len(essential) + LEAST
        self._try_all(prop, essential)
        if self.failing is None:
            listed = [*self.space.corners(), *drawn(self.space, self.search_seed), *self.space.every_size()]
            self._try_all(prop, listed, FIXED_SHARE)
        slow = self._each_s > SHRINK_BELOW_S
        if self.failing is not None and not slow:
            self._shrink_until = time.monotonic() + SHRINK_S
            self._climb(prop, [Phase.generate, Phase.shrink])
        elif self.failing is None and not self._is_over():
            self._climb(prop, [Phase.generate, Phase.target, *([] if slow else [Phase.shrink])])

    def _simplify(self, prop: Callable[[Recipe], object], failing: Recipe) -> None:
        """What Hypothesis did not come upon by itself it did not make simpler."""

        def fails(recipe: Recipe) -> bool:
            if self._is_over():
                return False
            try:
                prop(recipe)
            except Mismatch:
                return True
            except NoReference:
                return False
            return False

        simplify(failing, self.built.model, fails)

    @property
    def _each_s(self) -> float:
        return self.budget.spent_s / max(self.tried, 1)

    def _is_over(self, share: float = 1.0) -> bool:
        if self.failing is not None:
            return time.monotonic() > self._shrink_until
        return self.tried + self.judging.set_aside >= self._least and self.budget.is_over(share * self.search_s)

    def _try_all(self, prop: Callable[[Recipe], object], recipes: list[Recipe], share: float = 1.0) -> None:
        """Up to the first that fails, and that one twice; none that has passed already."""
        recipes = once(recipe for recipe in recipes if recipe.key not in self._passed)
        self._listed += len(recipes)
        for index, recipe in enumerate(recipes):
            if self._is_over(share) and (not self.judging.is_unsettled or self._is_over(DOUBT_SHARE)):
                self._left += len(recipes) - index
                return
            if not self.judging.is_asked(recipe):
                self.judging.ask(self._call(recipes[index:]))
            try:
                prop(recipe)
            except Mismatch:
                with contextlib.suppress(Mismatch):
                    prop(recipe)
                    self.unsteady = True
                self.judging.forget()
                return

    def _call(self, waiting: Sequence[Recipe]) -> Sequence[Recipe]:
        """Those of the next call: one, until it is known how long that takes; a small board has no room for all."""
        self.total = min(max(int(self.search_s / self._each_s), self._least), self._least + EXAMPLES)
        most = min(int(CALL_S / self._each_s), CALL_SETS) if self.tried else 1
        sizes = (self.space.bytes(recipe) * self.judging.swelling for recipe in waiting[:most])
        return waiting[: max(sum(total <= CALL_BYTES for total in accumulate(sizes)), 1)]

    def _climb(self, prop: Callable[[Recipe], object], phases: list[Phase]) -> None:
        stopped_by: Exception | None = None

        def guarded(recipe: Recipe) -> None:
            nonlocal stopped_by
            if self._is_over():
                raise Stopped
            fresh = self.failing is None
            try:
                prop(recipe)
            except Mismatch:
                if fresh:
                    self._shrink_until = time.monotonic() + SHRINK_S
                raise
            except errors.HypothesisException:
                raise
            except Exception as error:
                stopped_by = error
                raise Stopped from error

        self._climbing = Phase.target in phases
        try:
            search(self.space, self.search_seed, guarded, phases)
        finally:
            self._climbing = False
        if stopped_by is not None:
            raise stopped_by

    def _finding(self) -> Finding:
        details: dict[str, Any] = {"seed": self.search_seed, "tolerance": self.built.model.parity_limit}
        if self.judging.conditioned:
            details["badly_conditioned"] = self.judging.conditioned
        if self.judging.tied:
            details["ties"] = self.judging.tied
            details["ties_in"] = sorted(self.judging.ties)
        if self.judging.set_aside:
            details["set_aside"] = self.judging.set_aside
        if self.known:
            details["known_counterexamples"] = self.known
        if self.failing is None and self.furthest is not None and self.worst.ratio > 0:
            self.finds.add(self.furthest[1], failed=False)
        failure = self._failure(self.failing, details) if self.failing is not None else ""
        value = max(self.worst.ratio, self.furthest[0].ratio if self.furthest else 0.0)
        if self.stateful and value <= self.built.model.parity_limit:
            value = float("inf")  # no matter of rounding
        notes: tuple[str, ...] = ()
        if self.failing is None:
            details["fixed_list"] = {"tried": self._listed - self._left, "of": self._listed}
            limit = self.built.model.parity_limit
            notes = effort_notes(value, limit, self.tried, (self._listed - self._left, self._listed), self.budget)
        doubt = self.judging.doubt
        return Finding(
            PARITY,
            value,
            value,
            samples=self.tried,
            failure=failure,
            doubt=doubt,
            notes=(*self.judging.notes, *notes),
            details=details,
        )

    def _told(self, difference: Difference, recipe: Recipe) -> str:
        """A difference, for a person."""
        unit = "what Closeness allows" if isinstance(self.built.model.tolerance, Closeness) else "what float32 is off"
        finite = difference.ratio != float("inf")
        size = f"{difference.ratio:.3g} × {unit}" if finite else "no matter of rounding: off at any tolerance"
        then = "; then prepared" if self.space.is_prepared and not recipe.is_sample else ""
        place = f"{difference.output}[{', '.join(map(str, difference.index))}]: " if difference.output else ""
        return f"{place}{difference.what} ({size}; input: {self.space.told(recipe)}{then})"

    def _failure(self, failing: Recipe, details: dict[str, Any]) -> str:
        self.finds.add(failing, failed=True)
        details["input"] = self.space.told(failing)
        if self.stateful and self.worst.ratio <= self.built.model.parity_limit:
            # It is right by itself: there is nothing to replay.
            return f"{self.stateful} (input: {details['input']})"
        if self.keep_replay is not None:
            details["replay"] = self.keep_replay(failing, self.worst)
        changing = self.stateful or (UNSTEADY if self.unsteady else "")
        unsteady = f"{changing}; " if changing else ""
        failure = f"{unsteady}{self._told(self.worst, failing)}"
        if self.known:
            failure += f"; {self.known} of earlier runs' counterexamples came first"
        if self.furthest is not None and self.furthest[0].ratio > self.worst.ratio:
            failure += f". Furthest off of all: {self._told(*self.furthest)}"
        if self.locate is not None and not (self.unsteady or self.stateful):
            beside = [recipe for recipe in reversed(self._failed.values()) if recipe.key != failing.key]
            location = self.locate([failing, *beside[: FAILING - 1]])
            details["location"] = location.described
            failure += f". {location}"
        if "replay" in details:
            program = shown_path(self.evidence / details["replay"] / PROGRAM_NAME)
            failure += f". See it again: python {shlex.quote(program)}"
        return f"{failure}{self._hint_of_validity(failing)}"

    def _hint_of_validity(self, failing: Recipe) -> str:
        """Say what to declare where only inputs go wrong that the model may never get in use; "" elsewhere."""
        usual, _ = self.space.whole_range()
        odd_only = usual.key in self._passed and not any(map(_is_spread, [failing, *self._failed.values()]))
        if not odd_only or self.built.model.prepare is not None:
            return ""
        return (
            ". Inputs that are spread over the whole range agree: if the model never gets one like this in use, say so "
            "in the model file: Model(prepare=…) makes what is drawn valid, min_value and max_value narrow the range"
        )


def _is_spread(recipe: Recipe) -> bool:
    """Whether it has nothing odd: values spread over the range, or a sample's."""
    return all(fill.kind in ("uniform", "sample") and not fill.special for fill in recipe.fills)
