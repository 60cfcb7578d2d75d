"""The search for an input on which a backend differs: Hypothesis draws, the device answers, the reference judges."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, errors, example, given, seed, settings

from ..build import BuiltModel
from ..checks import Finding
from ..errors import AgentFailure, HilgateError
from ..inputs import Arrays
from ..model import Array
from . import PARITY
from .comparison import Difference, compare
from .inputs import Recipe, first_recipes, recipes
from .reference import NoReference, Reference

# How many inputs are tried: as many as fit into the time, within these counts.
EXAMPLES = (10, 100)
SEARCH_S = 20.0
# Shrinking tries hundreds of inputs; where one takes longer than this, the input stays as it was found.
SHRINK_BELOW_S = 0.1

Infer = Callable[[Arrays], list[Array]]
Report = Callable[[int, int], None]


class Mismatch(AssertionError):
    """A backend's answer is not the model's."""


class _Stopped(BaseException):
    """Carries an error that is no mismatch past Hypothesis, which would otherwise shrink towards it."""


@dataclass
class ParitySearch:
    """Looks for the input on which a deployment is furthest from the reference.

    Args:
        infer: the deployment's outputs for one set of inputs.
        names: the deployment's names of its outputs.
        search_seed: Hypothesis's; the same seed tries the same inputs, on every backend and device, also with CI set.
        report: is told (inputs tried, inputs to try).
        keep_replay: keeps a failing input with all that is needed to see it again; returns its folder's path.
    """

    built: BuiltModel
    reference: Reference
    infer: Infer
    names: tuple[str, ...]
    search_seed: int
    report: Report
    keep_replay: Callable[[Recipe, Difference], str] | None = None
    worst: Difference = field(default_factory=Difference)
    failing: Recipe | None = None
    tried: int = 0
    total: int = 0

    def check(self, recipe: Recipe) -> Difference:
        """One input: the property that is searched.

        Raises:
            Mismatch: the backend is off by more than the tolerance, or refuses what the model takes.
        """
        arrays = recipe.make(self.built.model)
        expected = self.reference(arrays)
        try:
            difference = compare(expected, self.names, self.infer(arrays))
        except AgentFailure as error:
            difference = Difference(
                float("inf"), what=f"the model takes this input, the backend does not: {error.found}"
            )
        self.tried += 1
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
        unsteady = ""
        try:
            self._search(prop)
        except Mismatch:
            pass
        except errors.Flaky:
            unsteady = "the answers change from call to call, for the same input; "
        except NoReference as error:
            return Finding(PARITY, missing=str(error).replace("\n", " "))
        except _Stopped as stopped:
            cause = stopped.__cause__
            if isinstance(cause, NoReference):
                return Finding(PARITY, missing=" ".join(str(cause).split()))
            raise cause if cause else stopped from None
        return self._finding(unsteady)

    def _search(self, prop: Callable[[Recipe], object]) -> None:
        first = first_recipes(self.built.model)
        start = time.monotonic()
        prop(first[0])  # also says what an input costs
        cost_s = time.monotonic() - start
        low, high = EXAMPLES
        drawn = int(min(max(SEARCH_S / max(cost_s, 1e-6), low), high))
        self.total = drawn + len(first)

        def guarded(recipe: Recipe) -> None:
            try:
                prop(recipe)
            except HilgateError as error:
                raise _Stopped from error

        phases = [Phase.explicit, Phase.generate, *([Phase.shrink] if cost_s < SHRINK_BELOW_S else [])]
        test: Callable[..., None] = given(recipe=recipes(self.built.model))(guarded)
        for recipe in reversed(first[1:]):
            test = example(recipe=recipe)(test)
        seed(self.search_seed)(_settings(drawn, phases)(test))()

    def _finding(self, unsteady: str) -> Finding:
        details: dict[str, Any] = {"seed": self.search_seed, "tolerance": self.built.model.tolerance}
        failure = ""
        if self.failing is not None:
            details["input"] = str(self.failing)
            if self.keep_replay is not None:
                details["replay"] = self.keep_replay(self.failing, self.worst)
            ratio = self.worst.ratio
            size = f"{ratio:.3g} × what float32 is off" if ratio != float("inf") else "no rounding"
            place = f"{self.worst.output}[{', '.join(map(str, self.worst.index))}]: " if self.worst.output else ""
            failure = f"{unsteady}{place}{self.worst.what} ({size}; input: {self.failing})"
        value = self.worst.ratio
        return Finding(PARITY, value, value, samples=self.tried, failure=failure, details=details)


def _settings(examples: int, phases: list[Phase]) -> Any:
    """Our own, whatever profile is loaded: with CI set, Hypothesis would derandomize and ignore the seed."""
    return settings(
        max_examples=examples,
        phases=phases,
        derandomize=False,
        database=None,
        deadline=None,
        print_blob=False,
        verbosity=Verbosity.quiet,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
