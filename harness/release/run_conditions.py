"""What a policy asks of a run as a whole: ended, whole, of its time, free of contradictions, signed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ..checks.check import overall
from ..decision import CELL, contradictions
from ..evidence.schema import RunEntry
from .cell_conditions import name_of
from .policy import Policy
from .refusal import AGAIN, Refusal

# How far the clocks of two machines may be apart.
AHEAD = timedelta(hours=1)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|\+00:00)", re.ASCII)


def run_refusals(
    policy: Policy, run: RunEntry, *, now: datetime, signed_by: Path | None, unsigned: str
) -> Iterator[Refusal]:
    """Find what of a run as a whole keeps it from being released; the arguments are those of ``refusals_of``."""
    yield from _unfit(run)
    yield from _times(policy, run, now)
    yield from _contradictions(run)
    accepted = policy.evidence.signed_by
    if accepted and signed_by not in accepted:
        names = ", ".join(path.name for path in accepted)
        why = f": {unsigned}" if unsigned else ""
        remedy = "pytest -m hil --sign KEY, with such a key, on the machine that has the board"
        yield Refusal(f"the evidence is not signed by a key of evidence.signed_by ({names}){why}", remedy)


def _unfit(run: RunEntry) -> Iterator[Refusal]:
    if not run.has_ended:
        yield Refusal("the run has not ended: it goes on, or was killed", f"wait for its end, or {AGAIN}")
    asked = run.asked
    if asked is None or not asked.model_fields_set >= {"narrowed", "selected"}:
        yield Refusal("the evidence does not say whether all tests were asked for", AGAIN)
    elif asked.selected is not None:
        yield Refusal(f"the run was narrowed to some tests: -k {asked.selected!r:.200}", f"{AGAIN}, without -k")
    elif asked.narrowed:
        yield Refusal("the run was narrowed to some tests", f"{AGAIN}, the whole suite: pytest -m hil")


def _times(policy: Policy, run: RunEntry, now: datetime) -> Iterator[Refusal]:
    """Refuse a time that is none, lies ahead, or too far back; by its beginning it is old, by its end it is early."""
    moments: list[datetime] = []
    for key, text in (("started", run.started), ("finished", run.finished)):
        if key == "finished" and not run.has_ended:
            continue
        moment = _moment(text)
        if moment is None:
            yield Refusal(f"the evidence's {key} is no time in UTC: {text!r:.80}", AGAIN)
        elif moment - now > AHEAD:
            reason = f"the evidence is from the future: {key} {text}, and it is {_stamp(now)}"
            yield Refusal(reason, f"set the clocks of both machines, and {AGAIN}")
        else:
            moments.append(moment)
    if len(moments) == 2 and moments[1] < moments[0]:
        yield Refusal(f"the run ended before it began: {run.started}, {run.finished}", AGAIN)
    days = policy.evidence.max_age_days
    if moments and now - min(moments) > timedelta(days=days):
        age = (now - min(moments)) / timedelta(days=1)
        reason = f"the evidence is {age:.1f} days old, and may be {days:g}: {_stamp(min(moments))}"
        yield Refusal(reason, AGAIN)


def _moment(text: str | None) -> datetime | None:
    if text is None or not _TIME.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:  # the 31st of February
        return None


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _contradictions(run: RunEntry) -> Iterator[Refusal]:
    """Refuse verdicts that do not follow from the numbers beside them, in every cell: each may decide the others'."""
    remedy = f"do not change evidence; {AGAIN}"
    for cell in run.cells:
        for metric, text in contradictions(cell).items():
            yield Refusal(f"{name_of(cell)}: {'the cell' if metric == CELL else metric}: {text}", remedy)
    follows = overall([cell.verdict for cell in run.cells])
    if run.has_ended and run.verdict is not follows:
        yield Refusal(f"the evidence's verdict is {run.verdict}, although {follows} follows from its cells", remedy)
