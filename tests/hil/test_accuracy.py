"""Is the backend as good as the model, on real samples?"""

from __future__ import annotations

import pytest

from harness.checks.finding import RecordCheck
from harness.measure.accuracy import AccuracyRun

pytestmark = pytest.mark.hil


def test_accuracy(accuracy_run: AccuracyRun, record_check: RecordCheck) -> None:
    """The score over the model file's samples, computed on the device."""
    record_check(accuracy_run())
