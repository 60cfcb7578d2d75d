"""Why the others are not taken, each in words, and by how much."""

from __future__ import annotations

from collections.abc import Sequence

from ..evidence.decision_entry import OutEntry
from .elimination import Step
from .figures import Better
from .numbers import show_apart, show_needed, with_unit
from .standing import Standing

# What a device says may be long: a report shows the whole of it with the cell.
_LONGEST = 400


def out_by_problems(standing: Standing) -> OutEntry:
    """Say why a cell may not even be ranked: all of it, with the figures of the first problem that has some."""
    problems = standing.problems
    main = next((each for each in problems if each.needed is not None), None)
    main = main or next((each for each in problems if each.metric is not None), problems[0])
    return OutEntry(
        backend=standing.entry.backend,
        verdict=standing.entry.verdict,
        metric=main.metric,
        reason="; ".join(shorten(each.reason) for each in problems),
        found=main.found,
        limit=main.limit,
        needed=main.needed,
    )


def out_without_limit(standing: Standing) -> OutEntry:
    """Say of a cell that is ranked and not to be taken why it is not."""
    reason = "it had no limit to keep"
    return OutEntry(backend=standing.entry.backend, verdict=standing.entry.verdict, metric=None, reason=reason)


def out_by_step(standing: Standing, step: Step, metric: str, better: Better, best: str) -> OutEntry:
    """Say by which preferred metric a cell was eliminated.

    Args:
        standing: the cell.
        step: the step that dropped it.
        metric: the step's metric.
        better: which of two values of it is better.
        best: the backend with the best bound.
    """
    sign = 1 if better == "lower" else -1
    score, needed = standing.scores[step.column], step.most * sign
    unit = next((check.unit for check in standing.entry.checks if check.metric == metric), "")
    found, least = show_apart(score * sign, needed)[0], show_needed(needed, better)
    of, _ = show_apart(step.best * sign, score * sign)
    move = "fall to" if better == "lower" else "rise to"
    if score == float("inf"):
        estimate = next((check.value for check in standing.entry.checks if check.metric == metric), None)
        shown = show_apart(estimate if estimate is not None else 0, needed)[0]
        reason = (
            f"{metric} has no bound (estimate {with_unit(shown, unit)}), of {of} ({best}): would have to {move} {least}"
        )
    else:
        reason = f"{metric} {with_unit(found, unit)}, of {of} ({best}): would have to {move} {least}"
    return OutEntry(
        backend=standing.entry.backend,
        verdict=standing.entry.verdict,
        metric=metric,
        reason=reason,
        found=None if score == float("inf") else score * sign,
        needed=needed,
    )


def out_by_order(
    standing: Standing, taken: Standing, prefer: Sequence[str], better: Sequence[Better | None]
) -> OutEntry:
    """Say of a cell that no metric eliminated why another stands before it: an exact figure, or the name alone."""
    backend, verdict = standing.entry.backend, standing.entry.verdict
    for column, (metric, way) in enumerate(zip(prefer, better, strict=True)):
        mine, best = standing.scores[column], taken.scores[column]
        if not mine > best or way is None:
            continue
        sign = 1 if way == "lower" else -1
        if mine == float("inf"):
            reason, found = f"{metric} has no bound", None
        else:
            shown, of = show_apart(mine * sign, best * sign)
            unit = next((check.unit for check in standing.entry.checks if check.metric == metric), "")
            reason = f"as good as {taken.entry.backend} but for {metric} {with_unit(shown, unit)}, of {of}"
            found = mine * sign
        return OutEntry(backend=backend, verdict=verdict, metric=metric, reason=reason, found=found, needed=best * sign)
    reason = f"nothing tells it from {taken.entry.backend}, which comes first by its name"
    return OutEntry(backend=backend, verdict=verdict, metric=None, reason=reason)


def shorten(text: str) -> str:
    """Return a text in one line, cut where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
