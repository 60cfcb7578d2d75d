"""Sampling: fresh processes one after the other, each loaded, warmed up and then timed in a closed loop.

Load time, memory and latency, which all need fresh processes, come from the same ones; ``schedule`` says which is next.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence

from ..deploy import plausibility
from ..deploy.content import Content
from ..errors import LinkLost
from ..model.inputs import Arrays
from ..model.sensor_clock import SensorClock
from .closed_loop import Source
from .measurement import DURATIONS, LOAD, MEMORY, Measurement
from .schedule import ENOUGH, REMOTE_S, Progress, Report, Schedule
from .tails import Tail

__all__ = ["ENOUGH", "Measurement", "Progress", "Report", "take_memory", "take_samples"]

# Inferences run to measure memory on an emulated board, where one takes a hundred times as long as on a real board;
# allocation stops after the second or third.
EMULATED_INFERENCES = 8


def take_samples(
    source: Source,
    content: Content,
    time_limit_s: float,
    report: Report,
    *,
    tails: Sequence[Tail] = (),
    block_ms: float = 100.0,
    clock: SensorClock | None = None,
    at_least: int | None = None,
    board_mib: float | None = None,
    timeout_ms: float | None = None,
    availability_min: float | None = None,
    remote_s: float = REMOTE_S,
) -> Measurement:
    """Measure load time, memory and durations of one cell, over fresh processes, until every limit is decided.

    When the connection drops, the reply that the agent kept is collected, and another process replaces the lost one, up
    to LOST_ALLOWED times; what was timed until then counts in any case. Durations that cannot be true end the
    measurement.

    Args:
        source: Starts and loads fresh processes.
        content: The inputs.
        time_limit_s: The time for all of it, loading included, in seconds; at least one inference is timed.
        report: Called as the measurement goes on. It is first called twice with no inference timed, and the seconds
            that the limits will take if no inference is slow, estimated from the first inference and then from warm
            ones.
        tails: The limits on durations; without any, as many inferences are timed as a figure needs.
        block_ms: How long a block of inferences lasts, in milliseconds.
        clock: The sensor's clock that releases inferences; None for a closed loop.
        at_least: How many inferences are timed on each content, as far as the time allows, even if no limit takes
            them; None for ENOUGH where there is no limit, and for one where there is.
        board_mib: The device's memory in MiB, if it is known.
        timeout_ms: After how long a call to the computer that serves the model fails; None where it runs on the device.
            Such calls are made for ``remote_s`` at least, as far as the time allows.
        availability_min: The limit on the share of calls that are answered, if there is one: they are made for longer
            where it takes more.
        remote_s: See timeout_ms.

    Raises:
        LinkError: The device could not be reached, and nothing was timed.
        RemoteError: The computer that serves the model could not be called, and nothing was timed.
    """
    measured = Measurement(
        uniform=content.spread_timed(),
        samples=content.samples_timed(),
        block_ms=block_ms,
        tails=tuple(tails),
        is_over=False,
        clock=clock,
        timeout_ms=timeout_ms,
    )
    if at_least is None:
        at_least = 1 if tails else ENOUGH
    schedule = Schedule(
        measured=measured,
        source=source,
        content=content,
        report=report,
        end=time.monotonic() + time_limit_s,
        at_least=at_least,
        board_mib=board_mib,
        availability_min=availability_min,
        remote_s=remote_s,
    )
    try:
        schedule.run()
    finally:
        measured.is_over, measured.took_s = True, time.monotonic() - measured.began
    look_back(measured, board_mib)
    return measured


def look_back(measured: Measurement, board_mib: float | None) -> None:
    """Check all processes together for what cannot be true: a single call does not show it."""
    for timed in measured.contents:
        for durations in timed.answered:
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
