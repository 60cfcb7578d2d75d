"""What a search has seen so far."""

from __future__ import annotations

from dataclasses import dataclass, field

from .rule.comparison import Difference
from .trials.recipe import Recipe


@dataclass(kw_only=True)
class SearchState:
    """What a search has seen so far: its steps write to it, and nothing else does.

    A recipe is in ``passed`` or in ``failed``, never in both, unless the answers change from call to call. Once
    ``failing`` is set it is never None again, and ``worst`` is its difference.

    Attributes:
        worst: of all that were judged; once an input failed, the failing input's.
        furthest: of all that were judged, also after an input failed; None before any was.
        failing: the input that failed last: when all is done, the simplest.
        passed: the differences of recipes within the limit, by key: they are not judged again.
        failed: the recipes beyond it, by key, in the order in which they failed last.
        unsteady: whether an input that had failed passed when it was tried again.
        stateful: how it showed that the artifact keeps state; "" where it did not.
        counterexamples: how many of earlier runs were tried.
        listed: how many inputs the fixed list has.
        left: how many of these were not tried.
    """

    worst: Difference = field(default_factory=Difference)
    furthest: tuple[Difference, Recipe] | None = None
    failing: Recipe | None = None
    passed: dict[str, Difference] = field(default_factory=dict)
    failed: dict[str, Recipe] = field(default_factory=dict)
    unsteady: bool = False
    stateful: str = ""
    counterexamples: int = 0
    listed: int = 0
    left: int = 0

    def note(self, recipe: Recipe, difference: Difference) -> None:
        """Note how far off a judged input is, whether or not that is too far."""
        if self.furthest is None or difference.ratio > self.furthest[0].ratio:
            self.furthest = difference, recipe
        if difference.ratio > self.worst.ratio and self.failing is None:
            self.worst = difference

    def fail(self, recipe: Recipe, difference: Difference) -> None:
        """Note that an input failed."""
        self.worst, self.failing = difference, recipe
        self.failed.pop(recipe.key, None)  # the order is that in which they failed last
        self.failed[recipe.key] = recipe
