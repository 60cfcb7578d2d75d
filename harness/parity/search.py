"""The search for an input on which a backend differs: Hypothesis draws, the device answers, the reference judges.

First come a few fixed inputs, then what Hypothesis draws, until the time is up. The sequence depends on the model
file's
declarations, the seed and the version of Hypothesis, and on nothing else: not on the backend, on how fast the device
is, or on what else this process has imported. So every cell is asked the same, and each reference is computed once.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, Phase, Verbosity, errors, given, seed, settings

from ..build import BuiltModel
from ..errors import AgentFailure
from ..finding import Finding
from ..inputs import Arrays
from ..model import Array
from . import PARITY
from .comparison import Difference, compare
from .inputs import Recipe, first_recipes, recipes
from .reference import NoReference, Reference

# How many inputs are drawn: as many as fit into the time, within these counts.
EXAMPLES = (10, 100)
SEARCH_S = 20.0
# On an emulated device, where an inference takes a hundred times as long: a prefix of the same sequence.
EMULATED_SEARCH_S = 3.5
# Shrinking tries hundreds of inputs. Where one takes longer than this, the input stays as it was found.
SHRINK_BELOW_S = 1.0
SHRINK_S = 20.0

Infer = Callable[[Arrays], list[Array]]
Report = Callable[[int, int], None]


class Mismatch(AssertionError):
    """A backend's answer is not the model's."""


class _Stopped(BaseException):
    """Ends Hypothesis's search at once: any other error would be taken for a mismatch, and shrunk towards."""


@dataclass
class ParitySearch:
    """Looks for the input on which a deployment is furthest from the reference.

    Args:
        infer: the deployment's outputs for one set of inputs.
        names: the deployment's names of its outputs.
        search_seed: Hypothesis's; the same seed tries the same inputs, on every backend and device, also with CI set.
        report: is told (inputs tried, inputs to try).
        search_s: for how long to search.
        keep_replay: keeps a failing input with all that is needed to see it again; returns its folder's path.
    """

    built: BuiltModel
    reference: Reference
    infer: Infer
    names: tuple[str, ...]
    search_seed: int
    report: Report
    keep_replay: Callable[[Recipe, Difference], str] | None = None
    search_s: float = SEARCH_S
    worst: Difference = field(default_factory=Difference)
    failing: Recipe | None = None
    tried: int = 0
    total: int = 0
    unjudged: int = 0
    conditioned: int = 0  # inputs on which the input's own rounding explains the difference
    unsteady: bool = False
    _until: float = 0.0

    def check(self, recipe: Recipe) -> Difference:
        """One input: the property that is searched.

        Raises:
            Mismatch: the backend is off by more than the tolerance, or refuses what the model takes.
        """
        arrays = recipe.make(self.built.model)
        expected = self.reference(arrays)
        try:
            answers = self.infer(arrays)
            difference = compare(expected, self.names, answers)
            if self.built.model.tolerance < difference.ratio < float("inf"):
                expected = self.reference.widened(arrays)
                widened = compare(expected, self.names, answers)
                self.conditioned += widened.ratio <= self.built.model.tolerance
                difference = widened
        except AgentFailure as error:
            difference = Difference(
                float("inf"), what=f"the model takes this input, the backend does not: {error.found}"
            )
        self.tried += 1
        self.unjudged += any(one.says_nothing(self.built.model.tolerance) for one in expected)
        self.report(self.tried, max(self.total, self.tried))
        if difference.ratio > self.worst.ratio and self.failing is None:
            self.worst = difference
        if difference.ratio > self.built.model.tolerance:
            self.worst, self.failing = difference, recipe
            raise Mismatch(difference.what)
        return difference

    def run(self, prop: Callable[[Recipe], object]) -> Finding:
        """Search, and say what was found.

        Args:
            prop: the property, such as ``check``: takes a recipe, raises Mismatch.

        Raises:
            HilgateError: whatever is no mismatch: the agent died, the model rejects its own inputs, …
        """
        try:
            self._search(prop)
        except Mismatch:
            pass
        except errors.Flaky:
            self.unsteady = True
        except NoReference as error:
            if self.failing is None:
                return Finding(PARITY, samples=self.tried, missing=" ".join(str(error).split()))
        return self._finding()

    def _search(self, prop: Callable[[Recipe], object]) -> None:
        first = first_recipes(self.built.model)
        least = len(first) + EXAMPLES[0]
        start = time.monotonic()
        self._try_all(prop, first)
        each_s = (time.monotonic() - start) / max(self.tried, 1)
        self.total = min(max(int(self.search_s / each_s), least), len(first) + EXAMPLES[1])
        if each_s < SHRINK_BELOW_S:
            # Also where one has failed: to see whether a simpler one does.
            self._until = SHRINK_S + time.monotonic() if self.failing else self.search_s + start
            self._draw(prop, least, [Phase.generate, Phase.shrink])
        elif self.failing is None:
            self._until = self.search_s + start
            self._draw(prop, least, [Phase.generate])

    def _try_all(self, prop: Callable[[Recipe], object], first: list[Recipe]) -> None:
        """Up to the first that fails, and that one twice."""
        for recipe in first:
            try:
                prop(recipe)
            except Mismatch:
                with contextlib.suppress(Mismatch):
                    prop(recipe)
                    self.unsteady = True
                return

    def _draw(self, prop: Callable[[Recipe], object], least: int, phases: list[Phase]) -> None:
        stopped_by: Exception | None = None

        def guarded(recipe: Recipe) -> None:
            nonlocal stopped_by
            if time.monotonic() > self._until and (self.failing is not None or self.tried >= least):
                raise _Stopped
            fresh = self.failing is None
            try:
                prop(recipe)
            except Mismatch:
                if fresh:
                    self._until = time.monotonic() + SHRINK_S
                raise
            except errors.HypothesisException:
                raise
            except Exception as error:
                stopped_by = error
                raise _Stopped from error

        test: Callable[..., None] = given(recipe=recipes(self.built.model))(guarded)
        with _the_same_draws_everywhere(), contextlib.suppress(_Stopped):
            seed(self.search_seed)(_settings(phases)(test))()
        if stopped_by is not None:
            raise stopped_by

    def _finding(self) -> Finding:
        details: dict[str, Any] = {"seed": self.search_seed, "tolerance": self.built.model.tolerance}
        if self.conditioned:
            details["badly_conditioned"] = self.conditioned
        failure = ""
        if self.failing is not None:
            details["input"] = str(self.failing)
            if self.keep_replay is not None:
                details["replay"] = self.keep_replay(self.failing, self.worst)
            ratio = self.worst.ratio
            size = f"{ratio:.3g} × what float32 is off" if ratio != float("inf") else "no rounding"
            place = f"{self.worst.output}[{', '.join(map(str, self.worst.index))}]: " if self.worst.output else ""
            unsteady = "the answers change from call to call, for the same input; " if self.unsteady else ""
            failure = f"{unsteady}{place}{self.worst.what} ({size}; input: {self.failing})"
        value = self.worst.ratio
        return Finding(PARITY, value, value, samples=self.tried, failure=failure, doubt=self._doubt(), details=details)

    def _doubt(self) -> str:
        if self.unjudged * 2 <= self.tried:
            return ""
        return (
            f"on {self.unjudged} of {self.tried} inputs float32 is so far from float64 that even zeros would be within "
            "the tolerance: does forward draw random numbers, or keep something from call to call?"
        )


@contextlib.contextmanager
def _the_same_draws_everywhere() -> Iterator[None]:
    """Keep Hypothesis from drawing constants that it finds in the source of local modules.

    It draws one number in twenty from there, and keeps what it found in the current folder's .hypothesis: the same seed
    would give other inputs in another folder, or once another backend has been imported. There is no setting for it.
    """
    with contextlib.ExitStack() as stack:
        # These are private: with a later Hypothesis that has others, the search goes on without them.
        with contextlib.suppress(ImportError, AttributeError):
            from hypothesis.internal.conjecture import providers
            from hypothesis.internal.constants_ast import Constants

            stack.enter_context(mock.patch.multiple(providers, _get_local_constants=Constants, CONSTANTS_CACHE={}))
        yield


def _settings(phases: list[Phase]) -> Any:
    """Our own, whatever profile is loaded: with CI set, Hypothesis would derandomize and ignore the seed.

    The number of examples is always the same: Hypothesis draws other ones, from the first on, where it is another.
    """
    return settings(
        max_examples=EXAMPLES[1],
        backend="hypothesis",
        phases=phases,
        derandomize=False,
        database=None,
        deadline=None,
        print_blob=False,
        verbosity=Verbosity.quiet,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
