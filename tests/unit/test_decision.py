"""The decision: tables of cells whose right decision is known by construction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
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


def test_a_cell_that_is_out_and_has_no_hash_is_told_beside_the_others() -> None:
    broken = make_cell("a", [], error="the export was refused", verdict="FAIL", model_sha256=None)
    (decision,) = decide_all(read(make_run([broken, cell("b", 8, 50)])).cells)
    assert (decision.taken, decision.model_sha256, decision.notes) == ("b", "a" * 64, [])
    assert decision.out[0].reason == "it cannot run: the export was refused"


ODD: list[tuple[dict[str, Any], str]] = [
    ({"error": "it crashed\nat load", "verdict": "FAIL"}, "it cannot run: it crashed at load"),
    ({"error": "in use", "verdict": "INCONCLUSIVE"}, "it could not be measured to the end: in use"),
    ({"not_built": "no compiler", "verdict": "NOT_APPLICABLE"}, "it was not built: no compiler"),
    ({"unfinished": ["test_parity"], "verdict": "INCONCLUSIVE"}, "unfinished, without a check from: test_parity"),
    ({"verdict": "INELIGIBLE"}, "its verdict does not follow from its numbers: INELIGIBLE, although PASS follows"),
    ({"error": "it crashed"}, "PASS, although it could not run to its end"),
    ({"unfinished": ["test_parity"]}, "PASS, although tests came to no check"),
    ({"not_built": "no compiler"}, "PASS, although its backend was not built"),
    ({"verdict": "FAIL"}, "FAIL, although PASS follows from its checks"),
]


@pytest.mark.parametrize(("keys", "reason"), ODD)
def test_a_cell_is_out_for_what_concerns_it_as_a_whole(keys: dict[str, Any], reason: str) -> None:
    decision = decided(cell("a", 1, 1, **keys), cell("b", 9, 50))
    assert decision.taken == "b"
    assert reason in decision.out[-1].reason


def test_all_reasons_are_told() -> None:
    checks = [
        make_check("parity", 900, 30, reason="outputs differ", location={"module": "gate"}),
        make_check(P99, 12.0, 10, reason="wanted ≤ 10"),
        make_check(LOAD, 1.0, 2, verdict="INCONCLUSIVE", reason="throttled"),
        make_check(MEMORY, 70.0, 64, verdict="PASS"),
    ]
    (out,) = decided(make_cell("a", checks, error="it crashed", unfinished=["test_x"])).out
    for reason in (
        "it cannot run: it crashed",
        "unfinished, without a check from: test_x",
        "its memory_peak_mib does not follow from its numbers: PASS, although its bound of 70 breaks the limit of 64",
        "parity failed at module gate: outputs differ",
        "latency_p99_ms 12 ms, of 10: would have to fall to 10",
        "load_time_s is not settled (limit 2): throttled",
    ):
        assert reason in out.reason
    assert (out.metric, out.found, out.limit, out.needed) == (P99, 12.0, 10, 10)


def test_a_backend_that_is_there_twice_is_out() -> None:
    decision = decided(cell("a", 1, 1), cell("a", 1, 1), cell("b", 9, 50))
    assert decision.taken == "b"
    assert [entry.backend for entry in decision.out] == ["a", "a"]
    assert "it is there twice" in decision.out[0].reason


def test_a_metric_of_which_a_value_is_missing_is_skipped_and_that_is_said() -> None:
    without = make_cell("b", [make_check("parity", 3.0, 30.0), make_check(MEMORY, 20)])
    decision = decided(cell("a", 1, 50), without)
    assert decision.taken == "b"
    assert [(step.metric, step.skipped) for step in decision.steps] == [(P99, "no value of b"), (MEMORY, None)]


@pytest.mark.parametrize(
    "keys", [{"bound": None}, {"bound": "inf"}, {"bound": "nan"}, {"bound": "-inf"}, {"reason": "throttled"}]
)
def test_a_value_that_nothing_vouches_for_loses_to_any_bound(keys: dict[str, Any]) -> None:
    checks = [make_check("parity", 3.0, 30.0), {**make_check(P99, 1.0), **keys}, make_check(MEMORY, 1)]
    doubtful = make_cell("a", checks)
    decision = decided(doubtful, cell("b", 900, 50, limit=None))
    assert decision.taken == "b"
    assert decision.out[0].reason.startswith("latency_p99_ms has no bound (estimate 1 ms), of 900 (b)")
    assert decided(doubtful, make_cell("c", [*checks[:2], make_check(MEMORY, 2)])).steps[0].skipped == (
        "estimates alone: none has a bound"
    )


def test_higher_is_better_where_the_check_says_so() -> None:
    scored = [
        make_cell(name, [make_check("parity", 3.0, 30.0), make_check("accuracy", score, 0.5), make_check(MEMORY, mib)])
        for name, score, mib in (("a", 1.0, 50), ("b", 0.95, 30), ("c", 0.949, 10))
    ]
    decision = decided(*scored, prefer=("accuracy", MEMORY))
    assert (decision.taken, decision.order) == ("b", ["b", "a", "c"])
    assert decision.out[1].reason == "accuracy 0.949, of 1 (a): would have to rise to 0.95"
    headroom = {entry.metric: entry.percent for entry in decision.headroom}
    assert headroom["accuracy"] == pytest.approx(90)


@pytest.mark.parametrize(
    ("metric", "better", "taken"),
    [
        (P99, (None, None), "a"),
        ("accuracy", (None, None), "b"),
        ("own", (None, None), "a"),
        ("own", ("lower", "higher"), "a"),
        ("own", ("higher", "higher"), "b"),
    ],
)
def test_without_a_direction_a_metric_of_hilgates_own_counts_and_another_is_skipped(
    metric: str, better: tuple[str | None, str | None], taken: str
) -> None:
    older = [
        make_cell(name, [make_check("parity", 3.0, 30.0), make_check(metric, value, better=way)])
        for name, value, way in zip("ab", (1.0, 2.0), better, strict=True)
    ]
    decision = decided(*older, prefer=(metric,))
    assert decision.taken == taken
    assert bool(decision.steps[0].skipped) == (metric == "own" and better != ("higher", "higher"))


def test_what_is_out_has_no_say_in_which_way_is_better() -> None:
    own = [
        make_cell(name, [make_check("parity", 3.0, 30.0), make_check("own", value, better=better)], **keys)
        for name, value, better, keys in (
            ("a", 1.0, "higher", {}),
            ("b", 2.0, "higher", {}),
            ("c", 0.5, "lower", {"error": "it crashed", "verdict": "FAIL"}),
        )
    ]
    decision = decided(*own, prefer=("own",))
    assert (decision.taken, decision.changes) == ("b", [])
    assert [change.kind for change in decided(*own[:2], prefer=("own",)).changes] == ["number", "number"]


def test_an_emulated_board_is_decided_by_what_can_be_known_there() -> None:
    def emulated(name: str, count: int, mib: float) -> dict[str, Any]:
        checks = [
            make_check("parity", 3.0, 30.0),
            make_check(P99, None, verdict="NOT_APPLICABLE", reason="an emulated CPU's clock says nothing"),
            make_check("instructions_per_inference", count),
            make_check(MEMORY, mib),
            make_check("artifact_mib", 0.2),
        ]
        return make_cell(name, checks, emulated=True)

    decision = decided(emulated("a", 5_000_000, 50), emulated("b", 5_100_000, 20))
    assert decision.prefer == ["instructions_per_inference", MEMORY, "artifact_mib"]
    assert decision.taken == "b"
    assert decision.sentence.endswith("Not measured on a board.")
    assert any(note.startswith("not measured on a board") for note in decision.notes)


def test_notes_say_what_the_decision_does_not_know() -> None:
    bare = [make_cell(name, [make_check(P99, 8.0, 10)], model_sha256=None) for name in "ab"]
    prints = [{"cpu": "Cortex-A72"}, {"cpu": "Cortex-A76"}]
    bare = [{**each, "fingerprint": print_} for each, print_ in zip(bare, prints, strict=True)]
    notes = " ".join(decided(*bare).notes)
    for what in ("whether these are one model", "not all of these were measured on one machine", "it has no parity"):
        assert what in notes
    (note,) = decided(cell("a", 8, 50, limit=None)).notes
    assert note.startswith("a had no limit but parity's own")


@pytest.mark.parametrize("figure", [10**400, 1e300, 1e-300, -1e300, 0, "inf", "nan"])
def test_no_figure_breaks_it(figure: float | str) -> None:
    odd = make_cell("a", [make_check("parity", 3.0, 30.0), {**make_check(P99, 1.0), "value": figure, "bound": figure}])
    decision = decided(odd, cell("b", 8, 50), within_percent=1e300)
    assert decision.taken in ("a", "b")


@pytest.mark.parametrize("percent", [-1, float("nan"), float("inf")])
def test_a_share_that_is_none_is_refused(percent: float) -> None:
    with pytest.raises(InputError, match="no usable number"):
        decided(cell("a", 8, 50), within_percent=percent)


def test_when_nothing_may_be_taken_the_nearest_change_is_told() -> None:
    failed = make_cell("a", [make_check("parity", 9e9, 30, reason="differs", location={"module": "gate"})])
    decision = decided(failed, cell("b", 11, 50))
    assert decision.sentence.startswith(
        "Deploy none: every backend is out. Nearest: a would be taken if parity held at module gate."
    )
    assert decision.changes[1].text == "b would be taken if its latency_p99_ms fell from 11.00 to 10.00 ms"


def test_what_the_documentation_works_through_is_so() -> None:
    def row(name: str, p99: float, mib: float, load: float, **parity: Any) -> dict[str, Any]:
        checks = [make_check("parity", **{"value": 3.0, **parity}, limit=30.0), make_check(P99, p99, 10)]
        return make_cell(name, [*checks, make_check(MEMORY, mib, 128), make_check(LOAD, load)])

    differs = {"value": 812.0, "reason": "answers differ on 2 of 306 inputs", "location": {"module": "gate"}}
    decision = decided(
        row("libtorch", 6.2, 122, 0.73, **differs),
        row("onnxruntime", 8.1, 63.3, 0.99),
        row("onnxruntime-cpp", 8.3, 33.2, 0.03),
        row("torchscript", 12.4, 135, 1.4),
    )
    page = " ".join((Path(__file__).parents[2] / "docs" / "report.md").read_text(encoding="utf-8").split())
    assert f"> {decision.sentence}" in page
    assert " ".join(f"- not {out.backend}: {out.reason}" for out in decision.out) in page
    assert " ".join(f"- {change.text}" for change in decision.changes) in page


def test_among_equals_what_was_not_measured_comes_last() -> None:
    equals = [
        make_cell(name, [make_check("parity", 3.0, 30.0), make_check(P99, 8.0, 10), *rest])
        for name, rest in (("a", []), ("b", [make_check(MEMORY, 30)]), ("c", [make_check(MEMORY, 20)]))
    ]
    decision = decided(*equals)
    assert (decision.order, decision.tied) == (["c", "b", "a"], [])
    assert decision.steps[1].skipped == "no value of a"


def test_that_nobody_tested_the_answers_is_said_in_the_sentence_itself() -> None:
    checks = [make_check(P99, 5.0, 10)]
    assert "Whether its answers are right was not tested." in decided(make_cell("a", checks)).sentence
    tested = make_cell("a", [make_check("parity", 3.0, 30.0), *checks])
    assert "not tested" not in decided(tested).sentence


def test_a_figure_that_is_infinite_is_told_as_the_evidence_has_it() -> None:
    growing = {**make_check(P99, 5.0, 10), "bound": "inf", "verdict": "FAIL", "reason": "the queue grows"}
    decision = decided(make_cell("a", [make_check("parity", 3.0, 30.0), growing]))
    assert (decision.taken, decision.out[0].found) == (None, "inf")
    json.dumps(decision.as_json(), allow_nan=False)


def test_backends_at_other_sizes_are_told_apart_in_a_note() -> None:
    checks = [make_check("parity", 3.0, 30.0), make_check(P99, 5.0, 10)]
    decision = decided(make_cell("a", checks, measure={"batch": 1}), make_cell("b", checks, measure={"batch": 32}))
    assert any("at one size" in note for note in decision.notes)


def test_what_was_preferred_and_decided_nothing_is_in_the_notes() -> None:
    decision = decided(cell("a", 5, 50), cell("b", 6, 40), prefer=["energy_per_inference_mj"])
    assert any("energy_per_inference_mj decided nothing" in note for note in decision.notes)
