"""Measuring: one file per kind of metric, each with its ``METRICS``, found without a list.

What is measured becomes a Finding (see harness.checks.check); whether it is good enough is judged there, not here.
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
