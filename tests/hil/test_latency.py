"""Is the model fast enough, and always?"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.cell import Cell
from harness.checks.finding import RecordCheck
from harness.measure import latency, start_jitter
from harness.measure.sampling import Measurement

pytestmark = pytest.mark.hil


def test_latency_p50(
    cell: Cell, measurement: Measurement, raw: str, publish: Callable[[], None], record_check: RecordCheck
) -> None:
    """Half of all inferences are faster. Also a pytest-benchmark result, of the content whose p99 is judged."""
    publish()
    record_check(latency.latency(measurement, latency.P50, raw, cell.limit_value("latency_p50_ms")))


def test_latency_p90(cell: Cell, measurement: Measurement, raw: str, record_check: RecordCheck) -> None:
    """Nine of ten inferences are faster."""
    record_check(latency.latency(measurement, latency.P90, raw, cell.limit_value("latency_p90_ms")))


def test_latency_p99(cell: Cell, measurement: Measurement, raw: str, record_check: RecordCheck) -> None:
    """99 of 100 inferences are faster."""
    record_check(latency.latency(measurement, latency.P99, raw, cell.limit_value("latency_p99_ms")))


def test_latency_p999(cell: Cell, measurement: Measurement, raw: str, record_check: RecordCheck) -> None:
    """999 of 1000 inferences are faster, if there is a limit on that."""
    record_check(latency.latency(measurement, latency.P999, raw, cell.limit_value("latency_p999_ms")))


def test_latency_max(cell: Cell, measurement: Measurement, raw: str, record_check: RecordCheck) -> None:
    """The slowest inference seen breaks no limit, if there is one."""
    record_check(latency.latency_max(measurement, cell.limit_value("latency_max_ms"), raw))


def test_start_jitter(cell: Cell, measurement: Measurement, raw: str, record_check: RecordCheck) -> None:
    """99 of 100 inferences start soon behind their release, if the model file declares a sensor's clock."""
    record_check(start_jitter.start_jitter(measurement, cell.limit_value("start_jitter_p99_ms"), raw))


def test_deadline_miss_rate(cell: Cell, measurement: Measurement, raw: str, record_check: RecordCheck) -> None:
    """The share of inferences that take longer than the robot can wait."""
    deadline, limit = cell.limit_value("deadline_ms"), cell.limit_value("deadline_miss_rate")
    record_check(latency.deadline_miss_rate(measurement, deadline, limit, raw))
