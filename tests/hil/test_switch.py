"""How long does a robot wait where the computer elsewhere misses a call, and the device answers in its place?"""

from __future__ import annotations

import pytest

from harness.cell import Cell
from harness.checks.finding import RecordCheck
from harness.measure.sampling import Measurement
from harness.measure.switching import switch

pytestmark = pytest.mark.hil


def test_switch(cell: Cell, measurement: Measurement, raw: str, record_check: RecordCheck) -> None:
    """The local answer comes in time; how many there were from each side stands beside it."""
    record_check(switch(measurement, raw, has_fallback=cell.fallback is not None))
