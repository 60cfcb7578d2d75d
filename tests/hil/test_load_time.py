"""How long after its start does the model answer?"""

from __future__ import annotations

import pytest

from harness.checks.finding import RecordCheck
from harness.measure.load_time import load_time
from harness.measure.sampling import Measurement

pytestmark = pytest.mark.hil


def test_load_time(measurement: Measurement, record_check: RecordCheck) -> None:
    """From the process's start to its first inference done."""
    record_check(load_time(measurement))
