"""What a search has found, in words and figures; of a mismatch, its replay and where it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..checks.finding import Finding
from ..errors import HilgateError
from ..model.model import Closeness
from . import PARITY
from .budget import effort_notes
from .replay import how_to_replay
from .rule.comparison import Difference
from .statefulness import UNSTEADY
from .trials.recipe import Recipe

if TYPE_CHECKING:
    from .search import ParitySearch

# How many failing inputs fault localization is given: the simplest, and others beside it.
FAILING = 3


def finding_without_reference(search: ParitySearch, error: HilgateError) -> Finding:
    """Say that there is nothing to compare with: the module gives none, or its process on this host ended.

    A host whose memory runs out in a float64 run says nothing of the model on the device (issue 15).
    """
    missing = "; ".join(filter(None, (line.strip() for line in str(error).splitlines())))
    return Finding(PARITY, samples=search.tried, no_bound_reason=missing)


def finding_of(search: ParitySearch) -> Finding:
    """Return what a search that has ended found.

    A failing input is remembered and kept for replay, and where it begins is looked for on the device.
    """
    state, judging, limit = search.state, search.judging, search.built.model.parity_limit
    details: dict[str, Any] = {"seed": search.search_seed, "tolerance": limit, **_counts(search)}
    if state.failing is None and state.furthest is not None and state.worst.ratio > 0:
        search.finds.add(state.furthest[1], failed=False)
    failure = _failure(search, state.failing, details) if state.failing is not None else ""
    value = max(state.worst.ratio, state.furthest[0].ratio if state.furthest else 0.0)
    if state.stateful and value <= limit:
        value = float("inf")  # no matter of rounding
    notes: tuple[str, ...] = ()
    if state.failing is None:
        listed = state.listed - state.left, state.listed
        details["fixed_list"] = {"tried": listed[0], "of": listed[1]}
        notes = effort_notes(value, limit, search.tried, listed, search.budget)
    return Finding(
        PARITY,
        value,
        value,
        samples=search.tried,
        failure=failure,
        invalid_reason=judging.doubt,
        notes=(*judging.tally.notes, *notes),
        details=details,
    )


def _counts(search: ParitySearch) -> dict[str, Any]:
    """Count the inputs that were something else than simply right or wrong."""
    judging = search.judging
    counts: dict[str, Any] = {}
    if judging.tally.conditioned:
        counts["badly_conditioned"] = judging.tally.conditioned
    if judging.tally.tied:
        counts["ties"] = judging.tally.tied
        counts["ties_in"] = sorted(judging.tally.ties)
    if judging.tally.set_aside:
        counts["set_aside"] = judging.tally.set_aside
    if search.state.counterexamples:
        counts["known_counterexamples"] = search.state.counterexamples
    return counts


def _failure(search: ParitySearch, failing: Recipe, details: dict[str, Any]) -> str:
    """Say what failed, after remembering it, keeping it for replay, and locating it.

    Args:
        search: has ended.
        failing: the input that failed.
        details: is given "input", "replay" and "location".
    """
    state, limit = search.state, search.built.model.parity_limit
    search.finds.add(failing, failed=True)
    details["input"] = search.space.told(failing)
    if state.stateful and state.worst.ratio <= limit:
        # The answer is right when asked alone: there is nothing to replay.
        return f"{state.stateful} (input: {details['input']})"
    if search.keep_replay is not None:
        details["replay"] = search.keep_replay(failing, state.worst)
    changing = state.stateful or (UNSTEADY if state.unsteady else "")
    unsteady = f"{changing}; " if changing else ""
    failure = f"{unsteady}{_in_words(search, state.worst, failing)}"
    if state.counterexamples:
        failure += f"; {state.counterexamples} of earlier runs' counterexamples came first"
    if state.furthest is not None and state.furthest[0].ratio > state.worst.ratio:
        failure += f". Furthest off of all: {_in_words(search, *state.furthest)}"
    if search.locate is not None and not changing:
        beside = [recipe for recipe in reversed(state.failed.values()) if recipe.key != failing.key]
        location = search.locate([failing, *beside[: FAILING - 1]])
        details["location"] = location.described
        failure += f". {location}"
    if "replay" in details:
        failure += f". {how_to_replay(search.evidence / details['replay'])}"
    return f"{failure}{_hint_of_validity(search, failing)}"


def _in_words(search: ParitySearch, difference: Difference, recipe: Recipe) -> str:
    """Describe a difference for a person, with the input on which it is."""
    unit = "what Closeness allows" if isinstance(search.built.model.tolerance, Closeness) else "what float32 is off"
    finite = difference.ratio != float("inf")
    size = f"{difference.ratio:.3g} × {unit}" if finite else "no matter of rounding: off at any tolerance"
    then = "; then prepared" if search.space.is_prepared and not recipe.is_sample else ""
    place = f"{difference.output}[{', '.join(map(str, difference.index))}]: " if difference.output else ""
    return f"{place}{difference.what} ({size}; input: {search.space.told(recipe)}{then})"


def _hint_of_validity(search: ParitySearch, failing: Recipe) -> str:
    """Say what to declare where only inputs go wrong that the model may never get in use; "" elsewhere."""
    state = search.state
    usual, _ = search.space.whole_range()
    odd_only = usual.key in state.passed and not any(map(_is_spread, [failing, *state.failed.values()]))
    if not odd_only or search.built.model.prepare is not None:
        return ""
    return (
        ". Inputs that are spread over the whole range agree: if the model never gets one like this in use, say so "
        "in the model file: Model(prepare=…) makes what is drawn valid, min_value and max_value narrow the range"
    )


def _is_spread(recipe: Recipe) -> bool:
    """Tell whether a recipe has nothing odd: values spread over the range, or a sample's."""
    return all(fill.kind in ("uniform", "sample") and not fill.special for fill in recipe.fills)
