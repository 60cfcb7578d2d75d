"""What a search has found, in words and figures; of a mismatch, its replay and where it begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..checks.finding import Finding
from ..errors import HilgateError, RemoteError
from ..model.build import BuiltModel
from ..model.model import Closeness
from . import PARITY
from .budget import Budget, effort_notes
from .judging import Judging
from .replay import how_to_replay
from .rule.comparison import Difference
from .search_state import SearchState
from .statefulness import UNSTEADY
from .trials.counterexamples import Counterexamples
from .trials.recipe import Recipe
from .trials.space import InputSpace

# How many failing inputs fault localization is given: the simplest, and others beside it.
FAILING = 3


class Place(Protocol):
    """Where in the model a backend leaves the reference."""

    @property
    def described(self) -> dict[str, Any]:
        """The place, for the evidence."""

    def __str__(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class EndedSearch:
    """A search that has ended, and what is done about a mismatch; its fields are those of ParitySearch."""

    state: SearchState
    judging: Judging
    budget: Budget
    search_seed: int
    counterexamples: Counterexamples
    keep_replay: Callable[[Recipe, Difference], str] | None
    locate: Callable[[Sequence[Recipe]], Place] | None
    evidence: Path

    @property
    def built(self) -> BuiltModel:
        """The model."""
        return self.judging.reference.built

    @property
    def space(self) -> InputSpace:
        """The inputs that there are."""
        return self.judging.reference.space

    @property
    def tried(self) -> int:
        """How many inputs were judged."""
        return self.judging.tally.tried


def finding_without_reference(ended: EndedSearch, error: HilgateError) -> Finding:
    """Say that there is nothing to compare with: the module gives none, or its process on this host ended.

    A host whose memory runs out in a float64 run says nothing of the model on the device (issue 15).
    """
    missing = "; ".join(filter(None, (line.strip() for line in str(error).splitlines())))
    return Finding(PARITY, samples=ended.tried, no_bound_reason=missing)


def finding_without_answer(ended: EndedSearch, error: RemoteError) -> Finding:
    """Say that the computer that serves the model did not answer, however often it was asked: that is no wrong answer.

    A mismatch that came before it stays a doubt: it is not known whether it is there every time.
    """
    before = f"; before that an answer was off: {ended.state.worst.what}" if ended.state.failing is not None else ""
    return Finding(PARITY, samples=ended.tried, no_bound_reason=f"{error.told} (after {ended.tried} inputs){before}")


def finding_of(ended: EndedSearch) -> Finding:
    """Return what a search that has ended found.

    A failing input is remembered and kept for replay, and where it begins is looked for on the device.
    """
    state, judging, limit = ended.state, ended.judging, ended.built.model.parity_limit
    details: dict[str, Any] = {"seed": ended.search_seed, "tolerance": limit, **_counts(ended)}
    if state.failing is None and state.furthest is not None and state.worst.ratio > 0:
        ended.counterexamples.add(state.furthest[1], failed=False)
    failure = _failure(ended, state.failing, details) if state.failing is not None else ""
    value = max(state.worst.ratio, state.furthest[0].ratio if state.furthest else 0.0)
    if state.stateful and value <= limit:
        value = float("inf")  # no matter of rounding
    notes: tuple[str, ...] = ()
    if state.failing is None:
        listed = state.listed - state.left, state.listed
        details["fixed_list"] = {"tried": listed[0], "of": listed[1]}
        notes = effort_notes(value, limit, ended.tried, listed, ended.budget)
    return Finding(
        PARITY,
        value,
        value,
        samples=ended.tried,
        failure=failure,
        invalid_reason=judging.doubt,
        notes=(*judging.tally.notes, *notes),
        details=details,
    )


def _counts(ended: EndedSearch) -> dict[str, Any]:
    """Count the inputs that were something else than simply right or wrong."""
    judging = ended.judging
    counts: dict[str, Any] = {}
    if judging.tally.conditioned:
        counts["badly_conditioned"] = judging.tally.conditioned
    if judging.tally.tied:
        counts["ties"] = judging.tally.tied
        counts["ties_in"] = sorted(judging.tally.ties)
    if judging.tally.set_aside:
        counts["set_aside"] = judging.tally.set_aside
    if ended.state.counterexamples:
        counts["known_counterexamples"] = ended.state.counterexamples
    return counts


def _failure(ended: EndedSearch, failing: Recipe, details: dict[str, Any]) -> str:
    """Say what failed, after remembering it, keeping it for replay, and locating it.

    Args:
        ended: the search.
        failing: the input that failed.
        details: is given "input", "replay" and "location".
    """
    state, limit = ended.state, ended.built.model.parity_limit
    ended.counterexamples.add(failing, failed=True)
    details["input"] = ended.space.told(failing)
    if state.stateful and state.worst.ratio <= limit:
        # The answer is right when asked alone: there is nothing to replay.
        return f"{state.stateful} (input: {details['input']})"
    if ended.keep_replay is not None:
        details["replay"] = ended.keep_replay(failing, state.worst)
    changing = state.stateful or (UNSTEADY if state.unsteady else "")
    unsteady = f"{changing}; " if changing else ""
    failure = f"{unsteady}{_in_words(ended, state.worst, failing)}"
    if state.counterexamples:
        failure += f"; {state.counterexamples} of earlier runs' counterexamples came first"
    if state.furthest is not None and state.furthest[0].ratio > state.worst.ratio:
        failure += f". Furthest off of all: {_in_words(ended, *state.furthest)}"
    if ended.locate is not None and not changing:
        beside = [recipe for recipe in reversed(state.failed.values()) if recipe.key != failing.key]
        location = ended.locate([failing, *beside[: FAILING - 1]])
        details["location"] = location.described
        failure += f". {location}"
    if "replay" in details:
        failure += f". {how_to_replay(ended.evidence / details['replay'])}"
    return f"{failure}{_hint_of_validity(ended, failing)}"


def _in_words(ended: EndedSearch, difference: Difference, recipe: Recipe) -> str:
    """Describe a difference for a person, with the input on which it is."""
    unit = "what Closeness allows" if isinstance(ended.built.model.tolerance, Closeness) else "what float32 is off"
    finite = difference.ratio != float("inf")
    size = f"{difference.ratio:.3g} × {unit}" if finite else "no matter of rounding: off at any tolerance"
    then = "; then prepared" if ended.space.is_prepared and not recipe.is_sample else ""
    place = f"{difference.output}[{', '.join(map(str, difference.index))}]: " if difference.output else ""
    return f"{place}{difference.what} ({size}; input: {ended.space.told(recipe)}{then})"


def _hint_of_validity(ended: EndedSearch, failing: Recipe) -> str:
    """Say what to declare where only inputs go wrong that the model may never get in use; "" elsewhere."""
    state = ended.state
    usual, _ = ended.space.whole_range()
    odd_only = usual.key in state.passed and not any(map(_is_spread, [failing, *state.failed.values()]))
    if not odd_only or ended.built.model.prepare is not None:
        return ""
    return (
        ". Inputs that are spread over the whole range agree: if the model never gets one like this in use, say so "
        "in the model file: Model(prepare=…) makes what is drawn valid, min_value and max_value narrow the range"
    )


def _is_spread(recipe: Recipe) -> bool:
    """Tell whether a recipe has nothing odd: values spread over the range, or a sample's."""
    return all(fill.kind in ("uniform", "sample") and not fill.special for fill in recipe.fills)
