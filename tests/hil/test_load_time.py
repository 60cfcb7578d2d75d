"""How long after its start does the model answer?"""

from __future__ import annotations

import pytest

from harness.checks.finding import Finding, RecordCheck
from harness.measure.load_time import load_time
from harness.measure.sampling import Measurement

pytestmark = pytest.mark.hil


def test_load_time(measurement: Measurement, record_check: RecordCheck) -> None:
    """From the process's start to its first inference done."""
    record_check(load_time(measurement))


def test_first_start(first_start: Finding, record_check: RecordCheck) -> None:
    """The same as after power-on, when nothing of it is in the page cache yet."""
    record_check(first_start)
