"""Does the computer that serves the model answer?"""

from __future__ import annotations

import pytest

from harness.cell import Cell
from harness.checks.finding import RecordCheck
from harness.measure.availability import availability
from harness.measure.sampling import Measurement

pytestmark = pytest.mark.hil


def test_availability(cell: Cell, measurement: Measurement, raw: str, record_check: RecordCheck) -> None:
    """Calls to another computer are answered in time; whether the answers are right is what parity says."""
    record_check(availability(measurement, cell.limit_value("availability_min"), raw))
