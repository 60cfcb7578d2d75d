"""Three runs of some kinds of the fault matrix, on one board; `make faults` has all kinds, and more of each."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.kinds import NAMES
from tests.faults.stand import Stand
from tests.faults.trial import try_kind

RUNS = 3


@pytest.fixture(scope="module")
def stand(cache: Path) -> Iterator[Stand]:
    """One whose runtime was sent, and whose model was exported."""
    with Stand(cache) as made:
        made.usual_s()
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("name", ["host-killed", "ctrl-c", "sigterm", "link-cut", "agent-killed"])
def test_a_run_that_something_happens_to(stand: Stand, name: str) -> None:
    """The next run comes after the last of the three: each of them is the next of the one before, too."""
    seed = random.SystemRandom().randrange(1 << 32)
    chance = random.Random(seed)
    for number in range(RUNS):
        trial = try_kind(stand, NAMES[name], chance, stand.usual, then=number == RUNS - 1)
        assert trial.problems == [], f"seed {seed}"
