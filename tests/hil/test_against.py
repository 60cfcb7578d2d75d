"""Is the model slower than another build of it?"""

from __future__ import annotations

import pytest

from harness.checks.finding import Finding, RecordCheck

# Behind what is measured of the cell itself, for it takes as long again.
pytestmark = pytest.mark.hil(order=0.5)


def test_no_slower_than_other(against: Finding, record_check: RecordCheck) -> None:
    """The median inference beside that of the build that --against names, in pairs of fresh processes."""
    record_check(against)
