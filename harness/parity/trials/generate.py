"""What Hypothesis does for the search: it draws recipes from a seed, climbs to larger errors, and shrinks what fails.

What is drawn depends on the model file's declarations, the seed and the version of Hypothesis, and on nothing else: not
on how fast the device is, nor on what else this process has imported, nor on whether CI is set.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings, target

from .recipe import Recipe, once
from .space import InputSpace

# So many recipes come from the seed alone, the same for all cells; then each cell climbs.
DRAWN = 64
# Hypothesis begins to climb when half of its examples are drawn.
EXAMPLES = 256


class Stopped(BaseException):
    """Ends Hypothesis's search at once: any other error would be taken for a mismatch, and shrunk towards."""


def drawn(space: InputSpace, search_seed: int) -> list[Recipe]:
    """Draw the first recipes of a seed: the first that ``search`` tries, too."""
    result: list[Recipe] = []

    def collect(recipe: Recipe) -> None:
        result.append(recipe)
        if len(result) == DRAWN:
            raise Stopped

    search(space, search_seed, collect, [Phase.generate])
    return once(result)


def search(space: InputSpace, search_seed: int, test: Callable[[Recipe], None], phases: list[Phase]) -> None:
    """Let Hypothesis look for a recipe on which a test fails.

    Args:
        space: what is drawn from.
        search_seed: the same gives the same draws.
        test: raises what is to be shrunk towards, Stopped to end it all; tells ``aim`` what is to become larger.
        phases: of Hypothesis's, those that run.

    Raises:
        Exception: what the test raised, of the simplest recipe; Hypothesis's Flaky where it does not always.
    """
    with _the_same_draws_everywhere(), contextlib.suppress(Stopped):
        seed(search_seed)(_settings(phases)(given(recipe=space.recipes())(_named(test))))()


def aim(ratio: float) -> None:
    """Let Hypothesis climb to a larger ratio; to be called inside a test.

    It climbs by the logarithm, so as well from 1e-3 as from 1.
    """
    if 0 < ratio < math.inf:
        target(math.log2(ratio), label="error")


def _named(test: Callable[[Recipe], None]) -> Callable[..., None]:
    """Wrap a test in a function whose parameter has the name that Hypothesis looks for."""

    def of_recipe(recipe: Recipe) -> None:
        test(recipe)

    return of_recipe


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
    """Make settings of our own, whatever profile is loaded: with CI set, Hypothesis would ignore the seed.

    The number of examples is always the same: Hypothesis draws other ones, from the first on, where it is another.
    """
    return settings(
        max_examples=EXAMPLES,
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
