"""The decision: tables of cells whose right decision is known by construction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from harness.decision import decide, decide_all
from harness.errors import InputError
from harness.evidence.decision_entry import DecisionEntry
from tests.support.evidences import make_cell, make_check, make_run, read

P99, MEMORY, LOAD = "latency_p99_ms", "memory_peak_mib", "load_time_s"


def cell(backend: str, p99: float, memory: float, limit: float | None = 10, **keys: Any) -> dict[str, Any]:
    """Make a cell that passes parity, with a limit on p99 alone."""
    checks = [make_check("parity", 3.0, 30.0), make_check(P99, p99, limit), make_check(MEMORY, memory)]
    return make_cell(backend, checks, **keys)


def decided(*cells: Mapping[str, Any], **keys: Any) -> DecisionEntry:
    """Decide among cells as JSON has them."""
    return decide(read(make_run(cells)).cells, **keys)


@pytest.mark.parametrize(
    ("cells", "taken", "order"),
    [
        ([("a", 8, 50), ("b", 9, 20)], "a", ["a", "b"]),  # more than 5 % slower: its memory does not matter
        ([("a", 8, 50), ("b", 8.4, 20)], "b", ["b", "a"]),  # exactly 5 %: as good as the best
        ([("a", 8, 50), ("b", 8.41, 20)], "a", ["a", "b"]),
        ([("a", 8, 50), ("b", 8.1, 51)], "a", ["a", "b"]),  # as good in both: the exact figures
        ([("b", 8, 50), ("a", 8.1, 49)], "b", ["b", "a"]),
        ([("b", 8, 50), ("a", 8, 50)], "a", ["a", "b"]),  # nothing tells them apart: the name
        ([("a", 0, 50), ("b", 0.001, 20)], "a", ["a", "b"]),  # 5 % of nothing is nothing
        ([("a", 0, 50), ("b", 0, 20)], "b", ["b", "a"]),
        ([("a", -2, 50), ("b", -1.95, 20)], "b", ["b", "a"]),  # 5 % of its size
        ([("a", -2, 50), ("b", -1.8, 20)], "a", ["a", "b"]),
        ([("a", 8, 50), ("b", 30, 20)], "a", ["a"]),  # over its limit
        ([("a", 11, 50), ("b", 30, 20)], None, []),
    ],
)
def test_metrics_eliminate_in_their_order(
    cells: Sequence[tuple[str, float, float]], taken: str | None, order: list[str]
) -> None:
    decision = decided(*(cell(*each) for each in cells))
    assert (decision.taken, decision.order) == (taken, order)


def test_a_tie_is_called_a_tie() -> None:
    decision = decided(cell("b", 8, 50), cell("a", 8, 50), cell("c", 8, 51))
    assert (decision.taken, decision.tied) == ("a", ["b"])
    assert "b is tied with it" in decision.sentence


def test_one_cell_alone_has_nothing_to_be_compared_with() -> None:
    assert "there was nothing to compare it with" in decided(cell("a", 8, 50)).sentence


def test_what_had_no_limit_is_ranked_and_not_recommended() -> None:
    measured = [make_cell(name, [make_check(P99, p99)]) for name, p99 in (("a", 9.0), ("b", 5.0))]
    decision = decided(*measured)
    assert (decision.taken, decision.order, decision.without_limit) == (None, ["b", "a"], ["b", "a"])
    assert "Deploy none: no backend had a limit to keep" in decision.sentence
    with_limit = decided(*measured, cell("c", 9.9, 900))
    assert (with_limit.taken, with_limit.order) == ("c", ["c", "b", "a"])


def test_emulated_and_real_cells_and_other_models_are_never_ranked_against_each_other() -> None:
    cells = [
        cell("a", 8, 50),
        cell("b", 9, 50, emulated=True),
        cell("c", 9, 50, model_sha256="b" * 64),
        cell("d", 9, 50, model_sha256=None),
        cell("e", 9, 50, device="pi5"),
        cell("f", 9, 50, model="other"),
    ]
    decisions = decide_all(read(make_run(cells)).cells)
    assert [decision.taken for decision in decisions] == ["a", "b", "c", "d", "e", "f"]
    with pytest.raises(InputError, match="cannot be decided among each other"):
        decided(*cells)
