"""Checks whether what a device reports of a paced loop can be true (see plausibility, and harness.agent.pacing).

All of a paced loop's times are of one clock, the device's, so nothing here has a tolerance of its own: the fate of each
release follows from when the inference before it ended, and a report in which it does not is made up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..agent.pacing import DROP, NEVER, Pace
from ..model.model import Array
from .call import Call
from .failed_calls import codes_of
from .plausibility import (
    impossible,
    why_elapsed_impossible,
    why_failures_impossible,
    why_loop_impossible,
    why_not_whole,
)


def why_releases_impossible(
    releases: Array,
    header: Mapping[str, Any],
    call: Call,
    *,
    asked: int,
    budget_s: float,
    pace: Pace,
    timeout_ms: float | None = None,
) -> str:
    """Return why the reported fates of releases cannot be true; "" if they can.

    Args:
        releases: as they came, of whatever type and shape; int64[n, 3] if all is well.
        header: the reply's header; see Operations.op_measure.
        call: by both clocks; its host_s is infinite where the host's clock says nothing.
        asked: how many releases were asked for.
        budget_s: how long the device was allowed to take for them, in seconds.
        pace: the clock that was asked for.
        timeout_ms: after how long a call to another computer fails; None of a backend that makes none.
    """
    return (
        _why_shape_impossible(releases, asked)
        or why_not_whole(header, ("loop_ns", "making_ns", "untimed_ns", "untimed"))
        or why_elapsed_impossible(call)
        or _why_times_impossible(releases, pace)
        or _why_fates_impossible(releases, pace)
        or _why_failed_impossible(releases, header, timeout_ms)
        or _why_budget_impossible(releases, call, asked, budget_s, pace)
        or _why_account_impossible(releases, header, call, pace)
    )


def behind_after(releases: Array, pace: Pace) -> int:
    """Return by how much the model is behind after a call: the behind_ns of the call that goes on from there.

    Args:
        releases: what became of them, int64[n, 3].
        pace: the clock of that call.
    """
    return _free_after(releases, pace) - len(releases) * pace.period_ns


def _free_after(releases: Array, pace: Pace) -> int:
    """Return when the model was free again after the last of these releases."""
    return max(int(releases[:, 2].max()), pace.behind_ns) if (releases[:, 2] > 0).any() else pace.behind_ns


def _why_shape_impossible(releases: Array, asked: int) -> str:
    if releases.ndim != 2 or releases.shape[1] != 3 or releases.dtype != np.int64:
        found = f"{releases.dtype}{list(releases.shape)}"
        return impossible("release, start and end in whole nanoseconds, int64[n, 3]", found)
    if not 1 <= len(releases) <= asked:
        return impossible(f"1 to {asked} releases, as many as were asked for", str(len(releases)))
    return ""


def _why_times_impossible(releases: Array, pace: Pace) -> str:
    """Return which times are not on the clock's grid, or not in the order in which things happen; "" if all are."""
    due, start, end = releases.T
    dropped = (start == NEVER) & (end == NEVER)
    for is_wrong, wanted in (
        (due != np.arange(len(due)) * pace.period_ns, f"releases every {pace.period_ns} ns, from 0 on"),
        (~dropped & ((start < 0) | (end < 0)), "a start and an end, or neither for a release that was dropped"),
        (~dropped & (start < due), "no start before the release"),
        (~dropped & (end <= start), "an end after the start"),
    ):
        if (number := _first(is_wrong)) is not None:
            return impossible(wanted, _fate(releases, number))
    return ""


def _why_fates_impossible(releases: Array, pace: Pace) -> str:
    """Return which release's fate does not follow from what happened before; "" if all do."""
    due, start, end = releases.T
    ran = end != NEVER
    # When the model was free again, as far as each release is concerned.
    free = np.maximum.accumulate(np.concatenate([[pace.behind_ns], np.where(ran, end, pace.behind_ns)[:-1]]))
    finds_it_busy = due < free
    checks = [(ran & (start < free), "inferences one after the other: none starts before the model is free, at")]
    if pace.late == DROP:
        checks.append((~ran & ~finds_it_busy, "no release dropped that finds the model free, since"))
        checks.append((ran & finds_it_busy, "each release dropped that finds the model busy, until"))
    else:
        checks.append((~ran, "no release dropped where they queue, at"))
    for is_wrong, wanted in checks:
        if (number := _first(is_wrong)) is not None:
            return impossible(f"{wanted} {int(free[number])} ns", _fate(releases, number))
    return ""


def _why_failed_impossible(releases: Array, header: Mapping[str, Any], timeout_ms: float | None) -> str:
    """Return why calls that failed cannot be as reported: each of them was made, and ended when it was to."""
    ran = releases[:, 2] != NEVER
    failed = codes_of(header, len(releases)) > 0
    if (number := _first(failed & ~ran)) is not None:
        return impossible("no failed call of a release that was dropped", _fate(releases, number))
    spans = np.where(ran, releases[:, 2] - releases[:, 1], 0)
    took, said = int(spans[failed].sum()), header.get("failed_ns") or 0
    if failed.any() and took != said:
        return impossible(f"failed calls of {took} ns, from their starts to their ends", f"{said} ns")
    return why_failures_impossible(spans, header, timeout_ms)


def _first(is_wrong: Array) -> int | None:
    """Return the number of the first release of which it is true; None if there is none."""
    return int(is_wrong.argmax()) if is_wrong.any() else None


def _fate(releases: Array, number: int) -> str:
    due, start, end = releases[number].tolist()
    return f"release {number} of the call at {due} ns, start {start}, end {end}"


def _why_budget_impossible(releases: Array, call: Call, asked: int, budget_s: float, pace: Pace) -> str:
    # The loop ends early only where the budget is used up, or would be by the wait for the next release.
    if len(releases) < asked and call.device_ns + pace.period_ns < int(budget_s * 1e9):
        wanted = f"{asked} releases, or the {budget_s:.4g} s used up that there were for them"
        return impossible(wanted, f"{len(releases)} in {call.device_ns / 1e9:.4g} s")
    return ""


def _why_account_impossible(releases: Array, header: Mapping[str, Any], call: Call, pace: Pace) -> str:
    """Return why the loop's own time, from its begin to the end of its last inference, does not fit into the call's."""
    passed = float(_free_after(releases, pace) - pace.behind_ns)
    return why_loop_impossible(passed, len(releases), f"{len(releases)} releases", header, call)
