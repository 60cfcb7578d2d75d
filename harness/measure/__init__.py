"""Measuring: one file a kind of metric, each with its ``METRICS``, found without a list.

latency, start_jitter, load_time, first_start, memory, growth, accuracy, artifact_size, instructions, against,
    availability, switching, first_part, cost: metrics
sampling, schedule, closed_loop, paced_loop, measurement    how durations are taken and kept
far_end                                                 availability where the device answers what calls miss
tails, figures, validity                                 how they are bounded and believed
memory_series, growth_process                            a process's memory while it infers, or infers for it
memory_cap                                               a process under its limit on memory
pairs                                                    two builds' processes in turn, for against
sample_set, sample_range, score, top1, nesting           the file's samples, and the score of outputs on them

Who times, from the cell down to the device: run.measuring → sampling and schedule (fresh processes, which fill a
measurement, until every limit is decided) → closed_loop (one process, call after call) → deploy.timing (one call) →
agent.timing (the loop on the device).

What is measured becomes a Finding (see harness.checks.finding); harness.checks.check judges it.
"""

from __future__ import annotations

from typing import Any

from ..checks.limits import Metric
from ..errors import InputError
from ..host.plugins import check_module, is_plugin, load_module, module_names
from ..parity import PARITY


def _problem_of(value: Any) -> str:
    usable = isinstance(value, tuple) and value and all(isinstance(metric, Metric) for metric in value)
    return "" if usable else f"it is {value!r}"


# What a metric's file must have; hilgate's own files of helpers have none.
METRIC = {"METRICS": (_problem_of, "a tuple of harness.checks.limits.Metric, at least one")}


def known_metrics() -> dict[str, Metric]:
    """Load every metric that a limit may be set on, by name, plug-ins' among them.

    Raises:
        InputError: a plug-in's file cannot be imported, or has no METRICS; or two metrics have one name.
    """
    metrics: dict[str, Metric] = {}
    modules: list[Any] = [load_module(__name__, name, {}, "metric") for name in module_names(__name__)]
    for module in sorted(modules, key=is_plugin):  # hilgate's own first: of two with one name the plug-in is told
        if is_plugin(module):
            check_module(module, METRIC, "metric")
        for metric in getattr(module, "METRICS", ()):
            if metric.name in metrics or metric.name == PARITY.name:
                hint = "give one of the two another name"
                what = "two metrics have one name"
                raise InputError(what, found=metric.name, where=str(module.__file__), hint=hint)
            metrics[metric.name] = metric
    return metrics
