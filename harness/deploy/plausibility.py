"""Checks whether what a device reports of a measurement can be true: if it cannot, it is no measurement (issue 17).

These are pure functions of what was asked, what was answered, and what the host's own clock saw; each returns why the
report is impossible, or "". They find what contradicts itself or the host's clock. A board whose lies agree with each
other, and with how long the host had to wait, cannot be detected by anything that travels over a link.

Every tolerance is there for an honest board; its comment says which.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ..agent.failure import NEVER
from ..agent.growth import PLACES
from ..model.model import Array
from ..protocol.page_cache import Dropped
from .call import Call
from .failed_calls import codes_of, longest_call_ns, why_failures_unlike
from .sides import far_spans

# A device's clock against the host's: crystals differ by 0.01 %, NTP slews by 0.05 %, and a virtual machine's clock may
# be off by some per cent. A clock that is wrong by more than this would make the figures as wrong.
DRIFT = 1.1
# By how much the host's readings around a call and the device's inside it differ on a busy machine.
READING_S = 0.02
# The kernel counts a process's start in ticks (10 ms mostly, see timing.since_process_start_ns), rounded down.
TICK_S = 0.1
# Between two timed inferences the loop reads the clock and stores a number: 0.4 µs here in Python, some 2 µs on a
# Raspberry Pi 3 …
GAP_NS = 5_000
# … on a busy device other programs run in these gaps, too, as often as in the inferences beside them, and for an
# inference of 2 µs the gaps are a tenth of the loop …
GAP_SHARE = 0.25
# … and a short call may meet one long interruption there.
GAP_ONCE_NS = 100_000_000
# The number of calls that tell the device's clock from the link: one may meet a link that stalls, most of them do not.
CALLS = 3
# How much more than the device accounts for the host's clock may show in each of them, beside the link's own share …
RATE = 1.25
# … which is this (a busy host wakes up late) …
LINK_S = 0.25
# … plus some turns of the link, each as long as a call that does nothing, but no longer: no link stalls in every call …
TURNS, TURN_S = 3, 0.75
# … plus the transfer, at the rate of a link that needs ten minutes for a runtime of 60 MB.
LINK_BYTES_S = 100_000.0
# The number of durations that cannot all be equal, or one or two ticks of a clock, by chance.
MANY = 20
# The agent's load time covers all of the load call except building its reply (comparing inputs, asking for versions).
LOAD_SHARE, LOAD_S = 0.75, 0.2
# The kernel counts resident pages for each CPU and adds them up now and then: its sum is off by up to 64 pages a CPU.
PAGES_KIB, PAGES_SHARE = 2048, 0.02
# Every program with a C++ runtime and an interpreter or an engine takes more than some 3 MiB.
LEAST_KIB = 2048
# A virtual machine's memory may grow and shrink while it runs (ballooning), so that a peak may exceed what it has now.
MOST_SHARE = 1.05
# A warm-up has one inference, then blocks of three at least; the third may be the last, cut short (timing.warm_up).
WARM_ITERATIONS = 8
STEPS = ("before_runtime", "runtime", "model", "first")


def impossible(wanted: str, found: str) -> str:
    """Word a reason why a report is impossible.

    Args:
        wanted: what would be possible.
        found: what was reported.
    """
    return f"the device's report is impossible: wanted {wanted}; found {found}"


def why_durations_impossible(
    durations: Array,
    header: Mapping[str, Any],
    call: Call,
    *,
    asked: int,
    budget_s: float,
    timeout_ms: float | None = None,
) -> str:
    """Return why the reported durations cannot be true; "" if they can.

    Args:
        durations: as they came, of whatever type and shape.
        header: the reply's header; see Operations.op_measure.
        call: by both clocks; its host_s is infinite where the host's clock says nothing.
        asked: how many durations were asked for.
        budget_s: how long the device was allowed to take for them, in seconds.
        timeout_ms: after how long a call to another computer fails; None of a backend that makes none.
    """
    return (
        _why_shape_impossible(durations, asked)
        or _why_numbers_impossible(durations, codes_of(header, len(durations)))
        or why_not_whole(header, ("loop_ns", "making_ns", "untimed_ns", "untimed"))
        or why_elapsed_impossible(call)
        or why_failures_impossible(durations, header, timeout_ms)
        or _why_budget_impossible(durations, call, asked, budget_s)
        or _why_account_impossible(durations, header, call)
    )


def why_failures_impossible(spans: Array, header: Mapping[str, Any], timeout_ms: float | None) -> str:
    """Return why calls that failed, or took longer than they may, cannot be as reported; "" if they can.

    Args:
        spans: how long each call took, int64[n]; NEVER where only all failed ones together are known.
        header: the reply's header, with the codes of those that failed; see harness.deploy.failed_calls.
        timeout_ms: after how long a call fails; None of a backend that calls no other computer.
    """
    wanted, found = why_failures_unlike(codes_of(header, len(spans)), header, timeout_ms)
    if wanted:
        return impossible(wanted, found)
    if (longest := int(far_spans(spans, header).max(initial=0))) > longest_call_ns(timeout_ms):
        return impossible(f"calls that end when {timeout_ms:g} ms are over", f"one of {longest / 1e9:.4g} s")
    return ""


def _why_shape_impossible(durations: Array, asked: int) -> str:
    if durations.ndim != 1 or durations.dtype.kind not in "iu":
        odd = durations.dtype.kind == "f" and np.count_nonzero(~np.isfinite(durations))
        found = f"{durations.dtype}{list(durations.shape)}" + (f", {odd} of them not finite" if odd else "")
        return impossible("durations in whole nanoseconds, int64[n]", found)
    if not len(durations):
        return impossible(f"{asked} durations, at least 1", "none")
    if len(durations) > asked:
        return impossible(f"at most {asked} durations, as many as were asked for", str(len(durations)))
    return ""


def _why_numbers_impossible(durations: Array, codes: Array) -> str:
    """Return which duration no call can have had; one that failed has NEVER in its place."""
    has_failed = codes > 0
    if (odd := has_failed & (durations != NEVER)).any():
        number = int(odd.argmax())
        wanted = f"{NEVER} in place of the duration of a call that failed"
        return impossible(wanted, f"{int(durations[number])} ns (inference {number} of the call)")
    answered = np.where(has_failed, 1, durations)
    least = int(answered.min())
    wanted = "durations above 0 ns"
    if least < 0:
        return impossible(wanted, f"{least} ns (inference {int(answered.argmin())} of the call)")
    if least == 0:
        zeros = int(np.count_nonzero(answered == 0))
        return impossible(
            wanted, f"0 ns {zeros} times in {len(durations)}: the clock stands still, or is too coarse for this model"
        )
    return ""


def why_not_whole(header: Mapping[str, Any], names: Sequence[str], least: int = 0) -> str:
    """Return which of these entries is no whole number of at least ``least``; "" if all are."""
    for name in names:
        value = header.get(name)
        if type(value) is not int or value < least:
            return impossible(f"{name}, a whole number of at least {least}", repr(value)[:40])
    return ""


def why_elapsed_impossible(call: Call) -> str:
    """Return why a call's time by the device's clock does not fit into the host's; "" if it does."""
    if wrong := why_not_whole({"elapsed_ns": call.device_ns}, ("elapsed_ns",)):
        return wrong
    if call.device_ns / 1e9 > call.host_s * DRIFT + READING_S:
        wanted = f"at most {call.host_s:.4g} s, what the call took by the host's clock"
        return impossible(wanted, f"{call.device_ns / 1e9:.4g} s by the device's")
    return ""


def _why_budget_impossible(durations: Array, call: Call, asked: int, budget_s: float) -> str:
    # Both are by the device's clock: its loop ends early only where the budget is used up.
    if len(durations) < asked and call.device_ns < int(budget_s * 1e9):
        wanted = f"{asked} durations, or the {budget_s:.4g} s used up that there were for them"
        return impossible(wanted, f"{len(durations)} in {call.device_ns / 1e9:.4g} s")
    return ""


def _why_account_impossible(durations: Array, header: Mapping[str, Any], call: Call) -> str:
    """Return why the durations do not fit into the loop's time; both are by the device's clock: no tolerance."""
    answered = durations[durations != NEVER]
    timed = float(answered.sum(dtype=np.float64)) + (header.get("failed_ns") or 0)
    return why_loop_impossible(timed, len(durations), f"{len(durations)} durations", header, call)


def why_loop_impossible(timed: float, count: int, what: str, header: Mapping[str, Any], call: Call) -> str:
    """Return why what a loop did, one after the other, does not fill its time; "" if it does.

    Args:
        timed: how long all of it took, in nanoseconds.
        count: how many parts it had, between each of which the loop reads the clock.
        what: these parts, for the message.
        header: the loop's account.
        call: the call that it is a part of.
    """
    loop, beside = header["loop_ns"], header["making_ns"] + header["untimed_ns"]
    parts = f"{timed / 1e9:.4g} s in {what}"
    if loop > call.device_ns:
        return impossible(f"a loop of at most the call's {call.device_ns / 1e9:.4g} s", f"{loop / 1e9:.4g} s")
    if timed + beside > loop:
        wanted = f"durations of at most {max(loop - beside, 0) / 1e9:.4g} s in all, the loop's time without its inputs"
        return impossible(wanted, parts)
    left = loop - beside - timed
    allowed = GAP_NS * count + GAP_SHARE * (loop - header["making_ns"]) + GAP_ONCE_NS
    if left > allowed:
        wanted = (
            f"durations of {(loop - beside) / 1e9:.4g} s in all, the loop's time without its inputs, or little less"
        )
        return impossible(wanted, parts)
    return ""


def why_warm_up_impossible(
    header: Mapping[str, Any], call: Call, budget_s: float, timeout_ms: float | None = None
) -> str:
    """Return why a warm-up's report cannot be true; "" if it can. See timing.warm_up of the agent.

    Args:
        header: the reply's header.
        call: by both clocks.
        budget_s: how long the device was allowed to take, in seconds.
        timeout_ms: after how long a call to another computer fails; None of a backend that makes none.
    """
    if (
        wrong := why_not_whole(header, ("iterations", "median_ns"), 1)
        or why_not_whole(header, ("making_ns",))
        or why_elapsed_impossible(call)
    ):
        return wrong
    if header["median_ns"] > call.device_ns:
        wanted = f"inferences of at most {call.device_ns / 1e9:.4g} s, what all of them took"
        return impossible(wanted, f"{header['median_ns'] / 1e9:.4g} s")
    failed = sum((header.get("failed") or {}).values())
    if failed > (0 if timeout_ms is None else header["iterations"]):
        of = "of a backend that calls no other computer" if timeout_ms is None else f"of {header['iterations']}"
        return impossible(f"as many failed calls as there can be {of}", str(failed))
    if not isinstance(header.get("settled"), bool):
        return impossible("settled, true or false", repr(header.get("settled"))[:40])
    if header["settled"] and header["iterations"] < WARM_ITERATIONS:
        wanted = f"a warm-up of at least {WARM_ITERATIONS} inferences that settled"
        return impossible(wanted, str(header["iterations"]))
    if not header["settled"] and call.device_ns < int(budget_s * 1e9):
        wanted = f"a warm-up that settled, or used up the {budget_s:.4g} s that there were for it"
        return impossible(wanted, f"neither, after {call.device_ns / 1e9:.4g} s")
    return ""


def why_clock_impossible(durations: Array) -> str:
    """Return why a process's clock cannot be believed: it stands still, or is too coarse for this model; "" if it can.

    This is not for counted instructions, which are the same number again and again if all is well.

    Args:
        durations: all of the process's, in nanoseconds, int64[n].
    """
    if len(durations) < MANY:
        return ""
    step = int(np.gcd.reduce(durations))
    if int(durations.min()) == int(durations.max()):
        return impossible(
            "durations that differ", f"{step} ns {len(durations)} times: the clock stands still, or is too coarse"
        )
    if 2 * step >= float(np.median(durations)):
        return impossible(
            "a clock that is finer than what it times",
            f"{len(durations)} durations that are all multiples of {step} ns: the clock is too coarse for this model",
        )
    return ""


def why_rate_impossible(calls: Sequence[Call], idle_s: float) -> str:
    """Return why the device's times of several calls cannot be true; "" if they can.

    They must account for most of the time that the host waited.

    Args:
        calls: only such as went over a link that was not lost meanwhile.
        idle_s: what a call that does nothing took by the host's clock, the link's turn; infinite if there was none.
    """
    if len(calls) < CALLS:
        return ""
    turns_s = TURNS * min(max(idle_s, 0.0), TURN_S)
    excesses = [
        call.host_s - (RATE * call.device_ns / 1e9 + LINK_S + turns_s + call.bytes / LINK_BYTES_S) for call in calls
    ]
    if _weighted_median(excesses, [call.device_ns for call in calls]) <= 0:
        return ""
    host_s, device_s = sum(call.host_s for call in calls), sum(call.device_ns for call in calls) / 1e9
    wanted = f"about {host_s:.4g} s in {len(calls)} calls, what they took by the host's clock"
    return impossible(
        wanted, f"{device_s:.4g} s by the device's, where a call that does nothing takes up to {idle_s:.2g} s"
    )


def _weighted_median(values: Sequence[float], weights: Sequence[int]) -> float:
    """Return the smallest value up to which half of the weight lies: half of the calls are short, and show little."""
    below, half = 0, sum(weights) / 2
    for value, weight in sorted(zip(values, weights, strict=True)):
        below += weight
        if below >= half:
            return value
    return max(values)


def why_load_impossible(load_ns: Any, first_ns: Any, call: Call | None, host_s: float) -> str:
    """Return why a load report cannot be true; "" if it can.

    Args:
        load_ns: from the process's start to the end of the first inference, as reported.
        first_ns: what the first inference took, as reported.
        call: the call that loaded; None where it is not known.
        host_s: from before the process was started until the report came, by the host's clock, in seconds.
    """
    if wrong := why_not_whole({"load_ns": load_ns, "first_ns": first_ns}, ("load_ns", "first_ns"), 1):
        return wrong
    load_s, first_s = load_ns / 1e9, first_ns / 1e9
    if load_s > host_s * DRIFT + TICK_S:
        wanted = f"a load time of at most {host_s:.4g} s, what the host saw from the process's start on"
        return impossible(wanted, f"{load_s:.4g} s")
    if first_s > load_s + TICK_S:
        return impossible(f"a first inference within the load time of {load_s:.4g} s", f"{first_s:.4g} s")
    if call is None:
        return ""
    if wrong := why_elapsed_impossible(call):
        return wrong
    if load_s < LOAD_SHARE * call.device_ns / 1e9 - LOAD_S:
        wanted = f"a load time of at least {call.device_ns / 1e9:.4g} s, what the call took that loaded"
        return impossible(wanted, f"{load_s:.4g} s")
    return ""


def why_memory_impossible(steps: Mapping[str, Any], peak: Any, board_mib: float | None) -> str:
    """Return why the reported peaks of a process's memory cannot be true; "" if they can.

    Args:
        steps: the peak after each step of loading, in KiB; see LoadReport.
        peak: the peak at the process's end, in KiB.
        board_mib: the board's memory, in MiB; None where it is not known.
    """
    peaks = {**{step: steps.get(step) for step in STEPS}, "the end": peak}
    before, most = "", board_mib * 1024 * MOST_SHARE if board_mib else math.inf
    for step, kib in peaks.items():
        least = LEAST_KIB // 4 if step == STEPS[0] else LEAST_KIB  # a C++ program that has opened no engine yet
        if type(kib) is not int or kib < least:
            return impossible(f"a peak of memory of at least {least} KiB at {step}", f"{repr(kib)[:40]} KiB")
        if kib > most:
            return impossible(f"a peak of memory within the board's {board_mib:g} MiB at {step}", f"{kib} KiB")
        if before and kib < peaks[before] - max(PAGES_KIB, PAGES_SHARE * peaks[before]):
            wanted = f"a peak of memory that never falls, {peaks[before]} KiB at {before}"
            return impossible(wanted, f"{kib} KiB at {step}")
        before = step
    return ""


def why_growth_impossible(header: Mapping[str, Any], timed: int, board_mib: float | None = None) -> str:
    """Return why the readings of memory between a call's inferences cannot be true; "" if they can.

    Args:
        header: the reply's header; see Operations.op_measure.
        timed: how many durations came with it.
        board_mib: the board's memory, in MiB; None where it is not known.
    """
    places, readings = header["inferences"], header["anonymous_kib"]
    if len(places) != len(readings) or len(places) > PLACES:
        wanted = f"at most {PLACES} readings of memory, each with the inferences before it"
        return impossible(wanted, f"{len(readings)} readings, {len(places)} numbers of inferences")
    most = timed + header["untimed"]
    if any(not first < second for first, second in pairwise([0, *places])) or (places and places[-1] > most):
        return impossible(f"readings after 1 … {most} inferences, each later than the one before", f"{places}"[:80])
    # What is swapped is in a reading, and not in the board's memory.
    is_swapped = header["before"]["swapped_kib"] or header["after"]["swapped_kib"]
    most_kib = board_mib * 1024 * MOST_SHARE if board_mib and not is_swapped else math.inf
    for kib in readings:
        if kib <= 0:
            return impossible("anonymous memory above 0 KiB", f"{kib} KiB")
        if kib > most_kib:
            return impossible(f"anonymous memory within the board's {board_mib:g} MiB", f"{kib} KiB")
    return ""


def why_dropped_impossible(report: Dropped, artifact_bytes: int) -> str:
    """Return why the report of dropped pages cannot be true; "" if it can.

    Args:
        report: the device's.
        artifact_bytes: what the artifact takes, which is among what was dropped.
    """
    least = -(-artifact_bytes // report.page_bytes)
    if report.pages < least:
        wanted = f"pages of at least the artifact, {least} of {report.page_bytes} bytes"
        return impossible(wanted, f"{report.pages} in {report.files} files")
    if report.before + report.untold < 1:  # the process has just inferred: what it has read may not all be gone
        return impossible("resident pages of what the model's process has just used", "none")
    for name in ("before", "after"):
        if (found := getattr(report, name)) > report.pages:
            return impossible(
                f"at most {report.pages} resident pages, as many as there are, {name} dropping", str(found)
            )
    if (named := sum(file.pages for file in report.kept)) > report.after:
        return impossible(f"at most {report.after} pages in the files that stayed, as many as stayed", str(named))
    return ""
