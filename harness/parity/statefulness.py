"""Whether an artifact keeps state where the module keeps none: one input is asked again after another."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import AgentFailure
from ..model.model import Array
from .judging import Judging
from .trials.recipe import Recipe

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


def changing_input(judging: Judging) -> Recipe | None:
    """Ask for one input, for another, and for the first again; return the first where its answer has changed.

    Raises:
        NoReference: the module itself gives two answers.
    """
    first, other, *_ = judging.reference.space.whole_range()
    return first if judging.changes_around(first, other) else None


def state_at(judging: Judging, failing: Recipe) -> str:
    """Say that the artifact keeps state, where an input that fails shows it; "" where it does not."""
    other = next(recipe for recipe in judging.reference.space.whole_range() if recipe.key != failing.key)
    judging.forget()
    return STATE if judging.changes_around(failing, other) else ""


def state_of_fresh(judging: Judging, failing: Recipe, used: list[Array], fresh: Callable[[], list[Array]]) -> str:
    """Say that the artifact keeps state, where a process that was asked nothing before gives another answer.

    Args:
        judging: compares the two answers.
        failing: the input that failed.
        used: the answer of the process that was asked other inputs before.
        fresh: gives that of a new process, whose start ends the one before.
    """
    try:
        return STATE_FRESH if judging.are_apart(failing, used, fresh()) else ""
    except AgentFailure:
        return ""
