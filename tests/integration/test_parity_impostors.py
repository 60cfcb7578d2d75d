"""Wrong programs that a rule for sums in any order could hide: the check must tell each from the right model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from harness.model.build import build_model, one_thread
from harness.model.model import Array
from harness.model.model_file import ModelFile
from harness.parity.rule.reference import Reference
from harness.parity.search import Mismatch, ParitySearch
from harness.parity.trials.recipe import Recipe
from tests.corpus.impostors import IMPOSTORS, MIXED, PRODUCTS, RANGES, SUMS, Impostor

SEARCH_S = 1.0
# The longest of each kind are the hardest; the others are tried in the slow run.
LONGEST = {name.rpartition("-")[0]: name for name in SUMS | PRODUCTS | MIXED}
QUICK = {*LONGEST.values(), *RANGES}


def is_found(impostor: Impostor, seed: int) -> bool:
    """Whether a search fails: there is no need for the simplest input, or for the worst."""
    built = build_model(ModelFile(Path("net.py"), impostor.model, ()))
    reference = Reference(built)

    def answers(recipes: Sequence[Recipe]) -> list[list[Array]]:
        with torch.no_grad(), one_thread():
            made = [[torch.from_numpy(array) for array in reference.space.make(recipe).values()] for recipe in recipes]
            return [[impostor.wrong(*tensors).numpy()] for tensors in made]

    search = ParitySearch(
        reference=reference,
        infer=answers,
        names=built.outputs,
        search_seed=seed,
        report=lambda done, total: None,
        search_s=SEARCH_S,
    )
    try:
        for recipe in [*search.space.essential(), *search.space.corners()]:
            search.check(recipe)
    except Mismatch:
        return True
    return False


@pytest.mark.parametrize("name", sorted(QUICK))
def test_an_impostor_is_found(name: str) -> None:
    assert is_found(IMPOSTORS[name](), seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(IMPOSTORS.keys() - QUICK))
def test_a_shorter_impostor_is_found_too(name: str) -> None:
    assert is_found(IMPOSTORS[name](), seed=0)
