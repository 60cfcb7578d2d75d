"""How a cell stands before any are compared: what puts it out, and what it counts by each preferred metric."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ..checks.check import Verdict
from ..evidence.entry import Figure, as_figure
from ..evidence.schema import CellEntry, CheckEntry
from .consistency import CELL, contradictions
from .figures import Better, as_number, better_of, keeps, score_of
from .location import module_of
from .numbers import show, show_apart, show_needed, with_unit
from .words import SERVICE_EMULATED

_BAD = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.INELIGIBLE)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that puts a cell out.

    Attributes:
        metric: of the check that does; None where none does.
        check: that check, where it can be mended: it is FAIL, INCONCLUSIVE or INELIGIBLE, and contradicts nothing.
        needed: what the figure would have to reach; None where nobody can tell.
    """

    reason: str
    metric: str | None = None
    check: CheckEntry | None = None
    found: Figure | None = None
    limit: Figure | None = None
    needed: Figure | None = None


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A cell, what puts it out, and what it counts by each preferred metric, the lower the better.

    Attributes:
        entry: the cell; its checks stand in one order, whatever the evidence's is: parity, the preferred ones, others.
    """

    entry: CellEntry
    problems: tuple[Problem, ...]
    scores: tuple[float, ...]

    @property
    def is_out(self) -> bool:
        """Whether it may not even be ranked."""
        return bool(self.problems)

    @property
    def has_no_limit(self) -> bool:
        """Whether it had no limit to keep: it is ranked, and not to be taken."""
        return self.entry.verdict is Verdict.MEASURED

    @property
    def may_be_taken(self) -> bool:
        """Whether it may be taken."""
        return not self.is_out and self.entry.verdict is Verdict.PASS


def directions(cells: Sequence[CellEntry], prefer: Sequence[str]) -> tuple[Better | None, ...]:
    """Say for each preferred metric which of two values is better; None where the cells do not agree, or none tells."""
    return tuple(found.pop() if len(found) == 1 else None for found in _said(cells, prefer))


def disagree(cells: Sequence[CellEntry], prefer: Sequence[str]) -> bool:
    """Tell whether cells, those that are out too, do not agree on which of two values of a metric is better."""
    return any(len(found) > 1 for found in _said(cells, prefer))


def _said(cells: Sequence[CellEntry], prefer: Sequence[str]) -> list[set[Better | None]]:
    said: dict[str, set[Better | None]] = {metric: set() for metric in prefer}
    for cell in cells:
        for check in cell.checks:
            if check.metric in said:
                said[check.metric].add(better_of(check))
    return list(said.values())


def stand(cell: CellEntry, prefer: Sequence[str], better: Sequence[Better | None], *, twice: bool = False) -> Standing:
    """Look at one cell alone.

    Args:
        cell: the cell.
        prefer: the metrics.
        better: of each metric, which of two values is the better one.
        twice: whether there is another cell of its name, so that nobody knows which of the two counts.
    """
    cell = cell.model_copy(update={"checks": sorted(cell.checks, key=partial(_place, tuple(prefer)))})
    doubtful = contradictions(cell)
    problems = [*_whole(cell, doubtful), *_judged(cell, doubtful)]
    if twice:
        problems.append(Problem(reason="it is there twice, and which of the two counts cannot be told"))
    if not problems and cell.verdict not in (Verdict.PASS, Verdict.MEASURED):
        problems.append(Problem(reason=f"its verdict is {cell.verdict}"))
    return Standing(entry=cell, problems=tuple(problems), scores=_scores(cell, prefer, better))


def stand_all(cells: Sequence[CellEntry], prefer: Sequence[str]) -> tuple[list[Standing], tuple[Better | None, ...]]:
    """Look at each cell alone, in the order of their names.

    Returns:
        The cells, and for each preferred metric which of two values is better. What is out has no say in that, else it
        could change what is taken; unless all are out.
    """
    names = Counter(cell.backend for cell in cells)
    unknown = (None,) * len(prefer)
    ordered = sorted(cells, key=lambda cell: cell.backend)
    standings = [stand(cell, prefer, unknown, twice=names[cell.backend] > 1) for cell in ordered]
    able = directions([each.entry for each in standings if not each.is_out], prefer)
    # What is out has no say, unless nobody else has: it counts once what put it out is mended.
    better = tuple(one or other for one, other in zip(able, directions(cells, prefer), strict=True))
    return [replace(each, scores=_scores(each.entry, prefer, better)) for each in standings], better


def _scores(cell: CellEntry, prefer: Sequence[str], better: Sequence[Better | None]) -> tuple[float, ...]:
    checks: dict[str, list[CheckEntry]] = {}
    for check in cell.checks:
        checks.setdefault(check.metric, []).append(check)
    return tuple(score_of(checks.get(metric, ()), way) for metric, way in zip(prefer, better, strict=True))


def _place(prefer: tuple[str, ...], check: CheckEntry) -> tuple[bool, int, str, str]:
    """Return by what checks are sorted."""
    at = prefer.index(check.metric) if check.metric in prefer else len(prefer)
    return check.metric != "parity", at, check.metric, f"{check.verdict} {check.bound}"


def _whole(cell: CellEntry, doubtful: Mapping[str, str]) -> list[Problem]:
    """List what concerns the cell as a whole: it cannot run, is forbidden or not built, is open, contradicts itself."""
    problems: list[Problem] = []
    if cell.error is not None:
        how = "it cannot run" if cell.verdict is Verdict.FAIL else "it could not be measured to the end"
        problems.append(Problem(reason=f"{how}: {cell.error}"))
    if cell.forbidden is not None:
        problems.append(Problem(reason=f"it may not be used: {cell.forbidden}"))
    if cell.service_emulated:
        problems.append(Problem(reason=SERVICE_EMULATED))
    if cell.not_built is not None:
        problems.append(Problem(reason=f"it was not built: {cell.not_built}"))
    if cell.unfinished:
        named = ", ".join(cell.unfinished[:3]) + (", …" if len(cell.unfinished) > 3 else "")
        problems.append(Problem(reason=f"unfinished, without a check from: {named}"))
    for metric, what in doubtful.items():
        named_metric = None if metric == CELL else metric
        subject = "its verdict" if metric == CELL else f"its {metric}"
        problems.append(Problem(reason=f"{subject} does not follow from its numbers: {what}", metric=named_metric))
    return problems


def _judged(cell: CellEntry, doubtful: Mapping[str, str]) -> list[Problem]:
    """List the checks that put the cell out."""
    return [_of_check(check) for check in cell.checks if check.verdict in _BAD and check.metric not in doubtful]


def _of_check(check: CheckEntry) -> Problem:
    known: dict[str, Any] = {"metric": check.metric, "check": check, "limit": check.limit}
    if (broken := broken_by(check)) is not None:
        needed, better = as_number(check.limit) or 0.0, better_of(check) or "lower"
        found, limit = show_apart(broken, needed)
        most = f"{'fall' if better == 'lower' else 'rise'} to {show_needed(needed, better)}"
        reason = f"{check.metric} {with_unit(found, check.unit)}, of {limit}: would have to {most}"
        return Problem(**known, reason=reason, found=as_figure(broken), needed=check.limit)
    state = {Verdict.FAIL: "failed", Verdict.INCONCLUSIVE: "is not settled"}.get(check.verdict, str(check.verdict))
    why = check.reason or "no reason is given"
    state += f" at module {module_of(check)}" if check.metric == "parity" and module_of(check) else ""
    limited = "" if check.limit is None or check.metric == "parity" else f" (limit {show(check.limit, 6)})"
    reached = None if check.metric == "parity" else check.limit
    return Problem(**known, reason=f"{check.metric} {state}{limited}: {why}", found=check.bound, needed=reached)


def broken_by(check: CheckEntry) -> float | None:
    """Return the bound that breaks a FAIL's limit: a figure that could move. None where something else failed it."""
    bound, limit, better = as_number(check.bound), as_number(check.limit), better_of(check)
    if check.verdict is not Verdict.FAIL or limit is None or better is None or check.metric == "parity":
        return None
    for number in (bound, as_number(check.bound_low)):
        if number is not None and not keeps(number, limit, better) and number == number:
            return number
    return None
