"""What in a cell contradicts itself: a stored verdict that does not follow from the numbers beside it.

An evidence file may be anybody's, and a hand is quicker than a measurement. A verdict that says more than its numbers
show is doubt, and doubt is never a PASS: the decision puts such a cell out, and every report marks it.
"""

from __future__ import annotations

import math

from ..checks.check import Verdict, overall
from ..evidence.schema import CellEntry, CheckEntry, RunEntry
from .figures import as_number, better_of, keeps, known_better
from .numbers import show, show_apart

# The key of what is wrong with the cell's own verdict, which is no metric's.
CELL = "verdict"
NOT_ENDED = "the run itself: it has not ended, or was killed"


def contradictions(cell: CellEntry) -> dict[str, str]:
    """Find the verdicts of a cell that do not follow from its numbers.

    Returns:
        What is wrong, in words, by metric; that of the cell's own verdict under ``CELL``.
    """
    found: dict[str, str] = {}
    for check in cell.checks:
        if problem := _of_check(check):
            found.setdefault(check.metric, problem)
    if problem := _of_cell(cell):
        found[CELL] = problem
    return found


def cell_of_run(run: RunEntry, cell: CellEntry) -> CellEntry:
    """Return a run's cell for a decision: of a run that has not ended it is unfinished, whatever it says itself."""
    if run.has_ended:
        return cell
    return cell.model_copy(update={"unfinished": [*cell.unfinished, NOT_ENDED]})


def _of_check(check: CheckEntry) -> str:
    known = known_better(check.metric)
    if known is not None and better_of(check) != known:
        return f"it says that {check.better} is better, and {known} is"
    if check.verdict is Verdict.PASS:
        return _of_pass(check)
    if check.verdict is Verdict.MEASURED:
        if check.limit is not None:
            return f"MEASURED, although a limit of {show(check.limit)} is set"
        value = as_number(check.value)
        return "MEASURED, although there is no value" if value is None or math.isnan(value) else ""
    if check.verdict is Verdict.FAIL and not check.reason:
        return _of_bare_fail(check)
    if check.verdict is Verdict.NOT_APPLICABLE and check.limit is not None and not check.reason:
        return f"NOT_APPLICABLE without a reason, although a limit of {show(check.limit)} is set"
    return ""


def _of_pass(check: CheckEntry) -> str:
    """Go through what a PASS takes: a limit, a value, a bound that keeps the limit, and nothing that breaks it."""
    value, bound, limit = as_number(check.value), as_number(check.bound), as_number(check.limit)
    for name, number in (("limit", limit), ("value", value), ("bound", bound)):
        if number is None or math.isnan(number):
            return f"PASS, although there is no {name}"
    better = better_of(check)
    if better is None:
        return "PASS, although nobody knows which of two values is better"
    if limit is None:
        return ""
    judged = (("bound", bound), ("lower bound", as_number(check.bound_low)), ("value", value))
    for name, number in judged:
        if number is not None and not keeps(number, limit, better):
            first, second = show_apart(number, limit)
            return f"PASS, although its {name} of {first} breaks the limit of {second}"
    return ""


def _of_bare_fail(check: CheckEntry) -> str:
    """Find what is wrong with a FAIL that gives no reason: its numbers must be the reason."""
    bound, limit, better = as_number(check.bound), as_number(check.limit), better_of(check)
    low = as_number(check.bound_low)
    if limit is None or better is None:
        return "FAIL, although there is neither a limit nor a reason" if limit is None else ""
    broken = [number for number in (bound, low) if number is not None and not keeps(number, limit, better)]
    return "" if broken else "FAIL, although no bound breaks the limit and no reason is given"


def _of_cell(cell: CellEntry) -> str:
    """Say where a cell's verdict is another than its errors, open ends and checks make it."""
    verdicts = [check.verdict for check in cell.checks]
    stored = cell.verdict
    if not cell.emulated and cell.fingerprint is not None and cell.fingerprint.emulator is not None:
        return f"{stored} of a board, although its fingerprint has an emulator"
    if cell.error is not None:  # an error makes it FAIL, a device in trouble INCONCLUSIVE: the text alone tells which
        wrong = stored not in (Verdict.FAIL, Verdict.INCONCLUSIVE)
        return f"{stored}, although it could not run to its end" if wrong else ""
    if cell.unfinished:
        verdicts.append(Verdict.INCONCLUSIVE)
    follows = overall(verdicts)
    if cell.forbidden is not None and not {Verdict.FAIL, Verdict.INCONCLUSIVE}.intersection(verdicts):
        return "" if stored is Verdict.INELIGIBLE else f"{stored}, although a rule forbids it"
    if cell.not_built is not None and follows not in (Verdict.FAIL, Verdict.INCONCLUSIVE):
        follows = Verdict.NOT_APPLICABLE
    if cell.not_built is not None and not cell.checks:
        follows = Verdict.NOT_APPLICABLE
    if stored is follows:
        return ""
    return f"{stored}, although {_why(cell, follows)}"


def _why(cell: CellEntry, follows: Verdict) -> str:
    """Word what makes a cell's verdict what it should be."""
    metrics = [check.metric for check in cell.checks if check.verdict is follows]
    if follows is Verdict.NOT_APPLICABLE:
        return "its backend was not built"
    if metrics:
        return f"{follows} follows from its checks ({', '.join(metrics[:3])})"
    return "tests came to no check" if cell.unfinished else f"{follows} follows from its checks"
