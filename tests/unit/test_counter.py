"""What a run counts, and what is said where the board that counts is not what it should be."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.checks.check import Verdict, judge
from harness.errors import DeviceError, EmulatorError, HilgateError, LinkError
from harness.run.counter import Counter

CELL = cast(Any, SimpleNamespace(id="cell", device=SimpleNamespace(emulated=True, can_count=True)))


class Guest:
    """It has no count: its board was not there, or another."""

    def __init__(self, error: HilgateError) -> None:
        self.error = error

    def result(self, cell: Any) -> Any:
        raise self.error


@pytest.mark.parametrize("kind", [DeviceError, EmulatorError, LinkError])
def test_a_board_that_counts_and_fails_says_nothing_of_the_device(kind: type[HilgateError]) -> None:
    """Otherwise the device itself were given up, with all of its cells."""
    counter = Counter(
        options=cast(Any, None), evidence=cast(Any, None), _guest=cast(Any, Guest(kind("it has no Python")))
    )
    check = judge(counter.finding(CELL), [], emulated=True)
    assert check.verdict is Verdict.INCONCLUSIVE
    assert "it has no Python" in check.reason
