"""How long after power-on does the model answer, when nothing of it is in the page cache yet?"""

from __future__ import annotations

import pytest

from harness.checks.finding import Finding, RecordCheck

# A file of its own, so that -k load_time starts nothing cold; and late in each cell, for what it drops has to be read
# again by whatever comes after it.
pytestmark = pytest.mark.hil(order=1)


def test_first_start(first_start: Finding, record_check: RecordCheck) -> None:
    """From the process's start to its first inference done, everything that it reads on the disk alone."""
    record_check(first_start)
