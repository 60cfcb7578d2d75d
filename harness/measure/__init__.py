"""Measuring: one file a kind of metric, each with its ``METRICS``, found without a list.

latency, load_time, memory, accuracy, artifact_size, instructions    the metrics
sampling, closed_loop, measurement, figures, validity    how durations are taken, kept, bounded, believed
sample_set, sample_range, score, top1, nesting           the file's samples, and the score of outputs on them

What is measured becomes a Finding (see harness.checks.finding); harness.checks.check judges it.
"""

from __future__ import annotations

import importlib
import pkgutil

from ..checks.limits import Metric


def known_metrics() -> dict[str, Metric]:
    """Every metric that a limit may be set on, by name."""
    metrics: dict[str, Metric] = {}
    for module in pkgutil.iter_modules(__path__):
        found: tuple[Metric, ...] = getattr(importlib.import_module(f"{__name__}.{module.name}"), "METRICS", ())
        metrics |= {metric.name: metric for metric in found}
    return metrics
