"""What is said of a nested value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from harness.measure.nesting import describe_value

BOXES, SCORES = np.zeros((40, 4), np.float32), torch.zeros(40)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        pytest.param(BOXES, "float32 (40, 4)", id="array"),
        pytest.param(SCORES, "float32 (40,)", id="tensor"),
        pytest.param((BOXES, SCORES), "a tuple of 2 arrays, float32 (40, 4), float32 (40,)", id="arrays"),
        pytest.param([BOXES] * 9, f"a list of 9 arrays{', float32 (40, 4)' * 4}, …", id="many"),
        pytest.param({"boxes": BOXES, "n": 3}, "a dict of 2, 'boxes': float32 (40, 4), 'n': an int", id="by-name"),
        pytest.param([[[[BOXES]]]], "a list of 1, [a list of 1, [a list of 1, [a list of 1 array]]]", id="deep-is-cut"),
        pytest.param([None, [SCORES]], "a list of 2, None, [a list of 1 array, float32 (40,)]", id="nested"),
        pytest.param([], "an empty list", id="empty"),
        pytest.param("text", "a str", id="another"),
    ],
)
def test_a_value_is_said_by_its_kind_and_what_is_in_it(value: Any, said: str) -> None:
    assert describe_value(value) == said
