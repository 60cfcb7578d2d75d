"""The search's budget: what is spent on computing, whatever the wall's clock says; and what a PASS is read with."""

from __future__ import annotations

import time

import pytest

from harness.parity.budget import CEILING, Budget, effort_notes


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.at = 5.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Hands:
    """The wall's clock."""
    hands = Hands()
    monkeypatch.setattr("harness.parity.budget.time.monotonic", hands)
    return hands


@pytest.mark.parametrize(
    ("spent", "passed", "over", "by_wall"),
    [
        pytest.param(0.5, 0.5, False, False, id="neither"),
        pytest.param(0.5, CEILING, False, False, id="a-busy-machine"),
        pytest.param(1.5, 1.5, True, False, id="spent"),
        pytest.param(0.5, CEILING + 1, True, True, id="the-ceiling"),
        pytest.param(1.5, CEILING + 1, True, False, id="both"),
    ],
)
def test_what_is_spent_ends_it_and_the_wall_only_as_a_ceiling(
    wall: Hands, spent: float, passed: float, over: bool, by_wall: bool
) -> None:
    host, device = Hands(), Hands()
    budget = Budget((host, device))
    host.at += spent / 2
    device.at += spent / 2
    wall.at += passed
    assert (budget.is_over(1.0), budget.by_wall) == (over, by_wall)


def test_waiting_spends_nothing() -> None:
    budget = Budget()
    time.sleep(0.05)
    assert budget.spent_s < 0.05


@pytest.mark.parametrize(
    ("value", "tried", "listed", "by_wall", "said"),
    [
        pytest.param(4.1, 400, (140, 140), False, [], id="all-tried"),
        pytest.param(27.0, 400, (140, 140), False, [], id="large-on-many"),
        pytest.param(4.1, 15, (15, 140), False, ["15 of the 140 inputs of its fixed list"], id="a-list-not-finished"),
        pytest.param(4.1, 15, (15, 140), True, ["something else kept the machine busy"], id="by-the-wall"),
        pytest.param(27.0, 15, (15, 140), False, ["15 of the 140", "27 of 30 after 15 inputs only"], id="large-on-few"),
    ],
)
def test_a_pass_on_little_says_so(
    value: float, tried: int, listed: tuple[int, int], by_wall: bool, said: list[str]
) -> None:
    notes = effort_notes(value, 30.0, tried, listed, Budget(by_wall=by_wall))
    assert len(notes) == len(said)
    assert all(words in note for words, note in zip(said, notes, strict=True))
