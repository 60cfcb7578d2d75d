"""What of a model that another computer serves cannot be measured on the device, and why."""

from __future__ import annotations

from ..checks.finding import Finding
from ..checks.limits import Metric
from .against import OVER_OTHER
from .artifact_size import ARTIFACT_SIZE
from .first_start import FIRST_START
from .instructions import INSTRUCTIONS

REASONS = {
    ARTIFACT_SIZE.name: "the model is served by another computer, and only that knows how large it is; the device has "
    "a client and a description of the endpoint",
    INSTRUCTIONS.name: "the model runs on another computer, whose instructions are not counted",
    FIRST_START.name: "the model is not on the device's disk: load_time_s has the client's start and its first answer",
    OVER_OTHER.name: "the endpoint serves one build: run the tests against each, and compare the reports",
}


def not_on_device(metric: Metric, limit: float | None = None) -> Finding:
    """Report that a metric is not of the device where another computer serves the model.

    Args:
        metric: one of those in REASONS.
        limit: the cell's limit on it; None without one: the table then leaves the metric out.
    """
    return Finding(metric, not_applicable=REASONS[metric.name], unasked=limit is None)
