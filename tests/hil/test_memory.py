"""Does the model fit?"""

from __future__ import annotations

import pytest

from harness.cell import Cell
from harness.checks.finding import RecordCheck
from harness.export import Artifact
from harness.measure.artifact_size import ARTIFACT_SIZE, size_finding
from harness.measure.elsewhere import not_on_device
from harness.measure.growth import memory_growth
from harness.measure.memory import memory_peak
from harness.measure.memory_cap import MemoryCap
from harness.measure.sampling import Measurement
from harness.run.run import Run

pytestmark = pytest.mark.hil


def test_memory_peak(measurement: Measurement, memory_cap: MemoryCap | None, record_check: RecordCheck) -> None:
    """The largest resident set of the process that serves the model; and whether it lives under the limit."""
    record_check(memory_peak(measurement, memory_cap))


def test_memory_growth(measurement: Measurement, record_check: RecordCheck) -> None:
    """What inferences leave behind in it."""
    record_check(memory_growth(measurement))


def test_artifact_size(run: Run, artifact: Artifact, cell: Cell, record_check: RecordCheck) -> None:
    """What has to be stored on the device and sent there."""
    fallback = run.evidence[cell].fallback
    if cell.backend.remote and fallback is None:
        record_check(not_on_device(ARTIFACT_SIZE, cell.limit_value(ARTIFACT_SIZE.limit_key)))
    record_check(size_finding(artifact.bytes + (fallback.artifact.bytes if fallback is not None else 0)))
