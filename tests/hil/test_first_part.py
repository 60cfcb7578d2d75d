"""How soon does a streamed answer begin?"""

from __future__ import annotations

import pytest

from harness.cell import Cell
from harness.checks.finding import RecordCheck
from harness.measure import first_part
from harness.measure.sampling import Measurement

pytestmark = pytest.mark.hil


def test_first_part_p50(cell: Cell, measurement: Measurement, raw: str, record_check: RecordCheck) -> None:
    """The first part of half of all answers comes sooner, where they are asked for in parts."""
    limit, is_streamed = cell.limit_value(first_part.P50.limit_key), bool(cell.options.get("stream"))
    record_check(first_part.first_part(measurement, first_part.P50, raw, limit, is_streamed=is_streamed))


def test_first_part_p99(cell: Cell, measurement: Measurement, raw: str, record_check: RecordCheck) -> None:
    """The first part of 99 of 100 answers comes sooner."""
    limit, is_streamed = cell.limit_value(first_part.P99.limit_key), bool(cell.options.get("stream"))
    record_check(first_part.first_part(measurement, first_part.P99, raw, limit, is_streamed=is_streamed))
