"""Properties of the decision, over cells drawn at random; what would change it is carried out as it is printed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.decision import contradictions, decide, find_taken
from harness.evidence.decision_entry import ChangeEntry, DecisionEntry
from tests.support.evidences import make_cell, make_check, make_run, read

P99, MEMORY, LOAD, ACCURACY = "latency_p99_ms", "memory_peak_mib", "load_time_s", "accuracy"
PREFER = (P99, MEMORY, ACCURACY, LOAD)
LIMITS = {P99: 10.0, MEMORY: 64.0, ACCURACY: 0.9, LOAD: 2.0}
# Close enough to each other for 5 % to matter, on both sides of the limits.
FIGURES = {
    P99: (0.0, 4.1, 8.0, 8.1, 8.399999, 8.4, 8.41, 9.97, 10.0, 10.04, 31.0),
    MEMORY: (20.0, 33.2, 34.0, 34.85, 52.0, 63.99, 64.0, 65.0, 900.0),
    ACCURACY: (0.4, 0.899, 0.9, 0.95, 0.951, 0.999),
    LOAD: (0.00013, 0.5, 0.52, 0.53, 1.99, 2.0, 2.5),
}
Cell = dict[str, Any]
QUICK = settings(max_examples=60, deadline=None, derandomize=True)


@st.composite
def checks(draw: st.DrawFn, metric: str) -> Cell | None:
    """Draw a check whose verdict follows from its numbers: with a limit or none, a bound or none, a value or none."""
    kind = draw(st.sampled_from(["known"] * 6 + ["no bound", "doubtful", "not applicable", "absent"]))
    limit = draw(st.sampled_from([None, LIMITS[metric]]))
    value = draw(st.sampled_from(FIGURES[metric]))
    if kind == "absent":
        return None
    if kind == "not applicable":
        return make_check(metric, None, verdict="NOT_APPLICABLE", reason="nobody asked")
    if kind == "no bound":
        return make_check(metric, value, limit, bound=None, bound_low=value, reason="too few blocks")
    if kind == "doubtful" and limit is None:
        return make_check(metric, value, reason="the board was throttled")
    if kind == "doubtful":
        return make_check(metric, value, limit, verdict="INCONCLUSIVE", reason="the board was throttled")
    return make_check(metric, value, limit)


@st.composite
def cells(draw: st.DrawFn, backend: str) -> Cell:
    """Draw a cell; some fail parity, some cannot run."""
    found = [check for metric in PREFER if (check := draw(checks(metric))) is not None]
    parity = draw(st.sampled_from(["kept"] * 4 + ["failed", "absent"]))
    if parity == "failed":
        where = {"location": {"module": "gate"}}
        found.insert(0, make_check("parity", 900.0, 30.0, reason="outputs differ", **where))
    if parity == "kept":
        found.insert(0, make_check("parity", 3.0, 30.0))
    broken = draw(st.sampled_from(["no"] * 8 + ["error", "unfinished"]))
    if broken == "error":
        return make_cell(backend, found, error="it crashed", verdict="FAIL")
    if broken == "unfinished":
        open_cell = make_cell(backend, found, unfinished=["test_latency"])
        return open_cell if open_cell["verdict"] == "FAIL" else {**open_cell, "verdict": "INCONCLUSIVE"}
    return make_cell(backend, found)


@st.composite
def groups(draw: st.DrawFn, most: int = 5) -> list[Cell]:
    """Draw the cells of one model on one device."""
    names = draw(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=most, unique=True))
    return [draw(cells(name)) for name in names]


def decided(group: Sequence[Cell], prefer: Sequence[str] = PREFER) -> DecisionEntry:
    """Decide among cells as JSON has them."""
    return decide(read(make_run(group)).cells, prefer=prefer)


def taken(group: Sequence[Cell], prefer: Sequence[str] = PREFER) -> str | None:
    """Decide among cells as JSON has them, and say only what is taken."""
    return find_taken(read(make_run(group)).cells, prefer=prefer)


def find(cell: Cell, metric: str) -> Cell:
    """Return a cell's check of a metric."""
    return next(check for check in cell["checks"] if check["metric"] == metric)


def with_checks(group: Sequence[Cell], backend: str, changed: Mapping[str, Cell]) -> list[Cell]:
    """Return cells of which one has other checks of some metrics, and the verdict that follows from them."""
    return [
        make_cell(backend, [changed.get(check["metric"], check) for check in cell["checks"]])
        if cell["backend"] == backend
        else cell
        for cell in group
    ]


def moved(group: Sequence[Cell], change: ChangeEntry, figure: Decimal) -> list[Cell]:
    """Carry out a moved figure."""
    return moved_to(group, change.backend, str(change.metric), figure)


def moved_to(group: Sequence[Cell], backend: str, metric: str, figure: Decimal) -> list[Cell]:
    """Return cells of which one has another figure of a metric."""
    cell = next(cell for cell in group if cell["backend"] == backend)
    changed = make_check(metric, float(figure), find(cell, metric)["limit"])
    return with_checks(group, backend, {metric: changed})


def mended(group: Sequence[Cell], backend: str, metrics: Sequence[str]) -> list[Cell]:
    """Carry out mended checks: each passes, with its own figure if that keeps the limit, else at the limit."""
    cell = next(cell for cell in group if cell["backend"] == backend)
    changed = {}
    for metric in metrics:
        check = find(cell, metric)
        own = make_check(metric, check["bound"], check["limit"])
        changed[metric] = (
            own if own["verdict"] in ("PASS", "MEASURED") else make_check(metric, check["limit"], check["limit"])
        )
    return with_checks(group, backend, changed)


@QUICK
@given(groups(), st.randoms(use_true_random=False))
def test_the_order_of_cells_and_checks_does_not_matter(group: list[Cell], random: Any) -> None:
    other = [{**cell, "checks": random.sample(cell["checks"], len(cell["checks"]))} for cell in group]
    random.shuffle(other)
    one, two = decided(group), decided(other)
    assert (one.taken, one.order, one.tied, one.steps) == (two.taken, two.order, two.tied, two.steps)
    assert [change.text for change in one.changes] == [change.text for change in two.changes]


@QUICK
@given(groups())
def test_the_winner_is_never_dominated_and_nothing_that_is_out_is_taken(group: list[Cell]) -> None:
    decision = decided(group)
    passed = {cell["backend"] for cell in group if cell["verdict"] == "PASS"}
    assert (decision.taken is not None) == bool(passed)
    assert decision.taken in passed or not passed
    assert set(decision.order) - set(decision.without_limit) == passed
    for rival in passed - {decision.taken}:
        assert not dominates(group, rival, str(decision.taken))


def dominates(group: Sequence[Cell], rival: str, winner: str) -> bool:
    """Tell whether one is as good in all preferred metrics, and better in one; no bound is worse than any."""
    rows = {cell["backend"]: [score(cell, metric) for metric in PREFER] for cell in group}
    pairs = list(zip(rows[rival], rows[winner], strict=True))
    return all(mine <= its for mine, its in pairs) and any(mine < its for mine, its in pairs)


def score(cell: Cell, metric: str) -> tuple[int, float]:
    """Return what a cell counts in a metric, the lower the better: no bound and no value are alike worse than any."""
    check = next((check for check in cell["checks"] if check["metric"] == metric), None)
    if check is None or check["bound"] is None or (check["verdict"] == "MEASURED" and check["reason"]):
        return 1, 0.0
    return 0, -check["bound"] if metric == ACCURACY else check["bound"]


@QUICK
@given(groups(), cells("z"))
def test_a_cell_that_is_out_changes_nothing_for_the_others(group: list[Cell], other: Cell) -> None:
    if other["verdict"] in ("PASS", "MEASURED"):
        other = {**other, "error": "it crashed", "verdict": "FAIL"}
    one, two = decided(group), decided([*group, other])
    assert (one.taken, one.order, one.tied, one.steps) == (two.taken, two.order, two.tied, two.steps)
    assert two.out[-1].backend == "z"


@QUICK
@given(groups())
def test_every_cell_is_taken_or_told_why_not(group: list[Cell]) -> None:
    decision = decided(group)
    told = [entry.backend for entry in decision.out]
    assert sorted([*told, *([decision.taken] if decision.taken else [])]) == sorted(cell["backend"] for cell in group)
    assert all(entry.reason for entry in decision.out)
    assert decision.sentence.startswith(f"Deploy {decision.taken or 'none'}:")


@QUICK
@given(groups())
def test_what_follows_from_its_numbers_is_no_contradiction(group: list[Cell]) -> None:
    assert [contradictions(cell) for cell in read(make_run(group)).cells] == [{}] * len(group)


@settings(max_examples=120, deadline=None)
@given(groups())
def test_what_would_change_the_decision_does_when_it_is_carried_out_as_printed(group: list[Cell]) -> None:
    decision = decided(group)
    for change in decision.changes:
        assert change.taken != decision.taken
        assert change.taken is None or change.taken in change.text
        {"number": carry_out_number, "mended": carry_out_mended, "preference": carry_out_preference}[change.kind](
            group, decision, change
        )


@QUICK
@given(groups())
def test_what_put_a_cell_out_no_longer_does_at_the_figure_that_is_told(group: list[Cell]) -> None:
    decision = decided(group)
    for entry in decision.out:
        for metric, figure in re.findall(
            r"(?:^|; )(\w+) [^;]*would have to (?:fall|rise) to (\S+?)(?:;|$)", entry.reason
        ):
            told = re.compile(rf"{metric} [^;]*would have to (?:fall|rise) to {re.escape(figure)}(?:;|$)")
            unit = Decimal(1).scaleb(int(Decimal(figure).as_tuple().exponent))
            short = Decimal(figure) + (-unit if metric == ACCURACY else unit)
            there, not_there = (moved_to(group, entry.backend, metric, each) for each in (Decimal(figure), short))
            assert not told.search(why_out(there, entry.backend)), entry.reason
            assert told.search(why_out(not_there, entry.backend)), entry.reason


def why_out(group: Sequence[Cell], backend: str) -> str:
    """Return why a cell is not taken; "" of one that is."""
    return next((entry.reason for entry in decided(group).out if entry.backend == backend), "")


def carry_out_number(group: Sequence[Cell], decision: DecisionEntry, change: ChangeEntry) -> None:
    """Move the figure to what is printed, and then to one unit of its last digit less far."""
    assert change.metric is not None
    found = re.search(r"(?:from (\S+) to|shown to be at (?:most|least)) (\S+)", change.text)
    assert found is not None
    assert change.metric in change.text
    assert change.backend in change.text
    figure = Decimal(found[2].replace(",", ""))
    assert float(figure) == change.value
    unit = Decimal(1).scaleb(int(figure.as_tuple().exponent))
    was = find(next(cell for cell in group if cell["backend"] == change.backend), change.metric)["bound"]
    is_up = (change.metric == ACCURACY) if found[1] is None else float(figure) > was
    short = figure - unit if is_up else figure + unit
    assert found[1] is None or (was <= float(short) if is_up else was >= float(short))
    assert taken(moved(group, change, figure)) == change.taken, change.text
    assert taken(moved(group, change, short)) == decision.taken, change.text


def carry_out_mended(group: Sequence[Cell], decision: DecisionEntry, change: ChangeEntry) -> None:
    """Mend the checks that are named, and then all but one of them."""
    assert all(metric in change.text for metric in change.checks)
    assert ("parity" in change.checks) == ("at module gate" in change.text)
    assert taken(mended(group, change.backend, change.checks)) == change.taken, change.text
    for left in change.checks:
        others = [metric for metric in change.checks if metric != left]
        assert taken(mended(group, change.backend, others)) == decision.taken, change.text


def carry_out_preference(group: Sequence[Cell], decision: DecisionEntry, change: ChangeEntry) -> None:
    """Put the metric first."""
    assert change.text == f"with {change.metric} first: {change.taken}"
    prefer = [str(change.metric), *(metric for metric in PREFER if metric != change.metric)]
    assert taken(group, prefer) == change.taken
