"""One run that something happens to, judged, and the run after it."""

from __future__ import annotations

import random
import time
import traceback
from dataclasses import dataclass, field
from typing import Any

import pytest

from .kinds import Kind, Scene
from .stand import LIMIT_S, Run, Stand, checks_of

INTERRUPTED = int(pytest.ExitCode.INTERRUPTED)
# What no output of a run has: an exception that nobody foresaw.
RAW = ("INTERNALERROR", "Traceback (most recent call last)", "caught unexpected", "Exception ignored")


@dataclass
class Trial:
    """What came of one.

    Attributes:
        wrong: the undisturbed run would fail.
        struck: whether the run still went on when it happened.
        bad_end, left, bad_next: what is not as it has to be, in words.
    """

    kind: Kind
    wrong: bool
    struck: bool = False
    status: int | None = None
    verdict: str = ""
    seconds: float = 0.0
    bad_end: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    bad_next: list[str] = field(default_factory=list)
    output: str = ""

    @property
    def problems(self) -> list[str]:
        """All of it."""
        return [*self.bad_end, *self.left, *self.bad_next]


def try_kind(stand: Stand, kind: Kind, chance: random.Random, usual_s: float, *, then: bool = True) -> Trial:
    """Have it happen to a run.

    Args:
        usual_s: what an undisturbed run takes.
        then: whether another run comes after it.
    """
    trial = Trial(kind, wrong=chance.random() < 0.3)
    stand.reset(wrong=trial.wrong, store=kind.store)
    if kind.fresh:
        stand.write_model(wrong=trial.wrong, fresh=True)
    (stand.folder / "build").mkdir()
    if kind.clock:
        stand.set_clock(0)
    run = stand.start(*kind.arguments, prefix=kind.prefix)
    try:
        kind.disturb(Scene(stand, run, chance, usual_s))
    except Exception:  # noqa: BLE001  # of the stand's or the kind's: the run is over, and this is told
        trial.bad_end.append(traceback.format_exc(limit=-4))
    began = time.monotonic()
    trial.status = run.finish(LIMIT_S + 2 * usual_s)
    trial.seconds, trial.struck = time.monotonic() - began, run.struck
    trial.output = run.output
    trial.bad_end += _bad_end(trial, run, stand.checks)
    trial.left += run.left_over()
    if then:
        trial.bad_next += run_next(stand, kind)
        trial.left += stand.left_over()
    return trial


def run_next(stand: Stand, kind: Kind | None = None) -> list[str]:
    """What is wrong with a run to which nothing happens, in words; the board is as it was left."""
    stand.reset(store=kind.store if kind else "~/store")
    arguments = kind.arguments if kind else ()
    run = stand.start(*arguments, "-k", "parity", *((), ("--wait", "20"))[kind is not None and "pytest" in kind.what])
    status = run.finish(LIMIT_S + 2 * stand.usual)
    said = [] if status == 0 else [f"the next run: exit status {status}\n{_end(run.output)}"]
    return [*said, *(f"the next run left {what}" for what in run.left_over())]


def _bad_end(trial: Trial, run: Run, usual: list[tuple[str, str]]) -> list[str]:
    kind, said = trial.kind, []
    if trial.status is None:
        return [f"it did not end in time\n{_end(run.output)}"]
    if trial.status not in kind.statuses:
        said.append(f"exit status {trial.status}")
    said += [f"{word!r} in its output" for word in RAW if word in run.output]
    if trial.status == 2 and not any(word in run.output for word in kind.said):
        said.append("it ended without a word")
    said += _bad_evidence(trial, run, usual)
    return [*said, _end(run.output)] if said else []


def _bad_evidence(trial: Trial, run: Run, usual: list[tuple[str, str]]) -> list[str]:
    try:
        evidence = run.evidence
    except ValueError as error:
        return [f"half-written evidence: {error}"]
    if evidence is None:
        return ["exit status 0, and no evidence"] if trial.status == 0 and not trial.kind.prefix else []
    trial.verdict = evidence["verdict"]
    allowed = {"FAIL", "INCONCLUSIVE"} if trial.wrong else trial.kind.verdicts
    return [*_against(trial, evidence, allowed), *_against_status(trial, evidence, usual)]


def _against_status(trial: Trial, evidence: dict[str, Any], usual: list[tuple[str, str]]) -> list[str]:
    """Say how the exit status and a PASS contradict each other.

    A signal may also meet a run whose checks are all made: it has only to let go of its device, to say so and to end.
    Then its evidence must hold all that an undisturbed run's does, and the exit status says that it was interrupted.
    """
    passed = trial.verdict == "PASS"
    if passed and trial.status is not None and (trial.status < 0 or trial.status == INTERRUPTED):
        is_whole = evidence["finished"] is not None and evidence["decision"] and checks_of(evidence) == usual
        return [] if is_whole else [f"exit status {trial.status} with a PASS of {checks_of(evidence)}, not of {usual}"]
    return [f"exit status {trial.status} with verdict {trial.verdict}"] if (trial.status == 0) != passed else []


def _against(trial: Trial, evidence: dict[str, Any], allowed: set[str] | frozenset[str]) -> list[str]:
    said = []
    if trial.verdict not in allowed:
        said.append(f"verdict {trial.verdict}, where {', '.join(sorted(allowed))} is right")
    if trial.verdict == "INCONCLUSIVE" and trial.status == 1:
        cells = evidence["cells"]
        reasons = [check.get("reason") for cell in cells for check in cell["checks"]] + [
            cell["error"] for cell in cells
        ]
        if not any(reasons) and not any(cell["notes"] for cell in cells):
            said.append("INCONCLUSIVE without a reason")
    return said


def _end(output: str) -> str:
    return "\n".join(output.strip().splitlines()[-25:])
