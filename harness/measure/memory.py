"""Memory: the peak resident set of the process that runs the model, its interpreter and runtime included."""

from __future__ import annotations

from ..checks.finding import Finding
from ..checks.limits import Metric
from .measurement import MEMORY, Measurement

PEAK = Metric("memory_peak_mib", "MiB", "the serving process's largest resident set (VmHWM)", device_limit=True)
METRICS = (PEAK,)


def memory_peak(measured: Measurement) -> Finding:
    """Report the largest of the processes' peaks, in MiB, and the resident set after each step of loading.

    Every process runs the same program on the same inputs, so the largest peak that was seen counts as the bound.
    """
    if impossible := measured.impossible.get(MEMORY):
        return Finding(PEAK, no_bound_reason=impossible)
    if not measured.memory_peak_kib:
        return Finding(PEAK, no_bound_reason=measured.interruption or "no process came to its end")
    largest = max(measured.memory_peak_kib)
    of_largest = measured.memory_steps_kib[measured.memory_peak_kib.index(largest)]
    steps = {step: round(kib / 1024, 1) for step, kib in of_largest.items()}
    value = largest / 1024
    count = len(measured.memory_peak_kib)
    return Finding(PEAK, value, value, samples=count, invalid_reason=measured.swap_doubt, details={"after_mib": steps})
