"""The sequential rule: its risks, exactly; the counts that are documented; and bounds that agree with the verdicts."""

from __future__ import annotations

import numpy as np
import pytest

from harness.checks.sequential import BROKEN_BLOCKS, is_broken


@pytest.mark.parametrize("allowed", [0.01, 0.001])
def test_slow_ones_at_the_very_beginning_break_no_limit_that_is_kept_ever_after(allowed: float) -> None:
    shares = np.concatenate([np.ones(1 if allowed < 0.01 else 2), np.zeros(5000)])
    assert not is_broken(shares, allowed)


def test_a_limit_is_broken_by_ten_slow_blocks_and_no_sooner() -> None:
    assert not is_broken(np.ones(BROKEN_BLOCKS - 1), 0.01)
    assert is_broken(np.ones(BROKEN_BLOCKS), 0.01)
