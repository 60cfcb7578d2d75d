"""Memory: the peak resident set of the process that runs the model, its interpreter and runtime included."""

from __future__ import annotations

from typing import Any

from ..checks.finding import Finding
from ..checks.limits import Metric
from .measurement import MEMORY, Measurement
from .memory_cap import MemoryCap

PEAK = Metric("memory_peak_mib", "MiB", "the serving process's largest resident set (VmHWM)", device_limit=True)
METRICS = (PEAK,)


def memory_peak(measured: Measurement, cap: MemoryCap | None = None) -> Finding:
    """Report the largest of the processes' peaks, in MiB, and the resident set after each step of loading.

    Every process runs the same program on the same inputs, so the largest peak that was seen counts as the bound.

    Args:
        measured: The cell's processes.
        cap: What came of one in a memory cgroup of the limit's size, where that was tried: killed there, it fails.
    """
    details: dict[str, Any] = {} if cap is None else {"cap": cap.described}
    failure = "" if cap is None else cap.failure
    if impossible := measured.impossible.get(MEMORY):
        return Finding(PEAK, no_bound_reason=impossible, failure=failure, details=details)
    if not measured.memory_peak_kib:
        reason = measured.interruption or "no process came to its end"
        return Finding(PEAK, no_bound_reason=reason, failure=failure, details=details)
    largest = max(measured.memory_peak_kib)
    of_largest = measured.memory_steps_kib[measured.memory_peak_kib.index(largest)]
    steps = {step: round(kib / 1024, 1) for step, kib in of_largest.items()}
    value = largest / 1024
    return Finding(
        PEAK,
        value,
        value,
        samples=len(measured.memory_peak_kib),
        invalid_reason=measured.swap_doubt or _doubt(cap, value) or measured.far_doubt,
        failure=failure,
        details={"after_mib": steps, "peaks_kib": list(measured.memory_peak_kib), **details},
    )


def _doubt(cap: MemoryCap | None, peak_mib: float) -> str:
    """Word why a peak within the limit is no PASS: nobody knows how the process fares under it."""
    if cap is None or not cap.doubt or peak_mib > cap.limit_mib:
        return ""
    return f"tried in a memory cgroup that is limited to {cap.limit_mib:g} MiB: {cap.doubt}"
