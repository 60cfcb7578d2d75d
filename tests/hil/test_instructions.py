"""Does the model cost more than it did? Where there is no board to time it on, its instructions are counted."""

from __future__ import annotations

import pytest

from harness.checks.finding import Finding, RecordCheck

# Last in each cell: they are counted beside the other checks.
pytestmark = pytest.mark.hil(order=1)


def test_instructions(counted_instructions: Finding, record_check: RecordCheck) -> None:
    """What an emulated CPU executes for one inference, against limits and the baseline that was committed."""
    record_check(counted_instructions)
