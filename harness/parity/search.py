"""The search for an input on which a backend differs: recipes are drawn, the device answers, the reference judges.

What is known comes first: counterexamples of earlier runs, and what other cells of this run were furthest off on. Then
a list that depends on the model file's declarations and on the seed alone: every cell is asked the same, and each
reference is computed once. Then Hypothesis climbs, for each cell by its own answers, until the time is up: that which
is spent on computing (see budget). Before anything is blamed one input is asked again after another, on the host and on
the device: either may keep state (see rule.purity, statefulness).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import InitVar, dataclass, field
from pathlib import Path

from hypothesis import Phase, errors

from ..checks.finding import Finding
from ..errors import AgentFailure, ProcessError, RemoteError
from ..model.build import BuiltModel
from ..model.model import Array
from .budget import Budget, Clock
from .judging import Infer, Judging
from .pace import LEAST, Pace
from .rule.comparison import Difference
from .rule.no_reference import AtThreshold, NoReference
from .rule.reference import Reference
from .search_finding import EndedSearch, Place, finding_of, finding_without_answer, finding_without_reference
from .search_state import SearchState
from .statefulness import STATE, changing_input, state_at, state_of_fresh
from .trials.counterexamples import Counterexamples
from .trials.generate import Stopped, aim, drawn, search
from .trials.recipe import Recipe, once
from .trials.shrink import simplify
from .trials.space import InputSpace

SEARCH_S = 20.0
# On an emulated device, where an inference takes a hundred times as long: a prefix of the same list.
EMULATED_SEARCH_S = 3.5
# Shrinking tries hundreds of inputs. Where one takes longer than this, the input stays as it was found.
SHRINK_BELOW_S = 1.0
# At most this part of the time goes to the list, so that some is left to climb in.
FIXED_SHARE = 0.5
# Where some inputs are such that too many of them make the check inconclusive, the list goes on for up to so many times
# all of the time: how fast the machine is must not decide of how many inputs the share is taken.
DOUBT_SHARE = 3.0
# Where so many inputs were set aside, and none was judged, the model has no reference at all.
ALL_ASIDE = 8

Report = Callable[[int, int], None]
Property = Callable[[Recipe], object]


class Mismatch(AssertionError):
    """A backend's answer is not the model's."""


@dataclass(kw_only=True)
class ParitySearch:
    """Looks for the input on which a deployment is furthest from the reference.

    What it has seen is in ``state``, how far the answers are off in ``judging``, and how long it goes on in ``pace``;
    ``finding_of`` says what came of it. What holds throughout:

    - A recipe is judged once. It is judged again only where it failed, to see whether it does so every time.
    - All that comes before climbing depends on the model file and on the seed alone: every cell is asked the same.
    - Once an input has failed, only simpler inputs are tried, for a limited time of the wall's clock.
    - A mismatch is the backend's only where the module itself gives one answer for one input.

    Args:
        infer: the deployment's outputs for each recipe's inputs.
        names: the deployment's names of its outputs.
        search_seed: Hypothesis's; the same seed tries the same inputs, on every backend and device, also with CI set.
        report: is told (inputs tried, inputs to try).
        keep_replay: keeps a failing input with all that is needed to see it again; returns its folder's path in
            ``evidence``.
        evidence: the folder of the run's evidence.
        search_s: for how long to search, by the clocks.
        counterexamples: the counterexamples that are known, and those that this cell adds.
        locate: where in the model failing inputs go wrong, the simplest first.
        clocks: what is spent on the search, in seconds: the host's CPU time, and what the device says that it took.
        fresh: the outputs of a process on the device that was not asked anything before.
    """

    reference: Reference
    infer: Infer
    names: tuple[str, ...]
    search_seed: int
    report: Report
    keep_replay: Callable[[Recipe, Difference], str] | None = None
    search_s: InitVar[float] = SEARCH_S
    counterexamples: Counterexamples = field(default_factory=Counterexamples)
    locate: Callable[[Sequence[Recipe]], Place] | None = None
    clocks: Sequence[Clock] = (time.process_time,)
    fresh: Callable[[Recipe], list[Array]] | None = None
    evidence: Path = Path()
    state: SearchState = field(init=False, default_factory=SearchState)
    judging: Judging = field(init=False)
    pace: Pace = field(init=False)
    _is_climbing: bool = field(init=False, default=False)

    def __post_init__(self, search_s: float) -> None:
        self.judging = Judging(self.reference, self.infer, self.names)
        budget = Budget(self.clocks)
        self.pace = Pace(state=self.state, judging=self.judging, budget=budget, search_s=search_s)

    @property
    def built(self) -> BuiltModel:
        """The model."""
        return self.reference.built

    @property
    def budget(self) -> Budget:
        """The time that was spent."""
        return self.pace.budget

    @property
    def worst(self) -> Difference:
        """How far the worst answer is off; of a mismatch, that of the failing input."""
        return self.state.worst

    @property
    def failing(self) -> Recipe | None:
        """The input that failed, as simple as it could be made; None where none did."""
        return self.state.failing

    @property
    def tried(self) -> int:
        """How many inputs were judged."""
        return self.judging.tally.tried

    @property
    def space(self) -> InputSpace:
        """The inputs that there are."""
        return self.reference.space

    def check(self, recipe: Recipe) -> Difference:
        """Judge one input: the property that is searched.

        Returns:
            How far the answer is off.

        Raises:
            Mismatch: the backend is off by more than the tolerance, or refuses what the model takes.
            NoReference: there is nothing to compare with, whatever the input.
        """
        try:
            difference = self.state.passed.get(recipe.key) or self._judge(recipe)
        except AtThreshold:
            if not self.tried and self.judging.tally.set_aside >= ALL_ASIDE:
                raise  # it is no threshold: there is no input on which the two agree
            difference = Difference()
        if self._is_climbing:
            aim(difference.ratio)
        if difference.ratio > self.built.model.parity_limit:
            self.state.fail(recipe, difference)
            raise Mismatch(difference.what)
        self.state.passed[recipe.key] = difference
        return difference

    def _judge(self, recipe: Recipe) -> Difference:
        difference = self.judging.judge(recipe, climbed=self._is_climbing)
        self.report(self.tried, max(self.pace.total, self.tried))
        self.state.note(recipe, difference)
        return difference

    def run(self, prop: Property) -> Finding:
        """Search, and return what was found.

        Args:
            prop: the property, such as ``check``: takes a recipe, raises Mismatch.

        Raises:
            HilgateError: whatever is no mismatch: the agent died, the model rejects its own inputs, …
        """
        try:
            return self._run(prop)
        except RemoteError as error:
            return finding_without_answer(self._ended, error)

    def _run(self, prop: Property) -> Finding:
        self.budget.begin()
        try:
            self._look_for_state()
            if not self.state.stateful:
                self._search(prop)
        except Mismatch:
            pass
        except errors.Flaky:
            self.state.unsteady = True
        except (NoReference, ProcessError) as error:
            if self.failing is None:
                return finding_without_reference(self._ended, error)
        if self.failing is not None:
            if (impurity := self.reference.impurity_at(self.space.make(self.failing))) is not None:
                return finding_without_reference(self._ended, impurity)
            self.state.stateful = self.state.stateful or state_at(self.judging, self.failing)
        if self.failing is not None and not (self.state.unsteady or self.state.stateful):
            if self.pace.each_s <= SHRINK_BELOW_S:
                self._simplify(prop, self.failing)
            self.state.stateful = self._state_of_fresh(self.failing)
        return finding_of(self._ended)

    @property
    def _ended(self) -> EndedSearch:
        return EndedSearch(
            state=self.state,
            judging=self.judging,
            budget=self.budget,
            search_seed=self.search_seed,
            counterexamples=self.counterexamples,
            keep_replay=self.keep_replay,
            locate=self.locate,
            evidence=self.evidence,
        )

    def _look_for_state(self) -> None:
        """Ask for one input, for another, and for the first again: a, b, a.

        Raises:
            NoReference: the module itself gives two answers.
        """
        first = changing_input(self.judging)
        if first is None:
            return
        self.state.stateful = STATE
        with contextlib.suppress(Mismatch):
            self.check(first)
        self.state.failing = first

    def _state_of_fresh(self, failing: Recipe) -> str:
        """Say that the artifact keeps state where a new process shows it.

        It is the last thing to do, for it ends the process before.
        """
        if self.fresh is None:
            return ""
        ask = self.fresh
        try:
            (used,) = self.infer([failing])
        except AgentFailure:
            return ""
        return state_of_fresh(self.judging, failing, used, lambda: ask(failing))

    def _search(self, prop: Property) -> None:
        """Try what is known, then the list, then what Hypothesis draws, until the time is up or an input fails."""
        known = self.counterexamples.known(self.space)
        essential = once([*known, *self.counterexamples.met(self.space), *self.space.essential()])
        self.state.counterexamples = len(self.counterexamples.remembered(self.space))
        self.pace.least = len(essential) + LEAST
        self._try_all(prop, essential)
        if self.failing is None:
            listed = [*self.space.corners(), *drawn(self.space, self.search_seed), *self.space.every_size()]
            self._try_all(prop, listed, FIXED_SHARE)
        slow = self.pace.each_s > SHRINK_BELOW_S
        if self.failing is not None and not slow:
            self.pace.begin_shrinking()
            self._climb(prop, [Phase.generate, Phase.shrink])
        elif self.failing is None and not self.pace.is_over():
            self._climb(prop, [Phase.generate, Phase.target, *([] if slow else [Phase.shrink])])

    def _simplify(self, prop: Property, failing: Recipe) -> None:
        """Shrink an input that Hypothesis did not come upon by itself, and so did not make simpler."""

        def fails(recipe: Recipe) -> bool:
            if self.pace.is_over():
                return False
            try:
                prop(recipe)
            except Mismatch:
                return True
            except NoReference:
                return False
            return False

        simplify(failing, self.built.model, fails)

    def _try_all(self, prop: Property, recipes: list[Recipe], share: float = 1.0) -> None:
        """Try recipes up to the first that fails, and that one twice; none that has passed already.

        Args:
            prop: the property.
            recipes: in the order in which they are tried.
            share: of the search's time, after which the rest is left.
        """
        recipes = once(recipe for recipe in recipes if recipe.key not in self.state.passed)
        self.state.listed += len(recipes)
        for index, recipe in enumerate(recipes):
            if self.pace.is_over(share) and (not self.judging.tally.is_unsettled or self.pace.is_over(DOUBT_SHARE)):
                self.state.left += len(recipes) - index
                return
            if not self.judging.is_asked(recipe):
                self.judging.ask(self.pace.next_call(recipes[index:]))
            try:
                prop(recipe)
            except Mismatch:
                with contextlib.suppress(Mismatch):
                    prop(recipe)
                    self.state.unsteady = True
                self.judging.forget()
                return

    def _climb(self, prop: Property, phases: list[Phase]) -> None:
        """Let Hypothesis draw recipes, and climb to larger errors if ``phases`` has Phase.target.

        What is no Mismatch ends Hypothesis at once, and is raised here: it must not be shrunk, or run again.
        """
        stopped_by: Exception | None = None

        def guarded(recipe: Recipe) -> None:
            nonlocal stopped_by
            if self.pace.is_over():
                raise Stopped
            is_first = self.failing is None
            try:
                prop(recipe)
            except Mismatch:
                if is_first:
                    self.pace.begin_shrinking()
                raise
            except errors.HypothesisException:
                raise
            except Exception as error:
                stopped_by = error
                raise Stopped from error

        self._is_climbing = Phase.target in phases
        try:
            search(self.space, self.search_seed, guarded, phases)
        finally:
            self._is_climbing = False
        if stopped_by is not None:
            raise stopped_by
