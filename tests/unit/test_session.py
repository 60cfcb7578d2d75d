"""What a run says before it takes long."""

from __future__ import annotations

import pytest

from harness.run.measuring import suggest_time_limit


@pytest.mark.parametrize(
    ("seconds", "option"),
    [
        pytest.param(1744.0, "--time-limit 2200", id="half a billion parameters"),
        pytest.param(301.0, "--time-limit 380", id="just too long"),
        pytest.param(30_000.0, "--time-limit 38000", id="hours"),
    ],
)
def test_what_takes_longer_than_is_allowed_names_the_option_with_its_value(seconds: float, option: str) -> None:
    assert suggest_time_limit(seconds) == option
