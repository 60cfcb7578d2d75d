"""Does the backend give the model's answers?"""

from __future__ import annotations

import pytest

from harness.checks.finding import RecordCheck
from harness.parity.search import ParitySearch
from harness.parity.trials.recipe import Recipe
from harness.run.both_sides import BothSearches

# First in each cell: how fast a wrong answer comes is not worth waiting for.
pytestmark = pytest.mark.hil(order=-1)


def test_parity(parity_search: ParitySearch | BothSearches, record_check: RecordCheck) -> None:
    """For every input that the model file allows, the answer is as near to float64 as float32 arithmetic gets."""

    def answers_agree(recipe: Recipe) -> None:
        parity_search.check(recipe)

    record_check(parity_search.run(answers_agree))
