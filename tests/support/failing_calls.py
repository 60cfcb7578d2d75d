"""Measurements of calls to another computer, some of which fail: made by hand, as the closed loop keeps them."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.agent.failure import KINDS
from harness.agent.pacing import NEVER
from harness.deploy.content import Request, Timed
from harness.measure.measurement import Measurement
from harness.model.model import Array
from harness.model.sensor_clock import SensorClock

MS = 1_000_000
LATE, REFUSED = KINDS.index("late") + 1, KINDS.index("refused") + 1
TIMEOUT_MS = 100.0


def remote(
    *processes: Array,
    answer_ms: float = 5.0,
    failed_ms: float = 100.0,
    request: int = 400,
    planned_s: float = 60.0,
    clock: SensorClock | None = None,
    seed: int = 3,
) -> Measurement:
    """Make a measurement of the codes of each process's calls, uint8[n].

    Args:
        processes: the codes; 0 for a call that was answered.
        answer_ms: how long an answer takes, about.
        failed_ms: how long a failed call takes.
        request: how many calls each request to the device makes.
        planned_s: the time that was planned.
        clock: the sensor's.
        seed: of the durations.
    """
    random = np.random.default_rng(seed)
    measured = Measurement(timeout_ms=TIMEOUT_MS, planned_s=planned_s, clock=clock, block_ms=20.0)
    timed = measured.uniform
    warm_up = {"elapsed_ns": 9 * MS, "iterations": 9, "settled": True, "making_ns": 1000}
    for number, codes in enumerate(processes):
        answers = np.rint(answer_ms * MS * random.lognormal(0, 0.1, len(codes))).astype(np.int64)
        spent = np.where(codes > 0, round(failed_ms * MS), answers)
        timed.numbers.append(np.arange(len(codes)) + number * len(codes))
        timed.codes.append(codes.astype(np.uint8))
        timed.block_sizes.append(4 if clock is None else 2)
        _add(timed, spent, codes, clock)
        timed.requests.append(_requests(spent, codes, request))
        measured.warm_ups.append({**warm_up, "median_ns": 5 * MS})
    return measured


def _add(timed: Timed, spent: Array, codes: Array, clock: SensorClock | None) -> None:
    if clock is None:
        timed.processes.append(np.where(codes > 0, np.inf, spent) if codes.any() else spent)
        return
    due = np.arange(len(spent)) * clock.period_ns
    releases = np.stack([due, due + 1000, due + 1000 + spent], axis=1)
    free = 0
    for place, (release, _, end) in enumerate(releases.tolist()):
        if release < free:
            releases[place, 1:] = NEVER
            codes[place] = timed.codes[-1][place] = 0
        else:
            free = end
    is_answered = (releases[:, 2] != NEVER) & (codes == 0)
    timed.releases.append(releases)
    timed.processes.append(np.where(is_answered, releases[:, 2] - releases[:, 0], np.inf))


def _requests(spent: Array, codes: Array, size: int) -> list[Request]:
    made = []
    for start in range(0, len(codes), size):
        part, kinds = spent[start : start + size], codes[start : start + size]
        counts = len(part), int(np.count_nonzero(kinds))
        made.append(Request(*counts, int(part.sum()) + 1000, int(part[kinds > 0].sum())))
    return made


def clean(count: int = 4000) -> Array:
    """Codes of calls of which none failed."""
    return np.zeros(count, np.uint8)


def failing(count: int, *places: int, code: int = LATE) -> Array:
    """Codes of calls of which those at some places failed."""
    codes = clean(count)
    codes[list(places)] = code
    return codes


def reply(codes: Array | None = None, **more: Any) -> dict[str, Any]:
    """Make the account of a measuring call that failed calls are a part of."""
    counts = np.bincount(codes, minlength=len(KINDS) + 1)[1:].tolist() if codes is not None else []
    failed = {kind: count for kind, count in zip(KINDS, counts, strict=False) if count}
    return ({"codes": codes, "failed": failed} if codes is not None else {}) | more
