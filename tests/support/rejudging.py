"""Evidence of measurements made by hand, as a run writes it, for tests of what judges it again."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.agent.pacing import NEVER
from harness.checks.check import judge
from harness.checks.finding import Finding
from harness.checks.limits import Limit
from harness.deploy.content import SAMPLES, UNIFORM, Timed
from harness.deploy.deployment import LoadReport
from harness.evidence.folder import ResultsFolder
from harness.evidence.parts import describe_check
from harness.evidence.schema import CellEntry, RunEntry
from harness.measure import latency
from harness.measure.account import describe_timed, size_after
from harness.measure.load_time import load_time
from harness.measure.measurement import Measurement
from harness.measure.memory import memory_peak
from harness.measure.paced_loop import is_growing
from harness.measure.start_jitter import start_jitter
from harness.model.model import Array
from harness.model.sensor_clock import SensorClock
from harness.run.measuring import describe_measurement

from .evidences import make_cell, make_run

MS = 1_000_000
CALM: dict[str, Any] = {
    "boot": "one",
    "governor": ["performance"],
    "frequency_khz": [1_800_000],
    "temperature_mc": [50_000],
    "throttled_bits": 0,
    "throttle_events": 0,
    "swapped_pages": 0,
    "swapped_kib": 0,
}
LIMITS = {
    "latency_p50_ms": 5.0,
    "latency_p90_ms": 5.0,
    "latency_p99_ms": 5.0,
    "latency_p999_ms": 50.0,
    "latency_max_ms": 90.0,
    "deadline_ms": 5.0,
    "deadline_miss_rate": 0.01,
    "load_time_s": 9.0,
}
PARITY_LIMIT = 64.0


def limits_of(values: dict[str, float]) -> tuple[Limit, ...]:
    """Make limits of their keys and values."""
    return tuple(Limit(key, value, "net.py: limits") for key, value in values.items())


def draw(count: int, seed: int, ms: float = 1.0) -> Array:
    """Draw durations that differ, in nanoseconds."""
    random = np.random.default_rng(seed)
    return np.rint(ms * MS * random.lognormal(0, 0.1, count)).astype(np.int64)


def measure(
    count: int = 2000,
    given: int = 0,
    clock: SensorClock | None = None,
    ms: float = 1.0,
    states: Sequence[Any] = (CALM, CALM),
    **more: Any,
) -> Measurement:
    """Make a measurement of three processes, of so many inferences in each, on spread inputs and on samples."""
    measured = Measurement(clock=clock, block_ms=5.0, **more)
    measured.samples = Timed(name=SAMPLES, given=given, step=2 if given else 1)
    warm_up = {"elapsed_ns": 9 * MS, "iterations": 9, "settled": True, "making_ns": 1000}
    for process in range(3):
        for place, timed in enumerate(measured.contents):
            durations = draw(count, seed=10 * process + place, ms=ms)
            measured.warm_ups.append({**warm_up, "median_ns": int(np.median(durations))})
            timed.block_sizes.append(size_after(measured.warm_ups[-1], measured.block_ms, clock) or 1)
            numbers = np.arange(count) + process * count
            timed.numbers.append(numbers if timed.name == UNIFORM else numbers * 7 % given)
            _add(timed, durations, clock)
        measured.states.append((dict(states[0]), dict(states[1])))
        measured.memory_peak_kib.append(90_001 + process)
        measured.memory_steps_kib.append(dict.fromkeys(("before_runtime", "runtime", "model", "first"), 80_000))
        known: dict[str, Any] = {"memory_kib": {}, "outputs": ("y",), "runtime": {}, "settings": {}, "first": ()}
        measured.loads.append(LoadReport(load_ns=1_234_567_890 + process, first_ns=MS, **known))
    for timed in measured.contents:
        timed.is_growing = clock is not None and is_growing(timed, clock)
    return measured


def _add(timed: Timed, durations: Array, clock: SensorClock | None) -> None:
    """Add a process's durations; on a sensor's clock with a release in fifty that was dropped."""
    if clock is None:
        timed.processes.append(durations)
        return
    due = np.arange(len(durations)) * clock.period_ns
    starts = due + 60_000 + durations % 1000
    releases = np.stack([due, starts, starts + durations], axis=1)
    releases[np.arange(len(durations)) % 50 == 49, 1:] = NEVER
    ran = releases[:, 2] != NEVER
    timed.releases.append(releases)
    timed.processes.append(np.where(ran, releases[:, 2] - releases[:, 0], np.inf))


def timed_findings(measured: Measurement, values: dict[str, float]) -> Callable[[str], list[Finding]]:
    """Return what makes the findings that a run of hilgate's own tests makes of a measurement, given the raw path."""

    def make(raw: str) -> list[Finding]:
        quantiles = [
            latency.latency(measured, metric, raw, values.get(metric.limit_key)) for metric in latency.QUANTILES
        ]
        return [
            *quantiles,
            latency.latency_max(measured, values.get("latency_max_ms"), raw),
            start_jitter(measured, values.get("start_jitter_p99_ms"), raw),
            latency.deadline_miss_rate(measured, values.get("deadline_ms"), values.get("deadline_miss_rate"), raw),
            load_time(measured),
            memory_peak(measured),
        ]

    return make


def write_cell(
    folder: Path,
    findings: Callable[[str], Sequence[Finding]],
    limits: Sequence[Limit],
    *,
    samples: tuple[Array, Array | None] | None = None,
    measured: Measurement | None = None,
    backend: str = "onnxruntime",
    **keys: Any,
) -> dict[str, Any]:
    """Write a cell's files as a run does, and return its entry as JSON has it."""
    results = ResultsFolder(folder)
    raw = ""
    if measured is not None:
        beside = measured.raw_inputs, measured.raw_failures, measured.raw_first_parts, measured.raw_sides
        raw = results.save_samples(f"net-pi4-{backend}", measured.raw, *beside)
        keys = {
            "timed": describe_timed(measured).as_json(),
            "fingerprint": describe_measurement(measured).as_json(),
            **({"clock": {"rate_hz": measured.clock.rate_hz, "late": measured.clock.late}} if measured.clock else {}),
            **keys,
        }
    elif samples is not None:
        raw = results.save_samples(f"net-pi4-{backend}", *samples)
    emulated = {key: keys.get(key, False) for key in ("emulated", "service_emulated")}
    judged = [judge(finding, limits, **emulated) for finding in findings(raw)]
    checks = [describe_check(check, results.sums, results.beside).as_json() for check in judged]
    return make_cell(backend, checks, **keys)


def read_run(*cells: dict[str, Any], **keys: Any) -> tuple[RunEntry, list[CellEntry]]:
    """Read cells as the evidence's reader does, through JSON."""
    run = RunEntry.model_validate(json.loads(json.dumps(make_run(cells, **keys), default=str)))
    return run, run.cells
