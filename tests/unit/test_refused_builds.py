"""A model that cannot be deployed is refused when it is built, with the reason and the file.

That such a refusal fails a run's cell: tests/integration/test_bad_input.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from harness import Input, Model
from harness.errors import ModelError
from harness.model.build import build_model
from harness.model.model_file import ModelFile


class Net(torch.nn.Module):
    def __init__(self, answer: Callable[[torch.Tensor], Any], weight: torch.Tensor) -> None:
        super().__init__()
        self.answer = answer
        self.weight: torch.Tensor
        self.register_buffer("weight", weight)

    def forward(self, x: torch.Tensor) -> Any:
        return self.answer(torch.relu(x @ self.weight))


def net(answer: Callable[[torch.Tensor], Any] = lambda y: y, weight: torch.Tensor | None = None) -> Net:
    return Net(answer, torch.linspace(-1, 1, 12).reshape(4, 3) if weight is None else weight).eval()


def build(made: Callable[[], Any], *, columns: int = 4) -> None:
    x = Input("x", shape=("batch", columns), min_value=-1.0, max_value=1.0)
    build_model(ModelFile(Path("/models/tiny.py"), Model(build=made, inputs=[x], dims={"batch": (1, 4)}), ()))


@pytest.mark.parametrize(
    ("made", "said"),
    [
        pytest.param(lambda: 1 / 0, "build() raised", id="raises"),
        pytest.param(lambda: net().train(), "training mode", id="training mode"),
        pytest.param(lambda: net(weight=torch.rand(4, 3)), "different weights", id="differs between two builds"),
        pytest.param(lambda: net(lambda y: (y, "a string")), "not a tensor", id="an output that is not a tensor"),
        pytest.param(lambda: net(lambda y: y.to(torch.bfloat16)), "dtype is not usable", id="an output's dtype"),
    ],
)
def test_a_build_that_cannot_be_deployed_is_refused(made: Callable[[], Any], said: str) -> None:
    with pytest.raises(ModelError) as caught:
        build(made)
    assert said in str(caught.value)
    assert "tiny.py" in str(caught.value)


def test_a_module_that_rejects_its_inputs_is_refused() -> None:
    with pytest.raises(ModelError, match="rejects inputs") as caught:
        build(net, columns=5)
    assert "tiny.py" in str(caught.value)
