"""Deciding: the cells' entries in, the decision's entry out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from ..evidence.decision_entry import ChangeEntry, DecisionEntry, OutEntry, StepEntry
from ..evidence.schema import CellEntry, CheckEntry
from . import words
from .changes import find_changes
from .elimination import Skip, Step
from .figures import Better
from .grouping import PREFER, group, metrics_for
from .headroom import headroom_of
from .notes import has_parity, notes_on
from .out import out_by_order, out_by_problems, out_by_step, out_without_limit
from .ranking import Ranking, rank
from .standing import Standing, stand_all

WITHIN_PERCENT = 5.0


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is decided by: metrics, which way is better in each, and how far from the best is as good as it."""

    prefer: tuple[str, ...]
    better: tuple[Better | None, ...]
    within_percent: float

    @property
    def within(self) -> float:
        """How far from the best is as good as it, as a share."""
        return self.within_percent / 100


def decide(
    cells: Sequence[CellEntry], *, prefer: Sequence[str] = PREFER, within_percent: float = WITHIN_PERCENT
) -> DecisionEntry:
    """Decide which backend to deploy. A pure function: it reads the cells, and neither their order nor anything else.

    Args:
        cells: at least one; of one model on one device, all emulated or all not, of one ``model_sha256``.
        prefer: the metrics by which to eliminate, in order.
        within_percent: how far from the best bound is as good as it.

    Raises:
        InputError: the cells are none, or not all of one model, device and kind; ``within_percent`` is negative or no
            finite number.
    """
    ranking, question = _ranked(cells, prefer, within_percent)
    changes = find_changes(ranking, question.prefer, question.better)
    return _entry(ranking, question, changes)


def decide_all(
    cells: Sequence[CellEntry], *, prefer: Sequence[str] = PREFER, within_percent: float = WITHIN_PERCENT
) -> list[DecisionEntry]:
    """Decide for each model on each device, in the order in which they first come; emulated and real ones apart."""
    return [decide(each, prefer=prefer, within_percent=within_percent) for each in group(cells)]


def find_taken(
    cells: Sequence[CellEntry], *, prefer: Sequence[str] = PREFER, within_percent: float = WITHIN_PERCENT
) -> str | None:
    """Say which backend ``decide`` takes, and nothing of why; None where it takes none."""
    ranking, _ = _ranked(cells, prefer, within_percent)
    return None if ranking.taken is None else ranking.standings[ranking.taken].entry.backend


def _ranked(cells: Sequence[CellEntry], prefer: Sequence[str], within_percent: float) -> tuple[Ranking, Question]:
    _refuse(cells, within_percent)
    metrics = metrics_for(cells, prefer)
    standings, better = stand_all(cells, metrics)
    question = Question(prefer=metrics, better=better, within_percent=within_percent)
    return rank(standings, len(metrics), question.within), question


def _refuse(cells: Sequence[CellEntry], within_percent: float) -> None:
    if not (math.isfinite(within_percent) and within_percent >= 0):
        raise InputError(
            "what is as good as the best is no usable number",
            wanted="a finite number of percent ≥ 0",
            found=repr(within_percent),
            where="within_percent",
        )
    if len(groups := group(cells)) != 1:
        raise InputError(
            "these cells cannot be decided among each other",
            wanted="cells of one model on one device, all emulated or all not, of one model_sha256",
            found=f"{len(groups)} of these",
            hint="decide_all groups them",
        )


def _entry(ranking: Ranking, question: Question, changes: list[ChangeEntry]) -> DecisionEntry:
    standings = ranking.standings
    names = [standing.entry.backend for standing in standings]
    taken = None if ranking.taken is None else standings[ranking.taken]
    order = [names[row] for row in ranking.order]
    out = _out(ranking, question)
    headroom = [] if taken is None else headroom_of(taken.entry)
    ties = [names[row] for row in ranking.ties]
    entry = standings[0].entry
    sentence = (
        words.deploy_none(order, changes, [standing.entry for standing in standings])
        if taken is None
        else words.deploy(taken.entry, headroom, question.prefer, ties)
    )
    steps = [_step(step, names, ranking, question) for step in ranking.steps]
    rest = "" if taken is None else words.compared(order, len(names))
    if taken is not None and not has_parity(taken.entry):  # as of a run with -k latency: who acts on it must know
        rest = f"{rest} {words.NO_PARITY}".strip()
    mark = f"{words.EMULATED[0].upper()}{words.EMULATED[1:]}." if entry.emulated else ""
    return DecisionEntry(
        model=entry.model,
        device=entry.device,
        emulated=entry.emulated,
        model_sha256=next((each.entry.model_sha256 for each in standings if each.entry.model_sha256), None),
        prefer=list(question.prefer),
        within_percent=float(question.within_percent),
        taken=None if taken is None else taken.entry.backend,
        tied=ties,
        sentence=" ".join(filter(None, [sentence, rest, mark])),
        order=order,
        without_limit=[names[row] for row in ranking.order if standings[row].has_no_limit],
        steps=steps,
        headroom=headroom,
        out=out,
        changes=changes,
        notes=[*notes_on(standings, taken), *_skipped(steps)],
        cells=len(names),
    )


def _skipped(steps: Sequence[StepEntry]) -> list[str]:
    """Say which preferred metrics decided nothing: whoever preferred them must not believe that they did."""
    return [f"{step.metric} decided nothing: {step.skipped}" for step in steps if step.skipped is not None]


def _step(step: Step, names: Sequence[str], ranking: Ranking, question: Question) -> StepEntry:
    kept = [names[row] for row in step.kept]
    left = set(step.kept.tolist())
    known: dict[str, Any] = {"metric": question.prefer[step.column], "kept": kept}
    if step.skip is None:
        sign = -1 if question.better[step.column] == "higher" else 1
        dropped = [names[row] for row in step.before.tolist() if row not in left]
        return StepEntry(**known, best=step.best * sign, dropped=dropped, skipped=None)
    return StepEntry(**known, best=None, dropped=[], skipped=_why_skipped(step, names, ranking, question))


def _why_skipped(step: Step, names: Sequence[str], ranking: Ranking, question: Question) -> str:
    if step.skip is Skip.NO_BOUND:
        return "estimates alone: none has a bound"
    metric = question.prefer[step.column]
    if any(
        metric == check.metric and check.value is not None for row in step.before for check in _checks(ranking, row)
    ):
        if question.better[step.column] is None:
            return "the evidence does not say, or not with one voice, whether lower or higher is better"
        lacking = [names[row] for row in step.before if np.isnan(ranking.scores[row, step.column])]
        return f"no value of {words.listed(lacking)}"
    return "none has a value"


def _checks(ranking: Ranking, row: int) -> list[CheckEntry]:
    return ranking.standings[row].entry.checks


def _out(ranking: Ranking, question: Question) -> list[OutEntry]:
    """Say of each cell that is not taken why: those that are ranked first, in their order; then the others by name."""
    standings = ranking.standings
    entries = [_of_ranked(ranking, question, row) for row in ranking.order if row != ranking.taken]
    return entries + [out_by_problems(standing) for standing in standings if standing.is_out]


def _of_ranked(ranking: Ranking, question: Question, row: int) -> OutEntry:
    standing = ranking.standings[row]
    if standing.has_no_limit or ranking.taken is None:
        return out_without_limit(standing)
    if (step := ranking.dropped_by.get(row)) is not None:
        return _of_dropped(ranking, question, standing, step)
    return out_by_order(standing, ranking.standings[ranking.taken], question.prefer, question.better)


def _of_dropped(ranking: Ranking, question: Question, standing: Standing, step: Step) -> OutEntry:
    best = next(row for row in step.before.tolist() if ranking.scores[row, step.column] == step.best)
    better = question.better[step.column]
    assert better is not None  # for mypy: without a direction there is no score, and the step is skipped
    name = ranking.standings[best].entry.backend
    return out_by_step(standing, step, question.prefer[step.column], better, name)
