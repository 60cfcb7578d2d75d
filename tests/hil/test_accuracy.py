"""Is the backend as good as the model, on real samples?"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.checks.finding import Finding, RecordCheck

pytestmark = pytest.mark.hil


def test_accuracy(accuracy_run: Callable[[], Finding], record_check: RecordCheck) -> None:
    """The score over the model file's samples, computed on the device."""
    record_check(accuracy_run())
