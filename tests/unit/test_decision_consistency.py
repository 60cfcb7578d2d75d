"""Verdicts that do not follow from their numbers are found, and whatever hilgate judges itself is none of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.checks.check import Verdict, judge, overall
from harness.checks.finding import Finding
from harness.checks.limits import Limit, Metric
from harness.decision import CELL, cell_of_run, contradictions, decide
from harness.evidence.parts import describe_check
from harness.evidence.schema import CellEntry
from tests.support.evidences import make_cell, make_check, make_run, read

P99 = "latency_p99_ms"
FIGURES = st.sampled_from([0.0, 0.5, 0.9, 1.0, 1.1, 2.0, float("inf")])
LIMITS = st.sampled_from([0.0, 0.9, 1.0, 2.0, float("inf")])


@st.composite
def findings(draw: st.DrawFn) -> Finding:
    """Draw what may be measured: a bound is never better than its estimate, a low bound never worse."""
    metric = Metric("own", "ms", "", bound=draw(st.sampled_from(["max", "min"])), wall_clock=draw(st.booleans()))
    best, value, worst = sorted(draw(st.tuples(FIGURES, FIGURES, FIGURES)), reverse=metric.bound == "min")
    failure, invalid, undecided = (draw(st.sampled_from(["", "", "because"])) for _ in range(3))
    if not draw(st.booleans()):
        return Finding(metric, no_bound_reason="no samples", failure=failure)
    return Finding(
        metric,
        value,
        draw(st.sampled_from([worst, None])),
        bound_low=draw(st.sampled_from([best, None])),
        not_applicable=draw(st.sampled_from(["", "", "", "not here"])),
        not_judged_reason=draw(st.sampled_from(["", "", "", "too few samples"])),
        no_bound_reason="too few blocks",
        failure=failure,
        invalid_reason=invalid,
        undecided_reason=undecided,
    )


@settings(max_examples=300, deadline=None)
@given(findings(), st.lists(LIMITS, max_size=2), st.booleans(), st.booleans())
def test_what_hilgate_judges_is_no_contradiction(
    finding: Finding, limits: list[float], doubted: bool, emulated: bool
) -> None:
    given_limits = [Limit(finding.metric.limit_key, limit, "net.py") for limit in limits]
    if doubted:
        given_limits.append(Limit(finding.metric.limit_key, 1.0, "baseline", invalid_reason="of another CPU"))
    entry = describe_check(judge(finding, given_limits, emulated=emulated))
    cell = CellEntry(model="net", device="pi4", backend="a", verdict=overall([entry.verdict]), checks=[entry])
    assert contradictions(cell) == {}


HIGHER: dict[str, Any] = {"better": "higher"}


@pytest.mark.parametrize(
    ("check", "what"),
    [
        (make_check(P99, 12.0, 10, verdict="PASS"), "PASS, although its bound of 12 breaks the limit of 10"),
        (make_check(P99, 9.0, 10, verdict="PASS", bound=10.00001), "its bound of 10.00001 breaks the limit of 10"),
        (make_check(P99, 12.0, 10, verdict="PASS", bound=9.0), "PASS, although its value of 12 breaks"),
        (make_check(P99, 9.0, 10, bound_low=11.0), "PASS, although its lower bound of 11 breaks"),
        (make_check(P99, 9.0, 10, verdict="PASS", bound=None), "PASS, although there is no bound"),
        ({**make_check(P99, 9.0, 10), "bound": "nan"}, "PASS, although there is no bound"),
        (make_check(P99, None, 10, verdict="PASS", bound=9.0), "PASS, although there is no value"),
        (make_check(P99, 9.0, verdict="PASS"), "PASS, although there is no limit"),
        ({**make_check(P99, 9.0, verdict="PASS"), "limit": "nan"}, "PASS, although there is no limit"),
        (make_check("own", 0.8, 0.9, verdict="PASS", **HIGHER), "PASS, although its bound of 0.8 breaks"),
        (make_check("accuracy", 0.8, 0.9, verdict="PASS", better=None), "PASS, although its bound of 0.8 breaks"),
        (make_check(P99, 12.0, 10, verdict="PASS", **HIGHER), "it says that higher is better, and lower is"),
        (make_check(P99, 12.0, 10, verdict="MEASURED"), "MEASURED, although a limit of 10 is set"),
        (make_check(P99, None, verdict="MEASURED"), "MEASURED, although there is no value"),
        (make_check(P99, 9.0, 10, verdict="FAIL"), "FAIL, although no bound breaks the limit and no reason is given"),
        (make_check(P99, 12.0, 10, verdict="NOT_APPLICABLE", reason=""), "NOT_APPLICABLE without a reason"),
    ],
)
def test_a_verdict_that_does_not_follow_is_found_and_never_wins(check: dict[str, Any], what: str) -> None:
    odd = make_cell("a", [make_check("parity", 3.0, 30.0), check])
    run = read(make_run([odd, make_cell("b", [make_check("parity", 3.0, 30.0), make_check(P99, 99.0, 100)])]))
    assert what in contradictions(run.cells[0])[check["metric"]]
    decision = decide(run.cells)
    assert decision.taken == "b"
    assert f"its {check['metric']} does not follow from its numbers: " in decision.out[0].reason
    assert not any(change.backend == "a" for change in decision.changes)  # nobody knows what it really has


def test_a_cell_that_passes_over_a_failed_check_is_found() -> None:
    odd = make_cell("a", [make_check("parity", 3.0, 30.0), make_check(P99, 12.0, 10)], verdict="PASS")
    run = read(make_run([odd]))
    assert contradictions(run.cells[0]) == {CELL: f"PASS, although FAIL follows from its checks ({P99})"}
    assert decide(run.cells).taken is None


@pytest.mark.parametrize("verdict", [verdict for verdict in Verdict if verdict is not Verdict.INCONCLUSIVE])
def test_a_cell_without_a_check_is_inconclusive_and_nothing_else(verdict: Verdict) -> None:
    (cell,) = read(make_run([make_cell("a", [], verdict=verdict)])).cells
    assert CELL in contradictions(cell)
    assert decide([cell]).taken is None


FORBIDDEN = {"forbidden": "rules.onboard: no computer outside the robot"}
PASSED = [make_check("parity", 3.0, 30.0)]


@pytest.mark.parametrize(
    ("checks", "verdict", "is_odd"),
    [
        ([], Verdict.INELIGIBLE, False),
        (PASSED, Verdict.INELIGIBLE, False),
        (PASSED, Verdict.PASS, True),
        ([], Verdict.PASS, True),
        ([], Verdict.INCONCLUSIVE, True),
        ([make_check(P99, 12.0, 10)], Verdict.FAIL, False),
        ([make_check(P99, 12.0, 10)], Verdict.INELIGIBLE, True),
    ],
)
def test_what_a_rule_forbids_is_ineligible_and_never_taken(checks: list[Any], verdict: Verdict, is_odd: bool) -> None:
    (cell,) = read(make_run([make_cell("a", checks, verdict=verdict, **FORBIDDEN)])).cells
    assert (CELL in contradictions(cell)) is is_odd
    decision = decide([cell])
    assert decision.taken is None
    assert FORBIDDEN["forbidden"] in " ".join(one.reason for one in decision.out)


def test_nothing_is_taken_from_a_run_that_has_not_ended() -> None:
    good = make_cell("a", [make_check("parity", 3.0, 30.0)])
    ended, going_on = read(make_run([good])), read(make_run([good], finished=None))
    assert decide([cell_of_run(ended, cell) for cell in ended.cells]).taken == "a"
    decision = decide([cell_of_run(going_on, cell) for cell in going_on.cells])
    assert decision.taken is None
    assert "unfinished, without a check from: the run itself" in decision.out[0].reason


def test_a_cell_that_says_it_is_of_a_board_and_has_an_emulators_fingerprint_is_found() -> None:
    emulator = {"emulator": {"qemu": "7.2", "image": "pi4", "state": None}}
    checks = [make_check("parity", 3.0, 30.0), make_check(P99, 1.0, 2.0)]
    honest = make_cell("a", checks, emulated=True, fingerprint=emulator)
    edited = make_cell("a", checks, emulated=False, fingerprint=emulator)
    assert [list(contradictions(read(make_run([cell])).cells[0])) for cell in (honest, edited)] == [[], [CELL]]
