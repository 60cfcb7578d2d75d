"""What does the computer that serves the model cost?"""

from __future__ import annotations

import pytest

from harness.cell import Cell
from harness.checks.finding import RecordCheck
from harness.measure.cost import PER_HOUR, PER_MILLION, Rate, Sizes, cost_per_hour, cost_per_million
from harness.measure.sampling import Measurement

pytestmark = pytest.mark.hil


def test_cost_per_hour(cell: Cell, record_check: RecordCheck) -> None:
    """An endpoint costs by the hour, as long as it exists."""
    record_check(cost_per_hour(cell.endpoint, cell.limit_value(PER_HOUR.limit_key)))


def test_cost_per_million(cell: Cell, measurement: Measurement, record_check: RecordCheck) -> None:
    """A million calls at the model's rate, with the hours that they take and the bytes that they move."""
    rate = Rate.of_model(cell.file.model.rate_hz, cell.limit_value("deadline_ms"))
    sizes = Sizes.of_settings(measurement.loads[0].settings) if measurement.loads else None
    record_check(cost_per_million(cell.endpoint, rate, sizes, cell.limit_value(PER_MILLION.limit_key)))
