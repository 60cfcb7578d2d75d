"""What becomes of the verdicts of cells that ran on a damaged file (issue 17)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.checks.check import Check, Verdict
from harness.checks.finding import Finding
from harness.deploy.deployer import Deployer
from harness.deploy.deployment import DeviceTime, Timeouts
from harness.errors import AgentDied, DamagedError, DeploymentError
from harness.measure.latency import P99
from harness.run.damage_watch import DamageWatch

RUNTIME = {"runtimes/torch": "libtorch.so: wanted SHA-256 0…; found 1…"}


class Board:
    """Says of its store what a test wants, once: what was damaged has then been removed."""

    def __init__(self, damaged: dict[str, str]) -> None:
        self.damaged, self.notes, self.asked = damaged, list[str](), 0
        self.device = SimpleNamespace(name="pi")
        self.snapshot = SimpleNamespace(damage=lambda *, again: {})

    def check_stored(self, bundle: object) -> None:
        """Nobody has removed anything."""

    def verify(self, bundle: object) -> dict[str, str]:
        self.asked += 1
        found, self.damaged = self.damaged, {}
        self.notes += [f"was damaged: {name}" for name in found]
        return found


class Evidence:
    def __init__(self) -> None:
        self.interrupted: list[str] = []

    def add_interruption(self, cell: Any, reason: str) -> None:
        self.interrupted.append(cell.id)


def deployer(board: Board, name: str, *entries: str, begun: bool = True) -> Deployer:
    cell = SimpleNamespace(id=name, key=(name, "pi", "torch"), device=SimpleNamespace(name="pi", path="pi.toml"))
    bundle = SimpleNamespace(entries=[SimpleNamespace(name=entry) for entry in entries])
    made = Deployer(
        cell=cast(Any, cell),
        board=cast(Any, board),
        bundle=cast(Any, bundle),
        timeouts=Timeouts(),
        device_time=DeviceTime(),
    )
    made.begun = begun
    return made


def watched(damaged: dict[str, str]) -> tuple[DamageWatch, Evidence, Board, list[Deployer]]:
    """Three cells: two that use one runtime, and one of another."""
    board, evidence = Board(damaged), Evidence()
    watch = DamageWatch(cast(Any, evidence))
    made = [("one", "runtimes/torch"), ("two", "runtimes/torch"), ("other", "runtimes/onnx")]
    return watch, evidence, board, [watch.add(deployer(board, name, entry)) for name, entry in made]


FAILED, PASSED = (Check(Finding(P99), None, verdict, "as judged") for verdict in (Verdict.FAIL, Verdict.PASS))


def test_a_fail_with_a_damaged_file_is_none_and_nothing_that_used_it_counts() -> None:
    watch, evidence, _, (one, *_) = watched(RUNTIME)
    check = watch.confirm(one.cell, FAILED)
    assert (check.verdict, check.reason) == (Verdict.INCONCLUSIVE, "was damaged: runtimes/torch; run it again")
    assert evidence.interrupted == ["one", "two"]


def test_a_fail_with_files_that_are_whole_stays_one_and_they_are_not_read_for_each() -> None:
    watch, evidence, board, (one, *_) = watched({})
    assert [watch.confirm(one.cell, FAILED) for _ in range(3)] == [FAILED] * 3
    assert (board.asked, evidence.interrupted) == (1, [])


def test_a_cell_that_used_a_damaged_file_never_fails_even_where_an_answer_to_that_was_dropped() -> None:
    watch, _, board, (one, *_) = watched(RUNTIME)
    assert one.damage()
    assert board.damaged == {}  # it was removed, and what is sent again is whole
    assert watch.confirm(one.cell, FAILED).verdict is Verdict.INCONCLUSIVE
    assert isinstance(watch.explain(one.cell, AgentDied("the agent died")), DamagedError)


def test_for_a_pass_nothing_is_read() -> None:
    watch, _, board, (one, *_) = watched(RUNTIME)
    assert watch.confirm(one.cell, PASSED) == PASSED
    assert board.asked == 0


def test_what_a_cell_is_compared_with_is_hashed_too() -> None:
    watch, evidence, board, (one, *_) = watched({})
    watch.add(deployer(Board(RUNTIME), "one", "runtimes/torch"))
    assert watch.confirm(one.cell, FAILED).verdict is Verdict.INCONCLUSIVE
    assert isinstance(watch.explain(one.cell, AgentDied("the agent died")), DamagedError)
    assert (board.asked, evidence.interrupted) == (1, ["one"])


def test_a_cell_that_has_not_begun_is_not_left_open() -> None:
    watch, evidence, _, (one, two, _) = watched(RUNTIME)
    two.begun = False
    watch.damage(one.cell)
    assert evidence.interrupted == ["one"]


@pytest.mark.parametrize(("damaged", "kind"), [(RUNTIME, DamagedError), ({}, AgentDied)])
def test_what_ended_a_process_is_explained_by_a_damaged_file(damaged: dict[str, str], kind: type[Exception]) -> None:
    watch, _, _, (one, *_) = watched(damaged)
    assert isinstance(watch.explain(one.cell, AgentDied("the agent died")), kind)


@pytest.mark.parametrize(
    ("damaged", "begun", "starts", "kind"),
    [
        pytest.param(RUNTIME, False, 2, None, id="damaged: sent again, and started once more"),
        pytest.param(RUNTIME, True, 1, DamagedError, id="damaged, and used before"),
        pytest.param({}, False, 1, AgentDied, id="whole: the process's own fault"),
    ],
)
def test_a_process_that_does_not_start(
    monkeypatch: pytest.MonkeyPatch, damaged: dict[str, str], begun: bool, starts: int, kind: type[Exception] | None
) -> None:
    made, started = deployer(Board(damaged), "one", "runtimes/torch", begun=begun), list[int]()

    def start() -> Any:
        started.append(1)
        if len(started) == 1:
            with made.failures_kept():
                raise AgentDied("the agent died")
        return "deployment", "load"

    monkeypatch.setattr(made, "_start", start)
    raised: type[Exception] | None = None
    try:
        made.fresh()
    except (DamagedError, DeploymentError) as error:
        raised = type(error)
    assert (len(started), raised) == (starts, kind)
    assert (made.failed is not None) is (kind is AgentDied)


def test_an_emulated_boards_damaged_state_leaves_all_its_cells_open() -> None:
    watch, evidence, board, _ = watched({})
    board.snapshot = SimpleNamespace(damage=lambda *, again: {"states/aa": "memory: another"})
    watch.settle(cast(Any, board))
    assert evidence.interrupted == ["one", "two", "other"]
