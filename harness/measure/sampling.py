"""Sampling: several fresh processes one after the other, each loaded, warmed up and then timed in a closed loop.

Load time, memory and latency, which all need fresh processes, come from the same ones.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable

from ..checks.quantiles import samples_needed
from ..deploy import plausibility
from ..deploy.content import Content, Timed
from ..errors import ImpossibleReport, LinkLost
from ..model.inputs import Arrays
from .closed_loop import ClosedLoop, Source
from .measurement import DURATIONS, LOAD, MEMORY, PROCESSES, Measurement

__all__ = ["ENOUGH", "Measurement", "Report", "take_memory", "take_samples"]

# How many inferences are timed (docs/measuring.md, "How many samples"): enough for a bound of p99; …
ENOUGH = samples_needed(0.99)
# … within ten seconds, enough for a bound above which some slow ones may lie; …
GOOD, GOOD_S = 1000, 10.0
# … of a fast model as many as three seconds allow: disturbances come by time, not by count; …
MANY, MANY_S = 20_000, 3.0
# … on the model file's samples as many as one second allows: each a few times, so that the median of a sample's
# durations ignores single disturbances.
MANY_SAMPLES, MANY_SAMPLES_S = 5_000, 1.0
TIMES = 3
# The share of the time that warm-ups may take.
WARM_UP_SHARE = 0.1
# Inferences run to measure memory on an emulated board, where one takes a hundred times as long as on a real board;
# allocation stops after the second or third.
EMULATED_INFERENCES = 8

# How many dropped connections are made up for by another process.
LOST_ALLOWED = 2

Report = Callable[[int, int, float], None]


def take_samples(
    source: Source,
    content: Content,
    time_limit_s: float,
    report: Report,
    *,
    at_least: int = ENOUGH,
    board_mib: float | None = None,
) -> Measurement:
    """Measure load time, memory and durations of one cell, over several fresh processes.

    When the connection drops, the reply that the agent kept is collected, and another process replaces the lost one, up
    to LOST_ALLOWED times; what was timed until then counts in any case. Durations that cannot be true end the
    measurement.

    Args:
        source: Starts and loads fresh processes.
        content: The inputs.
        time_limit_s: The time for all of it, loading included, in seconds; at least one inference is timed.
        report: Called with (inferences timed, inferences wanted, seconds left) as the measurement goes on. It is first
            called twice with no inference timed and the seconds that ``at_least`` inferences will take in all,
            estimated from the first inference and then from warm ones.
        at_least: How many inferences the limits need, however long they take.
        board_mib: The device's memory in MiB, if it is known.

    Raises:
        LinkError: The device could not be reached, and nothing was timed.
    """
    measured = Measurement(uniform=content.spread_timed(), samples=content.samples_timed())
    end = time.monotonic() + time_limit_s
    while (to_come := PROCESSES - len(measured.memory_peak_kib)) and (not measured.loads or time.monotonic() < end):
        try:
            _use_process(measured, source, content, report, end=end, to_come=to_come, at_least=at_least)
        except ImpossibleReport as error:
            measured.refuse(DURATIONS, error.what)
            break
        except LinkLost as error:
            measured.lost.append(" ".join(filter(None, [error.what, error.found.partition("\n")[0]])))
            if len(measured.lost) > LOST_ALLOWED:
                if not measured.count:
                    raise
                break
    look_back(measured, board_mib)
    return measured


def look_back(measured: Measurement, board_mib: float | None) -> None:
    """Check all processes together for what cannot be true: a single call does not show it."""
    for timed in measured.contents:
        for durations in timed.processes:
            measured.refuse(DURATIONS, plausibility.why_clock_impossible(durations))
    # The median: a board that was slow in one idle call must not have that credited to all other calls.
    idle_s = statistics.median(measured.idle_s) if measured.idle_s else math.inf
    measured.refuse(DURATIONS, plausibility.why_rate_impossible(measured.calls, idle_s))
    for load in measured.loads:
        measured.refuse(LOAD, plausibility.why_load_impossible(load.load_ns, load.first_ns, load.call, load.host_s))
    if LOAD not in measured.impossible:
        loads = [load.call for load in measured.loads if load.call is not None]
        measured.refuse(LOAD, plausibility.why_rate_impossible(loads, idle_s))
    for steps, peak in zip(measured.memory_steps_kib, measured.memory_peak_kib, strict=True):
        measured.refuse(MEMORY, plausibility.why_memory_impossible(steps, peak, board_mib))


def take_memory(source: Source, sets: list[Arrays], board_mib: float | None = None) -> Measurement:
    """Measure memory alone, on an emulated board, whose clock says nothing: one process, a few inferences.

    If the connection drops, another process is started, once.

    Args:
        source: Starts and loads fresh processes.
        sets: The inputs, taken in turn.
        board_mib: The device's memory in MiB, if it is known.

    Raises:
        LinkError: The device could not be reached.
    """
    try:
        measured = _memory(source, sets)
    except LinkLost as error:
        measured = _memory(source, sets)
        measured.lost.append(error.what)
    for steps, peak in zip(measured.memory_steps_kib, measured.memory_peak_kib, strict=True):
        measured.refuse(
            MEMORY, plausibility.why_memory_impossible(steps, peak, board_mib)
        )  # durations are not checked: the clock is emulated
    return measured


def _memory(source: Source, sets: list[Arrays]) -> Measurement:
    deployment, load = source.fresh()
    with deployment:
        rounds = -(-EMULATED_INFERENCES // len(sets))
        for _ in range(rounds):
            deployment.infer(sets)
        return Measurement(
            memory_peak_kib=[deployment.memory_kib()["peak"]], memory_steps_kib=[load.memory_kib], loads=[load]
        )


def _use_process(
    measured: Measurement,
    source: Source,
    content: Content,
    report: Report,
    *,
    end: float,
    to_come: int,
    at_least: int,
) -> None:
    """Start one process, and measure with it.

    Args:
        measured: Gains what the process shows.
        source: Starts and loads it.
        content: The inputs.
        report: See take_samples.
        end: When to stop, by the monotonic clock.
        to_come: How many processes are still to come, this one included; they share the time that is left.
        at_least: How many inferences the limits need.
    """
    deployment, load = source.fresh()
    with deployment:
        measured.loads.append(load)
        if len(measured.loads) == 1:  # announce beforehand how long it will take
            report(0, at_least, at_least * load.first_ns / 1e9)
        loop = ClosedLoop(
            deployment=deployment,
            source=source,
            content=content,
            report=lambda: report(measured.count, measured.wanted, measured.left_s),
        )
        loop.begin(measured.contents)
        try:
            share = max(end - time.monotonic(), 0.1) / to_come
            for timed in measured.contents:
                warm_up = loop.warm_up(timed, share * WARM_UP_SHARE * PROCESSES)
                measured.warm_ups.append(warm_up)
                timed.wanted = timed.wanted or _wanted(timed, at_least)
            if len(measured.loads) == 1:
                report(0, at_least, measured.expected_s(at_least))
            quotas = [max(-(-(timed.wanted - timed.count) // to_come), 0) for timed in measured.contents]
            needed_s = [quota * timed.pace_s for quota, timed in zip(quotas, measured.contents, strict=True)]
            left_s = max((end - time.monotonic()) / to_come, 0.0)
            for index, timed in enumerate(measured.contents):
                # The contents that are left share the time that is left, in proportion to what each needs.
                share_of_left = needed_s[index] / max(sum(needed_s[index:]), 1e-9)
                start = time.monotonic()
                loop.take(timed, quotas[index], left_s * share_of_left)
                left_s = max(left_s - (time.monotonic() - start), 0.0)
        finally:
            if loop.states:
                measured.states.append((loop.states[0]["before"], loop.states[-1]["after"]))
            measured.written = tuple(dict.fromkeys([*measured.written, *deployment.written]))
            measured.calls += loop.calls
        measured.memory_peak_kib.append(deployment.memory_kib()["peak"])
        measured.idle_s.append(deployment.last_call.host_s)
        measured.memory_steps_kib.append(load.memory_kib)


def _wanted(timed: Timed, at_least: int) -> int:
    """Decide how many inferences to time on a content, from what one takes."""
    pace_s = max(timed.pace_s, 1e-9)
    if timed.given:  # each of the file's samples TIMES times, if GOOD_S allows it
        repeated = max(GOOD, TIMES * timed.given)
        return max(at_least, min(repeated, int(GOOD_S / pace_s)), min(MANY_SAMPLES, int(MANY_SAMPLES_S / pace_s)))
    return max(at_least, min(GOOD, int(GOOD_S / pace_s)), min(MANY, int(MANY_S / pace_s)))
