"""What deciding among a thousand cells costs, with all that would change it, beside one run of the rule on them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

from harness.checks.check import Verdict
from harness.decision import PREFER, decide, find_taken
from harness.evidence.schema import CellEntry, CheckEntry

from .support.interleave import Block, interleave, median_of, medians
from .support.row import Aim, Options, Row, ratio_row

IS_QUICK = True
LIMIT_S = 1800

CELLS = 1000
ROUNDS = 5
SECONDS = Aim(1.0)
# Of each preferred metric, what the best cells have.
BEST = (5.0, 50.0, 2.0, 1.0, 3.0)
# How much more the worst have, as a share; and which share of all limits is broken.
SHAPES = {
    "far apart, one in five out": (3.0, 0.04),
    "all within 4 % of each other": (0.04, 0.0),
    "all out, for several checks each": (3.0, 1.0),
}


def run(options: Options) -> Iterator[Row]:
    """Decide among cells that are drawn; CPU time, for the rule waits for nothing."""
    for shape, (spread, broken) in SHAPES.items():
        cells = _cells(spread, broken)
        decision = decide(cells)
        whole, rule = interleave(ROUNDS, _timed(lambda: decide(cells)), _timed(lambda: find_taken(cells)))  # noqa: B023
        details = {"changes": len(decision.changes), "taken": decision.taken, "rule_s": median_of(rule)}
        what = f"{CELLS} cells, {shape}"
        against = f"{len(decision.changes)} changes told, CPU time"
        yield Row(what, median_of(whole), "s", against, SECONDS, details, medians(whole, 1.0))
        beside = f"looking at the cells and one run of the rule: {median_of(rule) * 1e3:.0f} ms"
        yield ratio_row(f"{what}: with all that would change it", whole, rule, beside)


def _timed(action: Callable[[], object]) -> Callable[[], Block]:
    def block() -> Block:
        start = time.process_time()
        action()
        return [time.process_time() - start]

    return block


def _cells(spread: float, broken: float) -> list[CellEntry]:
    """Draw cells of which each metric has a limit: twice the worst figure, or for a share of them half the best."""
    chance = random.Random(20)
    cells = []
    for index in range(CELLS):
        checks = [_check("parity", 3.0, 30.0)]
        for metric, best in zip(PREFER, BEST, strict=True):
            limit = best / 2 if chance.random() < broken else best * (1 + spread) * 2
            checks.append(_check(metric, best * (1 + spread * chance.random()), limit))
        kept = all(check.verdict is Verdict.PASS for check in checks)
        verdict = Verdict.PASS if kept else Verdict.FAIL
        name = f"backend{index:04}"
        cells.append(CellEntry(model="net", device="board", backend=name, verdict=verdict, checks=checks))
    return cells


def _check(metric: str, value: float, limit: float) -> CheckEntry:
    verdict = Verdict.PASS if value <= limit else Verdict.FAIL
    return CheckEntry(metric=metric, value=value, bound=value, limit=limit, better="lower", verdict=verdict)
