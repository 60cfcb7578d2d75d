"""Which runs are HIL runs."""

from __future__ import annotations

import pytest

from harness.plugin import asks_for_hil


@pytest.mark.parametrize(
    ("expression", "asks"),
    [
        pytest.param("hil", True, id="hil"),
        pytest.param("hil and not slow", True, id="with another"),
        pytest.param("slow or hil", True, id="or another"),
        pytest.param("not hil", False, id="not hil"),
        pytest.param("not hil and not slow", False, id="the default of this project"),
        pytest.param("not (hil or slow)", False, id="not either"),
        pytest.param("slow", False, id="another"),
        pytest.param("", False, id="none"),
        pytest.param("hil and (", False, id="no expression"),
    ],
)
def test_an_expression_asks_for_hil_when_the_marker_selects(expression: str, asks: bool) -> None:
    assert asks_for_hil(expression) is asks
