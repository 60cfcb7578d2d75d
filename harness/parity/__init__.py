"""Parity: does a backend give the answers of the model? Judged against a float64 run of the eager model; see
docs/parity.md."""

from __future__ import annotations

from ..checks.limits import Metric

PARITY = Metric("parity", "", "the worst error, as a multiple of what float32 arithmetic itself is off", counts="tried")
